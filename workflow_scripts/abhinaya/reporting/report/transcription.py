"""How well the speech was transcribed, as far as the files tell."""

import jiwer
import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY
from abhinaya.reporting import table
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.inputs import Inputs

NORMALISE = jiwer.Compose(
    [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()]
)  # digits are not spelled out


def transcription(inputs: Inputs) -> dict | None:
    """The transcripts' table of facts and, where there are log-probabilities, their histogram."""
    transcripts, metadata = inputs.transcripts, inputs.transcripts_metadata
    if transcripts is None:
        return None
    pairs: dict[str, object] = {
        "model": metadata.get("model", table.NOTHING),
        "utterances": table.number(len(transcripts)),
        "empty": table.number(int((transcripts["text"].str.strip() == "").sum())),
        "decoded again": table.number((metadata.get("counts") or {}).get("redecoded")),
    }
    errors = word_errors(transcripts, inputs.references) if inputs.references is not None else {}
    if errors:
        pairs["word error rate (%)"] = table.percent(errors["wer"])
        pairs["with known text: utterances"] = table.number(errors["utterances"])
        pairs["known words"] = table.number(errors["words"])
        for kind in ("substitutions", "deletions", "insertions"):
            pairs[kind] = table.number(errors[kind])
    values = transcripts["avg_logprob"].to_numpy(float)
    values = values[np.isfinite(values)]
    label, title = "mean log-probability of a token", "log-probabilities of the transcripts"
    return {
        "facts": table.facts(pairs),
        "compared": bool(errors),
        "histogram": figures.histogram(values, label, title) if len(values) else None,
    }


def word_errors(transcripts: pd.DataFrame, references: pd.DataFrame) -> dict[str, float | int]:
    """Word error rate of transcripts against known texts, over all words together.

    Both are lower-cased and freed of punctuation; digits are not spelled out. A known text without words is left
    out, for it has no rate.

    Returns:
        `wer` (errors per known word), `utterances`, `words`, `substitutions`, `deletions`, `insertions`; empty if no
        utterance is in both tables.
    """
    both = references.merge(transcripts, on=KEY, suffixes=("_known", "_heard"))
    known, heard = ([NORMALISE(text) for text in both[column]] for column in ("text_known", "text_heard"))
    pairs = [(truth, guess) for truth, guess in zip(known, heard, strict=True) if truth]
    if not pairs:
        return {}
    output = jiwer.process_words(*map(list, zip(*pairs, strict=True)))
    return {
        "wer": output.wer,
        "utterances": len(pairs),
        "words": output.hits + output.substitutions + output.deletions,
        "substitutions": output.substitutions,
        "deletions": output.deletions,
        "insertions": output.insertions,
    }
