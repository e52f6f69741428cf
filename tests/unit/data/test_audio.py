"""Every file that libsndfile reads becomes 16 kHz mono; every corrupt one is reported."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from abhinaya.data import audio
from abhinaya.runtime.errors import UserError
from support.messages import assert_names


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def test_16_khz_mono_is_read_unchanged(tmp_path: Path) -> None:
    wave = tone(0.5, 16_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    read = audio.read(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, wave)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_other_rates_are_resampled_and_channels_averaged(tmp_path: Path, rate: int, suffix: str) -> None:
    left, right = tone(1.0, rate), 0.2 * tone(1.0, rate)
    path = tmp_path / f"stereo.{suffix}"
    soundfile.write(path, np.stack([left, right], axis=1), rate)
    read = audio.read(path)
    assert read.shape == (16_000,)
    inner = slice(1_000, -1_000)  # the resampler's edges ring
    np.testing.assert_allclose(read[inner], 0.6 * tone(1.0, 16_000)[inner], atol=5e-3)
    assert audio.duration(path) == 1.0


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("frames", [1, 9, audio.BLOCK - 1, audio.BLOCK, audio.BLOCK + 1, 2 * audio.BLOCK + 77])
def test_reading_in_blocks_gives_the_same_samples(tmp_path: Path, rate: int, channels: int, frames: int) -> None:
    wave = np.random.default_rng(frames).normal(0, 0.1, (frames, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    mono = wave.mean(axis=1)
    whole = mono if rate == audio.RATE else soxr.resample(mono, rate, audio.RATE)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav"), whole)
    assert audio.duration(tmp_path / "a.wav") == frames / rate


def test_peak_memory_is_only_slightly_above_the_result(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros((60 * 44_100, 2), np.int16), 44_100)
    peaks = []
    for function in (audio.read, audio.duration):
        tracemalloc.start()
        function(tmp_path / "a.flac")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    blocks = 4 * audio.BLOCK * 2 * np.dtype(np.float32).itemsize
    assert peaks[0] < 60 * audio.RATE * np.dtype(np.float32).itemsize + blocks and peaks[1] < blocks


def test_only_a_longer_recording_returns_its_waveform(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5, 8_000), 8_000)
    seconds, waveform = audio.decode(tmp_path / "a.wav", longer_than=0.4)
    assert seconds == 0.5
    np.testing.assert_array_equal(waveform, audio.read(tmp_path / "a.wav"))
    assert audio.decode(tmp_path / "a.wav", longer_than=0.5) == (0.5, None)


def test_names_with_spaces_quotes_and_unicode(tmp_path: Path) -> None:
    for name in ("a b.wav", 'it\'s "so".wav', "Fürchterlich 悲しい.wav", "-03.wav", "50%.wav"):
        soundfile.write(tmp_path / name, tone(0.2, 16_000), 16_000)
        assert audio.duration(tmp_path / name) == pytest.approx(0.2)


def break_absent(path: Path) -> None:
    path.unlink()


def break_empty(path: Path) -> None:
    path.write_bytes(b"")


def break_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def break_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1_000])


def break_header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def break_nan(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.nan, 0.1]), 16_000, subtype="FLOAT")


def break_nan_late(path: Path) -> None:
    wave = np.zeros((2 * audio.BLOCK, 2))
    wave[-1, 0] = np.nan
    soundfile.write(path, wave, 16_000, subtype="FLOAT")


def break_truncated_late(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 3 * audio.BLOCK), 44_100, format="FLAC")
    path.write_bytes(path.read_bytes()[:-1_000])


def break_both_infinities(path: Path) -> None:
    soundfile.write(path, np.array([[np.inf, -np.inf]] * 3), 44_100, subtype="FLOAT")


def break_infinite(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.inf, 0.1]), 16_000, subtype="FLOAT")


def break_scale(path: Path) -> None:
    wave = np.zeros((2 * audio.BLOCK, 2), np.float32)
    wave[-1, 1] = 1e29
    soundfile.write(path, wave, 16_000, subtype="FLOAT")


def break_integer_scale(path: Path) -> None:
    soundfile.write(path, 32_767 * tone(0.1, 16_000), 16_000, subtype="DOUBLE")


@pytest.mark.parametrize("peak", [1.5, 30.0])
def test_samples_slightly_above_full_scale_are_kept(tmp_path: Path, peak: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.1, -peak], np.float32), 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav"), np.array([0.1, -peak], np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_scale, r"1e\+29"),
        (break_integer_scale, "full scale is 1"),
        (break_absent, "not found"),
        (break_empty, "empty"),
        (break_folder, "folder"),
        (break_text, "decoded"),
        (break_truncated, "truncated"),
        (break_header_only, "no samples"),
        (break_nan, "NaN"),
        (break_nan_late, "NaN"),
        (break_infinite, "NaN"),
        (break_both_infinities, "NaN"),
        (break_truncated_late, "decoded|truncated"),
    ],
)
def test_invalid_files_are_reported_with_the_reason(tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    audio.duration(path)
    damage(path)
    for function in (audio.read, audio.duration):
        with pytest.raises(UserError, match=message) as caught:
            function(path)
        assert_names(str(caught.value), f"{path}: ")


def test_truncated_flac_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"decoded|truncated"):
        audio.duration(path)


def test_flac_without_length_is_reported_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples: 0 means unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(UserError, match="decoded"):
        audio.duration(path)


def test_wav_with_extra_chunks_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = path.read_bytes()
    extra = b"LIST" + (7).to_bytes(4, "little") + b"comment" + b"\0"  # an odd length is padded
    path.write_bytes(content[:12] + extra + content[12:])
    assert audio.duration(path) == pytest.approx(0.5)


def test_streamed_wav_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    where = content.index(b"data")
    content[where + 4 : where + 8] = b"\xff\xff\xff\xff"  # as ffmpeg writes to a pipe
    path.write_bytes(content)
    assert audio.duration(path) == pytest.approx(0.5)


def test_too_long_name_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"decoded|truncated"):
        audio.duration(tmp_path / ("a" * 300 + ".wav"))


def test_working_directory_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.2, 16_000), 16_000)
    monkeypatch.chdir(tmp_path)
    assert audio.duration("a.wav") == audio.duration(os.path.join(tmp_path, "a.wav"))


def test_a_raw_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(UserError, match=r"a\.raw: .*convert"):
        audio.read(tmp_path / "a.raw")


def test_a_missing_file_whose_flac_exists_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(0.1, 16_000), 16_000)
    with pytest.raises(UserError, match=r"a\.wav: .*did you mean a\.flac"):
        audio.read(tmp_path / "a.wav")
