"""Whisper's inputs: the spectrograms of WhisperX, whatever the number of threads; order, errors and interruption."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from whisperx.audio import N_SAMPLES, log_mel_spectrogram

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio
from abhinaya.runtime.errors import UserError
from abhinaya.transcription.inputs import AHEAD, Batch, prefetched, window
from support import speech
from support.whisper import batch_of

BANDS = 80
FULL = Transcripts(window="full", batch_size=3)
THREADS = "prepare"  # the prefix of the threads' names


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Speech, silence and noise of 0.1 to 29.9 s."""
    rng = np.random.default_rng(0)
    (sentence,) = speech.spoken(["The list says that we need the car."])
    lengths = (1_600, 16_000, 50_001, 152_159, 478_400)
    noise = [rng.normal(0, 10.0**-power, length).astype(np.float32) for power, length in enumerate(lengths)]
    repeated = np.tile(sentence, N_SAMPLES // len(sentence))
    return [sentence, np.zeros(8_000, np.float32), *noise, sentence[: len(sentence) // 2], repeated]


@pytest.fixture(scope="module")
def rows(clips: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Manifest rows of the clips."""
    folder = tmp_path_factory.mktemp("audio")
    paths = [folder / f"{number}.wav" for number in range(len(clips))]
    for path, clip in zip(paths, clips, strict=True):
        soundfile.write(path, clip, audio.RATE, subtype="FLOAT")
    return pd.DataFrame({"FileName": [path.name for path in paths], "path": [str(path) for path in paths]})


def batches(rows: pd.DataFrame, size: int = 3) -> Iterator[tuple[pd.DataFrame, int]]:
    return ((rows.iloc[start : start + size], 30) for start in range(0, len(rows), size))


def spectrograms(batch: Batch) -> dict[str, bytes]:
    numbers, mels = batch.spoken()
    return {batch.names[number]: mel.tobytes() for number, mel in zip(numbers, mels, strict=True)}


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


# --- spectrograms


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("torch_threads", [1, 2])
def test_spectrograms_are_those_of_whisperx_for_padded_clips(
    bands: int, torch_threads: int, clips: list[np.ndarray]
) -> None:
    """Byte by byte, although most of the padding is not computed."""
    kept = torch.get_num_threads()
    torch.set_num_threads(torch_threads)
    try:
        for clip in clips:
            batch = batch_of("a", [clip], 30, Transcripts(speech_detection=False), bands)
            whole = log_mel_spectrogram(clip, bands, padding=N_SAMPLES - len(clip)).numpy()
            assert batch.mels[0].tobytes() == whole.tobytes()
    finally:
        torch.set_num_threads(kept)


def test_a_short_window_has_fewer_frames(clips: list[np.ndarray]) -> None:
    seconds = window(len(clips[0]) / audio.RATE, "clip")
    batch = batch_of("a", clips[:1], seconds, FULL, BANDS)
    whole = log_mel_spectrogram(clips[0], BANDS, padding=seconds * audio.RATE - len(clips[0])).numpy()
    assert whole.shape == (BANDS, 100 * seconds)
    assert batch.mels[0].tobytes() == whole.tobytes()


def test_clips_without_speech_are_left_out(clips: list[np.ndarray]) -> None:
    silence, sentence, half = clips[1], clips[0], clips[-2]
    together = spectrograms(batch_of("abcd", [silence, sentence, silence, half], 30, FULL, BANDS))
    assert list(together) == ["b", "d"]
    assert together == spectrograms(batch_of("bd", [sentence, half], 30, FULL, BANDS))


@pytest.mark.parametrize(
    ("duration", "short", "long"),
    [(0.1, 1, 30), (2.5, 3, 30), (2.51, 4, 30), (29.4, 30, 30), (30.0, 30, 30), (30.01, 31, 31), (75.0, 76, 76)],
)
def test_a_window_depends_only_on_the_duration(duration: float, short: int, long: int) -> None:
    assert (window(duration, "clip"), window(duration, "full")) == (short, long)


# --- threads


@pytest.mark.parametrize("cpus", [1, 2, 3, 9])
def test_inputs_do_not_depend_on_the_number_of_threads(cpus: int, rows: pd.DataFrame, clips: list[np.ndarray]) -> None:
    """Byte by byte those of the calling thread alone; four times the clips, so that all threads have work at once."""
    alone = spectrograms(batch_of(rows["FileName"], clips, 30, FULL, BANDS))
    assert 3 <= len(alone) < len(clips)
    repeated = pd.concat([rows] * 4)
    with prefetched(batches(repeated), FULL, BANDS, cpus) as ready:
        names = []
        for batch in ready:
            names += batch.names
            assert spectrograms(batch) == {name: alone[name] for name in batch.names if name in alone}
    assert names == repeated["FileName"].tolist()


def test_batches_keep_their_order_if_the_first_clip_is_the_slowest(
    rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = audio.read
    monkeypatch.setattr(audio, "read", lambda path: (time.sleep(0.2 * path.endswith("/0.wav")), read(path))[1])
    with prefetched(batches(rows, 2), FULL, BANDS, 4) as ready:
        assert [name for batch in ready for name in batch.names] == rows["FileName"].tolist()


def test_few_batches_are_prepared_ahead(rows: pd.DataFrame) -> None:
    started = 0

    def counted() -> Iterator[tuple[pd.DataFrame, int]]:
        nonlocal started
        for item in batches(pd.concat([rows] * 4), 1):
            started += 1
            yield item

    with prefetched(counted(), FULL, BANDS, 3) as ready:
        for number, _ in enumerate(ready, start=1):
            assert started <= number + AHEAD
    assert started == 4 * len(rows)


def test_torch_keeps_its_threads_in_the_calling_thread(rows: pd.DataFrame) -> None:
    before = torch.get_num_threads()
    with prefetched(batches(rows), FULL, BANDS, 2) as ready:
        assert sum(len(batch.names) for batch in ready) == len(rows)
    assert torch.get_num_threads() == before


# --- errors and interruption


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_first_clip_in_order_that_cannot_be_read_is_reported(cpus: int, rows: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    wrong = rows.assign(path=[*rows["path"][:4], str(tmp_path / "empty.wav"), *["/absent.wav"] * (len(rows) - 5)])
    arrived = []
    with prefetched(batches(wrong), FULL, BANDS, cpus) as ready, pytest.raises(UserError, match=r"empty\.wav: file is"):
        for batch in ready:
            arrived += batch.names
    assert arrived == rows["FileName"][:3].tolist()
    assert running() == []


def test_a_clip_longer_than_its_window_is_reported(rows: pd.DataFrame) -> None:
    with prefetched(iter([(rows[2:], 1)]), FULL, BANDS, 2) as ready, pytest.raises(UserError) as caught:
        next(ready)
    assert str(caught.value) == "4.wav: longer than the manifest says; prepare the corpus again"


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("leave", [interrupt, lambda: None])
def test_threads_end_with_the_block(
    leave: Callable[[], None], rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interruption or a `break`, the clips that no thread has begun are not read; all would take 10 s."""
    begun = []

    def slow(path: str) -> np.ndarray:
        begun.append(path)
        time.sleep(0.1)
        return np.zeros(audio.RATE, np.float32)

    monkeypatch.setattr(audio, "read", slow)
    many = rows.iloc[[0] * 100]
    with suppress(KeyboardInterrupt), prefetched(iter([(rows[:1], 30), (many, 30), (many, 30)]), FULL, 80, 3) as ready:
        next(ready)
        assert len(running()) == 2
        leave()
    assert running() == []
    assert 1 <= len(begun) < 100


def test_an_error_of_the_rows_themselves_is_passed_on(rows: pd.DataFrame) -> None:
    def broken() -> Iterator[tuple[pd.DataFrame, int]]:
        yield rows, 30
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"), prefetched(broken(), FULL, BANDS, 2) as ready:
        next(ready)
    assert running() == []
