"""Zero-shot labelling of speech with a speech LLM (the paper's zero-shot SALMONN).

Responses do not depend on order, restarts or other clips, with one exception: in bf16 the logits vary slightly with the
batch, so another `batch_size` can change close decisions. A resumed job uses the same batches.
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
        seed: of randomly initialised parts.
        store: folder of stored responses, which are not requested again.
        workers: processes that load audio.
        features: shards of Whisper's and BEATs' cached features.
        few: skip the check for systematic failures, since there are few rows.

    Returns:
        the predictions (columns `schemas.PREDICTIONS`), the same with responses (`predictions.AUDIT`), and a summary in
        JSON types.

    Raises:
        UserError: a part of the speech LLM is missing or invalid, or the parts do not fit together; no clip can be
            labelled although no part is random; another job uses the store.
    """
    check_fallback(settings.fallback, classes)
    bf16 = computes_bf16(settings.precision, device)
    keys, answers = _keys(rows, settings, seed, bf16, features), ResponseStore(store)
    with answers.alone():
        stored = set(answers.read(("request",))["request"])
        left = {index: key for index, key in enumerate(keys) if key not in stored}
        seconds = _generate(rows, left, settings, seed, answers, device, workers, features) if left else 0.0
        records = answers.read(READ).set_index("request").loc[keys]
    outcomes = [_outcome(record, classes) for record in records.to_dict("records")]
    if not few and not settings.encoder.random_parts:  # random parts, for tests, give no labels
        check_labelled(outcomes, "utterances", "correct `question` or `encoder`")
    audit = audited(rows.assign(text=None), outcomes, [False] * len(rows), settings.fallback)
    return predicted(audit), audit, _summary(settings, audit, records, len(left), seconds)


def notes(summary: dict, settings: SalmonnZeroShot) -> list[str]:
    """Notes for the report."""
    lines = []
    if settings.encoder.random_parts:
        lines.append(
            f"Random weights: {' and '.join(settings.encoder.random_parts)}. This tests the software, not the model."
        )
    return lines + fallback_notes(summary["counts"], settings.fallback)


def _keys(
    rows: pd.DataFrame, settings: SalmonnZeroShot, seed: int, bf16: bool, features: Sequence[Path] = ()
) -> list[str]:
    """For each row a digest of everything that determines the response."""
    encoder = settings.encoder
    origin = {
        "encoder": encoder.model_dump(mode="json"),
        "files": source_digests(encoder.sources),
        "question": settings.question,
        "decoding": settings.decoding.model_dump(),
        "bf16": bf16,
        "seed": seed if encoder.random_parts else None,
        # The settings of the cached features, independent of the number of shards.
        "speech": sorted({json.dumps(files.read_metadata(shard), sort_keys=True) for shard in features}),
    }
    audio = source_digests(rows["path"])
    clips = rows[[schemas.KEY, "duration"]].assign(sound=[audio[path] for path in rows["path"]]).to_dict("records")
    return [hashlib.sha256(json.dumps(origin | clip, sort_keys=True).encode()).hexdigest() for clip in clips]


def _generate(
    rows: pd.DataFrame,
    left: dict[int, str],
    settings: SalmonnZeroShot,
    seed: int,
    answers: ResponseStore,
    device: torch.device,
    workers: int,
    features: Sequence[Path],
) -> float:
    """Generate responses for the rows in `left` (position: key), and store them batch by batch.

    Returns:
        the duration in seconds, without loading the models
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
                generated, lengths = model.answer(**inputs, decoding=settings.decoding, end=tokenizer.eos_token_id)
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
                    for index, ids, length in zip(indices, generated, lengths, strict=True)
                ]
            )
            progress.update(len(indices))
    return time.monotonic() - begin


def _outcome(record: dict, classes: Sequence[str]) -> LabellingResult:
    """The result of a clip from its stored response. A truncated response is unparsable."""
    letter = None if record["finish_reason"] == "length" else prompts.parse(record["answer"], classes)
    values = None if letter is None else one_hot(letter)
    status = "unparsable" if letter is None else "labelled"
    return LabellingResult(status, values, record["answer"], None, record["generated_tokens"])


def _summary(settings: SalmonnZeroShot, audit: pd.DataFrame, records: pd.DataFrame, new: int, seconds: float) -> dict:
    """Counts, cost and speed."""
    speed = new / seconds if new else None
    generated = int(records["generated_tokens"].sum())
    return {
        "mode": "speech",
        "prompt": settings.question,
        "utterances": len(audit),
        "counts": counted(audit, speed),
        "requests": {"sent": new, "stored": len(audit) - new},
        "tokens": {
            "prompt": int(records["prompt_tokens"].sum()),  # including speech tokens
            "generated": generated,
            "generated_per_label": generated / len(audit),
        },
        "seconds": seconds,  # of generation, without loading the models
        "labels_per_second": speed,
        "answered_by": sorted(set(records["software"])),  # also from stored responses
    }
