"""Whisper's inputs for tests."""

from collections.abc import Sequence

import numpy as np

from abhinaya.config.transcripts import Transcripts
from abhinaya.transcription.inputs import Batch


def batch_of(names: Sequence[str], clips: list[np.ndarray], seconds: int, settings: Transcripts, bands: int) -> Batch:
    """A batch with the waveforms `clips`, prepared by the calling thread."""
    batch = Batch(list(names), seconds, settings, bands)
    for number, clip in enumerate(clips):
        batch.add(number, clip)
    return batch
