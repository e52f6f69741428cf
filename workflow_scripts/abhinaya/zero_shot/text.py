"""Zero-shot labelling of transcripts with a language model, not trained for it (the paper's T1).

Each distinct transcript is a separate request, so responses do not depend on order, concurrency, restarts or other
transcripts, with one exception: in bf16 on GPUs, vLLM's logits vary slightly with the batch, which can change close
decisions. VLLM_BATCH_INVARIANT=1 in the environment, which is passed on to the server, avoids this on some GPUs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import prompts
from abhinaya.zero_shot.client import ChatClient, NoResponse
from abhinaya.zero_shot.predictions import audited, check_fallback, check_labelled, counted, fallback_notes, predicted
from abhinaya.zero_shot.response_store import ResponseStore
from abhinaya.zero_shot.server import Backend
from abhinaya.zero_shot.tasks import LabellingResult, LabellingTask, Request, refusal

READ = ("request", "software", "answer", "finish_reason", "letters", "prompt_tokens", "generated_tokens")


def label(
    rows: pd.DataFrame,
    settings: ZeroShotSystem,
    classes: Sequence[str],
    store: Path,
    connect: Callable[[], AbstractContextManager[Backend]],
    concurrency: int,
    request_seconds: int,
    few: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Label every row of `rows` (`FileName`, `split`, `text`) with one of `classes`.

    Args:
        store: folder of stored responses, which are not requested again.
        connect: connects to the server; not called if `store` has all responses.
        concurrency: concurrent requests.
        request_seconds: timeout of a request, after which it is repeated.
        few: skip the checks for systematic failures, since there are few rows.

    Returns:
        the predictions (columns `schemas.PREDICTIONS`), the same with responses (`AUDIT`), and a summary in JSON types.

    Raises:
        UserError: the server rejects the key, the requests or most transcripts, or does not respond; no transcript can
            be labelled; another job uses the store.
    """
    check_fallback(settings.fallback, classes)
    sent = [prompts.sanitised(text, settings.max_characters) for text in rows["text"]]
    texts = list(dict.fromkeys(text for text, _ in sent if prompts.has_words(text)))
    task, answers = LabellingTask(settings, classes, texts), ResponseStore(store)
    requests = task.all()
    refused: dict[str, str] = {}
    with answers.alone():
        stored = set(answers.read(("request",))["request"])
        left = {key: request for key, request in requests.items() if key not in stored}
        effort = {"sent": len(left), "labels": sum(any(q.key in left for q in task.requests[text]) for text in texts)}
        if left:
            effort |= _request(task, left, len(requests), refused, answers, connect, concurrency, request_seconds)
        records = answers.read(READ).set_index("request")
    records = records[records.index.isin(requests)]
    by_key = records.to_dict("index")
    if not few:
        refusals = [reason for each in task.requests.values() if (reason := refusal(each, refused))]
        _check_refusals(refusals, len(texts))
    prior = task.prior(by_key, refused)
    mean = None if prior is None else prior.mean(0)
    outcomes = {text: task.outcome(text, by_key, refused, mean) for text in texts}
    if not few:
        check_labelled(list(outcomes.values()), "transcripts", "correct `prompt` or use another `model`")
    results = [outcomes.get(text, LabellingResult("empty")) for text, _ in sent]
    audit = audited(rows, results, [cut for _, cut in sent], settings.fallback)
    return predicted(audit), audit, _summary(task, audit, records, prior, effort)


def notes(summary: dict, settings: ZeroShotSystem) -> list[str]:
    """Notes for the report."""
    lines = fallback_notes(summary["counts"], settings.fallback)
    if summary["cut"]:
        lines.append(f"Transcripts truncated to {settings.max_characters} characters: {summary['cut']}.")
    texts = summary["prior_texts"]
    if texts and texts["used"] < texts["given"]:
        lines.append(
            f"Texts of `prompt.calibration_texts` answered with a letter: {texts['used']} of {texts['given']}."
        )
    return lines


def _request(
    task: LabellingTask,
    left: dict[str, Request],
    total: int,
    refused: dict[str, str],
    answers: ResponseStore,
    connect: Callable[[], AbstractContextManager[Backend]],
    concurrency: int,
    request_seconds: int,
) -> dict:
    """Send the requests in `left` and remove them; return the duration without the server's start, and the server."""
    seconds = 0.0
    with (
        answers.keeping() as keep,
        connect() as backend,
        tqdm(total=total, initial=total - len(left), desc="labelling", unit="answer", mininterval=5) as progress,
    ):

        def kept(request: Request, row: dict) -> None:
            keep(row)
            settle(request)

        def refuse(request: Request, reason: str) -> None:
            refused[request.key] = reason
            settle(request)

        def settle(request: Request) -> None:
            del left[request.key]
            progress.update()

        while left:
            # With stored responses no probe is needed: the server accepts such requests.
            answered = len(left) < total
            client = ChatClient(backend, task.settings, task.body, kept, refuse, concurrency, request_seconds, answered)
            begin = time.monotonic()
            try:
                asyncio.run(client.send_all(list(left.values())))
            except NoResponse as error:
                if backend.alive():
                    raise UserError(
                        f"{client.place}: does not respond ({error}); responses so far are stored, run again to resume"
                    ) from None
                backend.restart()
            finally:
                seconds += time.monotonic() - begin
        return {"seconds": seconds, "backend": backend.describe()}


def _check_refusals(reasons: list[str], texts: int) -> None:
    if 2 * len(reasons) > texts:
        ((reason, _),) = Counter(reasons).most_common(1)
        raise UserError(
            f"{len(reasons)} of {texts} transcripts were rejected ({reason}); correct `prompt` or `max_characters`"
        )


def _summary(
    task: LabellingTask, audit: pd.DataFrame, records: pd.DataFrame, prior: np.ndarray | None, effort: dict
) -> dict:
    """Counts, cost and speed."""
    texts, seconds = len(task.requests), effort.get("seconds", 0.0)
    prompt, generated = (_total(records[column]) for column in ("prompt_tokens", "generated_tokens"))
    speed = effort["labels"] / seconds if seconds else None
    return {
        "mode": task.prompt.mode,
        "prompt": task.prompt.version,
        "utterances": len(audit),
        "counts": counted(audit, speed),
        "cut": int(audit["cut"].sum()),
        "transcripts": texts,  # distinct and not empty
        "requests": {"sent": effort["sent"], "stored": len(task.all()) - effort["sent"]},
        "tokens": {
            "prompt": prompt,
            "generated": generated,
            "generated_per_label": generated / texts if texts and generated is not None else None,
        },
        "seconds": seconds,  # of the requests, without the server's start
        "labels_per_second": speed,
        "calibration_texts": None
        if prior is None
        else dict(zip(task.classes, prior.mean((0, 1)).tolist(), strict=True)),
        "prior_texts": None if prior is None else {"used": len(prior), "given": len(task.calibration_requests)},
        "answered_by": sorted(set(records["software"])),  # also from stored responses
        "backend": effort.get("backend"),  # null without new requests
    }


def _total(counts: pd.Series) -> int | None:
    """The sum; None if a value is missing."""
    return None if counts.isna().any() else int(counts.sum())
