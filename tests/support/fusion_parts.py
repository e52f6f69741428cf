"""Simulated members of a fusion: labelled utterances with log-probabilities, and their tables."""

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, MANIFEST, PROBABILITIES
from abhinaya.evaluation.fusion.sample import Sample, log_softmax
from abhinaya.labels import CLASSES


def sample(n: int, strengths: tuple[float, ...] = (1.0, 1.0), seed: int = 0, shares=None, speakers: int = 40) -> Sample:
    """Members that err independently: normal scores, with that of the true class raised by the member's strength.

    Their exact log-probabilities given equally frequent classes are the log-softmax of strength · score.
    """
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(CLASSES), n, p=shares)
    logs = []
    for strength in strengths:
        scores = rng.normal(size=(n, len(CLASSES)))
        scores[np.arange(n), truth] += strength
        logs.append(log_softmax(strength * scores))
    return Sample(np.stack(logs, axis=1), truth, rng.integers(0, speakers, n))


def tables(made: Sample, names: list[str], split: str = "validation") -> dict[str, pd.DataFrame]:
    """The members of `made` as aligned predictions, by name."""
    index = pd.Index([f"{split}_{number:05d}.wav" for number in range(len(made))], name=KEY)
    probabilities = [np.exp(made.logs[:, place]) for place in range(len(names))]
    return {
        name: pd.DataFrame(values, columns=list(PROBABILITIES), index=index).assign(
            Split=split, EmoClass=np.array(CLASSES)[values.argmax(axis=1)]
        )
        for name, values in zip(names, probabilities, strict=True)
    }


def manifest(made: Sample, split: str = "validation") -> pd.DataFrame:
    """The manifest's rows of the utterances of `made`."""
    rows = {
        KEY: [f"{split}_{number:05d}.wav" for number in range(len(made))],
        "path": "x.wav",
        "split": split,
        "EmoClass": np.array(CLASSES)[made.truth],
        "SpkrID": [f"speaker{group}" for group in made.groups],
        "duration": 3.0,
    }
    return pd.DataFrame(rows).reindex(columns=MANIFEST.names)
