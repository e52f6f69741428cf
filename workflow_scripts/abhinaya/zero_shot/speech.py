"""Labelling speech with a speech LLM that was not trained for it (the paper's zero-shot SALMONN).

Each clip is asked about on its own, so no answer depends on order, restarts or other clips; with one reservation. In
bf16 the logits vary in their last bits with the batch, so close calls may fall differently with another `batch_size`.
A job that goes on where another one stopped makes the same batches.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from abhinaya.config.zero_shot import SalmonnZeroShot
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances, by_size, collate
from abhinaya.modeling.encoders.salmonn import speech_llm
from abhinaya.modeling.precision import computes_bf16
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.versions import versions
from abhinaya.zero_shot import prompts
from abhinaya.zero_shot.predictions import audited, check_fallback, check_labelled, counted, fallback_notes, predicted
from abhinaya.zero_shot.response_store import ResponseStore
from abhinaya.zero_shot.tasks import LabellingResult, one_hot

READ = ("request", "software", "answer", "finish_reason", "prompt_tokens", "generated_tokens")


def label(
    rows: pd.DataFrame,
    settings: SalmonnZeroShot,
    classes: Sequence[str],
    seed: int,
    store: Path,
    device: torch.device,
    workers: int,
    features: Sequence[Path] = (),
    few: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """Label every row of `rows` (of a manifest) with one of `classes`.

    Args:
        seed: of parts that start from random weights.
        store: folder of raw answers; what is there is not asked again.
        workers: processes that load audio.
        features: shards of Whisper's and BEATs' cached features.
        few: too few rows to tell from no label that something is wrong.

    Returns:
        the predictions (columns `tables.PREDICTIONS`), the same with answers (`labelling.AUDIT`), and a summary in
        JSON's types.

    Raises:
        UserError: a part of the speech LLM is absent or of another kind, or the parts do not belong together; no clip
            can be labelled though no part is random; another job uses the store.
    """
    check_fallback(settings.fallback, classes)
    bf16 = computes_bf16(settings.precision, device)
    keys, answers = _keys(rows, settings, seed, bf16, features), ResponseStore(store)
    with answers.alone():
        stored = set(answers.read(("request",))["request"])
        left = {index: key for index, key in enumerate(keys) if key not in stored}
        seconds = _ask(rows, left, settings, seed, answers, device, workers, features) if left else 0.0
        records = answers.read(READ).set_index("request").loc[keys]
    outcomes = [_outcome(record, classes) for record in records.to_dict("records")]
    if not few and not settings.encoder.random_parts:  # random parts answer nothing, and are there for trials
        check_labelled(outcomes, "utterances", "correct `question` or `encoder`")
    audit = audited(rows.assign(text=None), outcomes, [False] * len(rows), settings.fallback)
    return predicted(audit), audit, _summary(settings, audit, records, len(left), seconds)


def notes(summary: dict, settings: SalmonnZeroShot) -> list[str]:
    """What a reader of the scores must know."""
    found = []
    if settings.encoder.random_parts:
        found.append(
            f"Has random weights, not trained ones: {' and '.join(settings.encoder.random_parts)}. It "
            "tests the software, not the model."
        )
    return found + fallback_notes(summary["counts"], settings.fallback)


def _keys(
    rows: pd.DataFrame, settings: SalmonnZeroShot, seed: int, bf16: bool, features: Sequence[Path] = ()
) -> list[str]:
    """For each row a digest of all that decides the answer."""
    encodes = settings.encoder
    origin = {
        "encoder": encodes.model_dump(mode="json"),
        "files": source_digests(encodes.sources),
        "question": settings.question,
        "decoding": settings.decoding.model_dump(),
        "bf16": bf16,
        "seed": seed if encodes.random_parts else None,
        # What the cache was made of, however many shards it has.
        "speech": sorted({json.dumps(files.read_metadata(shard), sort_keys=True) for shard in features}),
    }
    sounds = source_digests(rows["path"])
    clips = rows[[schemas.KEY, "duration"]].assign(sound=[sounds[path] for path in rows["path"]]).to_dict("records")
    return [hashlib.sha256(json.dumps(origin | clip, sort_keys=True).encode()).hexdigest() for clip in clips]


def _ask(
    rows: pd.DataFrame,
    left: dict[int, str],
    settings: SalmonnZeroShot,
    seed: int,
    answers: ResponseStore,
    device: torch.device,
    workers: int,
    features: Sequence[Path],
) -> float:
    """Ask about the rows that are `left`, by place, with their keys, and store the answers batch by batch.

    Returns:
        the seconds it took, without loading the models
    """
    bf16 = computes_bf16(settings.precision, device)
    loader, model = speech_llm.build(settings.encoder, seed, device, bf16, features, settings.question)
    model.to(device).eval()
    tokenizer = loader.prompt.tokenizer
    revision = model.revisions["revision"]
    software = f"transformers {versions(['transformers'])['transformers']}" + (f", {revision}" if revision else "")
    utterances = Utterances(rows, loader)
    batches = [[i for i in batch if i in left] for batch in by_size(utterances.sizes, settings.batch_size)]
    batches = [batch for batch in batches if batch]
    loaded = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    begin = time.monotonic()
    with tqdm(
        total=len(rows), initial=len(rows) - len(left), desc="labelling", unit="answer", mininterval=5
    ) as progress:
        for indices, batch in zip(batches, loaded, strict=True):
            batch_begin, requested_at = time.monotonic(), datetime.now(UTC).isoformat()
            batch.pop("labels")
            inputs = {name: value.to(device) for name, value in batch.items()}
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                found, lengths = model.answer(**inputs, decoding=settings.decoding, end=tokenizer.eos_token_id)
            spent = time.monotonic() - batch_begin
            answers.write(
                [
                    {
                        "request": left[index],
                        "model": settings.encoder.language_model,
                        "software": software,
                        "user": settings.question,
                        "answer": tokenizer.decode(ids, skip_special_tokens=True).strip(),
                        "finish_reason": "stop" if ids[-1] == tokenizer.eos_token_id else "length",
                        "prompt_tokens": length,
                        "generated_tokens": len(ids),
                        "seconds": spent,
                        "requested_at": requested_at,
                    }
                    for index, ids, length in zip(indices, found, lengths, strict=True)
                ]
            )
            progress.update(len(indices))
    return time.monotonic() - begin


def _outcome(record: dict, classes: Sequence[str]) -> LabellingResult:
    """What became of a clip, given its row of the store. An answer that was cut off is not read: more might follow."""
    letter = None if record["finish_reason"] == "length" else prompts.parse(record["answer"], classes)
    found = None if letter is None else one_hot(letter)
    status = "unparsable" if letter is None else "labelled"
    return LabellingResult(status, found, record["answer"], None, record["generated_tokens"])


def _summary(settings: SalmonnZeroShot, audit: pd.DataFrame, records: pd.DataFrame, asked: int, seconds: float) -> dict:
    """Counts, cost and speed; the closing line tells the most important of them."""
    speed = asked / seconds if asked else None
    generated = int(records["generated_tokens"].sum())
    return {
        "mode": "speech",
        "prompt": settings.question,
        "utterances": len(audit),
        "counts": counted(audit, speed),
        "requests": {"asked": asked, "stored": len(audit) - asked},
        "tokens": {
            "prompt": int(records["prompt_tokens"].sum()),  # those made of speech among them
            "generated": generated,
            "generated_per_label": generated / len(audit),
        },
        "seconds": seconds,  # of asking; loading the models is apart
        "labels_per_second": speed,
        "answered_by": sorted(set(records["software"])),  # also when nothing had to be asked
    }
