"""Every file that libsndfile reads becomes 16 kHz mono; every broken one is told from a sound one."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from abhinaya import audio
from abhinaya.errors import UserError


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def test_16_khz_mono_comes_back_sample_for_sample(tmp_path: Path) -> None:
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
    assert audio.probe(path) == (1.0, rate, 2)


def test_names_with_spaces_quotes_and_unicode(tmp_path: Path) -> None:
    for name in ("a b.wav", 'it\'s "so".wav', "Fürchterlich 悲しい.wav", "-03.wav", "50%.wav"):
        soundfile.write(tmp_path / name, tone(0.2, 16_000), 16_000)
        assert audio.probe(tmp_path / name)[0] == pytest.approx(0.2)


def break_absent(path: Path) -> None:
    path.unlink()


def break_empty(path: Path) -> None:
    path.write_bytes(b"")


def break_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def break_text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def break_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1_000])


def break_header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16_000)


def break_nan(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.nan, 0.1]), 16_000, subtype="FLOAT")


def break_infinite(path: Path) -> None:
    soundfile.write(path, np.array([0.1, np.inf, 0.1]), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_absent, "no such audio file"),
        (break_empty, "empty file"),
        (break_folder, "no such audio file"),
        (break_text, "not readable audio"),
        (break_cut, "cut off"),
        (break_header_only, "no samples"),
        (break_nan, "not numbers"),
        (break_infinite, "not numbers"),
    ],
)
def test_broken_files_are_refused_with_the_reason(tmp_path: Path, damage, message: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    audio.probe(path)
    damage(path)
    for function in (audio.read, audio.probe):
        with pytest.raises(UserError, match=message) as raised:
            function(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_a_cut_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"not readable audio|cut off"):
        audio.probe(path)


def test_a_flac_without_a_length_is_refused_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples: 0 means unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(UserError, match="not readable audio"):
        audio.probe(path)


def test_a_wav_with_further_chunks_is_not_called_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = path.read_bytes()
    extra = b"LIST" + (7).to_bytes(4, "little") + b"comment" + b"\0"  # an odd length is padded
    path.write_bytes(content[:12] + extra + content[12:])
    assert audio.probe(path)[0] == pytest.approx(0.5)


def test_a_streamed_wav_is_not_called_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5, 16_000), 16_000)
    content = bytearray(path.read_bytes())
    where = content.index(b"data")
    content[where + 4 : where + 8] = b"\xff\xff\xff\xff"  # what ffmpeg writes into a pipe
    path.write_bytes(content)
    assert audio.probe(path)[0] == pytest.approx(0.5)


def test_a_name_that_is_too_long_is_a_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not readable"):
        audio.probe(tmp_path / ("a" * 300 + ".wav"))


def test_the_callers_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.2, 16_000), 16_000)
    monkeypatch.chdir(tmp_path)
    assert audio.probe("a.wav") == audio.probe(os.path.join(tmp_path, "a.wav"))
