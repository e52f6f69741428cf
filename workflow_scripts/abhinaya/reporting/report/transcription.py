"""Statistics of the transcripts: counts, word error rate, log-probabilities."""

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
    """A table of numbers and a histogram of the log-probabilities; None without transcripts."""
    transcripts, metadata = inputs.transcripts, inputs.transcripts_metadata
    if transcripts is None:
        return None
    pairs: dict[str, object] = {
        "model": metadata.get("model", table.MISSING),
        "utterances": table.number(len(transcripts)),
        "empty": table.number(int((transcripts["text"].str.strip() == "").sum())),
        "decoded again": table.number((metadata.get("counts") or {}).get("redecoded")),
    }
    errors = word_errors(transcripts, inputs.references) if inputs.references is not None else {}
    if errors:
        pairs["word error rate (%)"] = table.percent(errors["wer"])
        pairs["utterances with a reference"] = table.number(errors["utterances"])
        pairs["reference words"] = table.number(errors["words"])
        pairs |= {kind: table.number(errors[kind]) for kind in ("substitutions", "deletions", "insertions")}
    values = transcripts["avg_logprob"].to_numpy(float)
    values = values[np.isfinite(values)]
    label, title = "mean log-probability of a token", "log-probabilities of the transcripts"
    return {
        "facts": table.facts(pairs),
        "compared": bool(errors),
        "histogram": figures.histogram(values, label, title) if len(values) else None,
    }


def word_errors(transcripts: pd.DataFrame, references: pd.DataFrame) -> dict[str, float | int]:
    """Word error rate of transcripts, over the words of all references.

    Both texts are lower-cased and without punctuation; digits are not spelled out. References without words are
    skipped.

    Returns:
        `wer` (errors per reference word), `utterances`, `words`, `substitutions`, `deletions`, `insertions`; empty if
        no utterance is in both tables.
    """
    both = references.merge(transcripts, on=KEY, suffixes=("_reference", "_transcript"))
    both["text_reference"] = both["text_reference"].map(NORMALISE)
    both = both[both["text_reference"] != ""]
    if both.empty:
        return {}
    output = jiwer.process_words(both["text_reference"].tolist(), both["text_transcript"].map(NORMALISE).tolist())
    return {
        "wer": output.wer,
        "utterances": len(both),
        "words": output.hits + output.substitutions + output.deletions,
        "substitutions": output.substitutions,
        "deletions": output.deletions,
        "insertions": output.insertions,
    }
