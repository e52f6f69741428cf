"""Whisper's inputs: log-mel spectrograms of the clips that contain speech, computed in threads ahead of the decoding.

Decoding on a GPU is faster than one core prepares clips. The threads run in parallel, since soundfile, torch and
onnxruntime release Python's lock. They share no state: the Silero model gets its recurrent state with each call, and
onnxruntime's sessions may be used by several threads. A spectrogram depends only on its clip: torch uses one core for
it, whatever the number of threads.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from whisperx.audio import HOP_LENGTH, log_mel_spectrogram

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError

WHISPER_SECONDS = 30
MARGIN = 0.5  # seconds of silence that are encoded after a clip
SPEECH = 0.2  # Silero's default of 0.5 misses shouted and whispered speech; noise and tones stay below this
AHEAD = 2  # batches that are prepared while one is decoded; each has up to 1.5 MB a clip


class Batch:
    """Whisper's inputs for clips with the same window. Several threads may add clips, each clip once.

    Attributes:
        speech: (B,) bool; False: no speech was detected, and the clip's spectrogram is not computed.
        mels: (B, bands, frames) float32; (B, bands, 0) for recordings above 30 s.
        recordings: the waveforms of recordings above 30 s; None for shorter clips.
    """

    def __init__(self, names: list[str], seconds: int, settings: Transcripts, bands: int) -> None:
        self.names, self.seconds, self.settings = names, seconds, settings
        frames = seconds * audio.RATE // HOP_LENGTH if seconds <= WHISPER_SECONDS else 0
        self.speech = np.ones(len(names), bool)
        self.mels = np.empty((len(names), bands, frames), np.float32)
        self.recordings: list[np.ndarray | None] = [None] * len(names)

    def read(self, index: int, path: str) -> None:
        """Read the file of clip number `index`, and add it.

        Raises:
            UserError: as `audio.read` and `add`.
        """
        self.add(index, audio.read(path))

    def add(self, index: int, clip: np.ndarray) -> None:
        """Add `clip`, (samples,) at 16 kHz, as number `index`.

        Raises:
            UserError: it is longer than its window, since its file has changed after the corpus was prepared.
        """
        if self.seconds > WHISPER_SECONDS:
            self.recordings[index] = clip
            return
        if len(clip) > self.seconds * audio.RATE:
            raise UserError(f"{self.names[index]}: longer than the manifest says; prepare the corpus again")
        if self.settings.speech_detection and not _has_speech(clip):
            self.speech[index] = False
        else:
            write_log_mel(clip, self.mels[index])

    def spoken(self) -> tuple[list[int], np.ndarray]:
        """The numbers of the clips with speech, and their spectrograms, which this moves to the front of `mels`."""
        numbers = np.flatnonzero(self.speech).tolist()
        for place, number in enumerate(numbers):
            if place != number:
                self.mels[place] = self.mels[number]
        return numbers, self.mels[: len(numbers)]


@contextmanager
def prefetched(
    batches: Iterator[tuple[pd.DataFrame, int]], settings: Transcripts, bands: int, cpus: int
) -> Iterator[Iterator[Batch]]:
    """An iterator of complete batches, in order. Threads prepare the next batches while the caller decodes one.

    The threads end with the block, also after an exception; clips that no thread has begun are dropped.

    Args:
        batches: rows of a manifest, and their window in seconds.
        bands: of the model's spectrograms.
        cpus: cores of the job; one is left for the thread that decodes.

    Raises:
        UserError: from the iterator, for the first clip in order that `Batch.read` refuses.
    """
    if settings.speech_detection:
        get_vad_model()  # loaded once, before the threads ask for it
    pool = ThreadPoolExecutor(max(1, cpus - 1), "prepare", torch.set_num_threads, (1,))  # applies to the pool's threads

    def start(rows: pd.DataFrame, seconds: int) -> tuple[Batch, Iterator[None]]:
        batch = Batch(rows[KEY].tolist(), seconds, settings, bands)
        return batch, pool.map(batch.read, range(len(rows)), rows["path"])

    def complete() -> Iterator[Batch]:
        started: deque[tuple[Batch, Iterator[None]]] = deque()
        for item in batches:
            started.append(start(*item))
            if len(started) > AHEAD:
                yield _finished(*started.popleft())
        while started:
            yield _finished(*started.popleft())

    try:
        yield complete()
    finally:
        pool.shutdown(cancel_futures=True)


def window(duration: float, kind: str) -> int:
    """The window in whole seconds of a clip of `duration` seconds; above 30 for a recording that must be cut."""
    seconds = math.ceil(duration + MARGIN)
    return WHISPER_SECONDS if duration <= WHISPER_SECONDS and (kind == "full" or seconds > WHISPER_SECONDS) else seconds


def _finished(batch: Batch, reading: Iterator[None]) -> Batch:
    """`batch`, when its clips are read."""
    for _ in reading:
        pass
    return batch


def _has_speech(clip: np.ndarray) -> bool:
    return bool(get_speech_timestamps(clip, VadOptions(threshold=SPEECH), sampling_rate=audio.RATE))


def write_log_mel(clip: np.ndarray, mel: np.ndarray) -> None:
    """Write WhisperX's log-mel spectrogram of `clip`, padded with silence, into `mel`: (bands, frames).

    All frames of silence have the same value, so only `MARGIN` of it is computed; the result is the same.
    """
    samples = min(window(len(clip) / audio.RATE, "clip") * audio.RATE, mel.shape[1] * HOP_LENGTH)
    computed = log_mel_spectrogram(clip, len(mel), padding=samples - len(clip)).numpy()
    mel[:, : computed.shape[1]] = computed
    mel[:, computed.shape[1] :] = computed[:, -1:]
