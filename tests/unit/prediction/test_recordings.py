"""New recordings: finding files, reporting unreadable ones, and cutting long ones."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from abhinaya.config.corpus import Corpus
from abhinaya.data import audio, schemas
from abhinaya.data.audio import RATE
from abhinaya.data.schemas import KEY
from abhinaya.prediction import recordings
from abhinaya.prediction.recordings import BLOCK, MIN_SEGMENT, PAUSE, REACH, borders, cut, find
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise with varying loudness, like speech: (samples,) float32."""
    generator = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    knots = np.arange(0, samples + 2000, 2000)
    loudness = np.interp(np.arange(samples), knots, generator.random(len(knots)))
    return (0.3 * loudness * generator.standard_normal(samples)).astype(np.float32)


# --- borders of segments

some_waveforms = st.builds(noise, st.floats(0.3, 40), st.integers(0, 99))
limits = st.floats(MIN_SEGMENT, 12)


@settings(max_examples=60)
@given(some_waveforms, limits)
def test_segments_cover_the_recording_and_have_valid_lengths(waveform, limit):
    found = borders(waveform, limit)
    assert found[0] == 0 and found[-1] == len(waveform)
    lengths = np.diff(found)
    assert (lengths > 0).all() and (lengths <= limit * RATE).all()
    if len(lengths) > 1:
        assert (lengths >= limit * RATE / 3).all()
        assert lengths.max() - lengths.min() <= 4 * REACH * limit * RATE  # nearly equal
    else:
        assert len(waveform) <= limit * RATE


@settings(max_examples=30)
@given(some_waveforms, limits)
def test_each_border_is_the_quietest_position_within_reach(waveform, limit):
    found = borders(waveform, limit)
    count, half = len(found) - 1, PAUSE // 2 * BLOCK
    for number, border in enumerate(found[1:-1], start=1):
        even, reach = number * len(waveform) / count, REACH * limit * RATE
        assert abs(border - even) <= reach
        positions = [start for start in range(0, len(waveform), BLOCK) if abs(start - even) <= reach]
        power = {
            position: float(np.mean(waveform[position - half : position + half].astype(float) ** 2))
            for position in positions
        }
        assert power[border] == pytest.approx(min(power.values()), rel=1e-5)


@settings(max_examples=30)
@given(st.floats(12, 60), st.data())
def test_a_pause_within_reach_is_found(seconds, data):
    count = len(borders(np.zeros(round(seconds * RATE), np.float32), 10)) - 1
    waveform = np.full(round(seconds * RATE), 0.1, np.float32)
    middles = [number * seconds / count + data.draw(st.floats(-0.8, 0.8)) for number in range(1, count)]
    for middle in middles:
        waveform[round((middle - 0.08) * RATE) : round((middle + 0.08) * RATE)] = 0
    for border, middle in zip(borders(waveform, 10)[1:-1], middles, strict=True):
        assert abs(border / RATE - middle) < 0.08


def test_silence_is_cut_into_equal_segments():
    assert borders(np.zeros(30 * RATE, np.float32), 10) == [0, *(round(i * 7.5 * RATE) for i in (1, 2, 3)), 30 * RATE]


def test_a_recording_of_exactly_the_limit_is_not_cut():
    assert borders(noise(10), 10) == [0, 10 * RATE]
    assert len(borders(np.append(noise(10), np.float32(0)), 10)) == 3


# --- the segments of files


def test_segments_contain_the_recording_and_have_its_times(tmp_path):
    long, other = (
        write_noise(tmp_path / "long.flac", 7.30007, 44_100, channels=2),
        write_noise(tmp_path / "other.wav", 3),
    )
    rows, rejected = cut([long, other], 2.0, tmp_path)
    assert not rejected and rows["recording"].tolist() == [str(long)] * 5 + [str(other)] * 2
    for path, segments in rows.groupby("recording"):
        pieces = [audio.read(piece) for piece in segments["path"]]
        np.testing.assert_array_equal(np.concatenate(pieces), audio.read(path))
        assert segments["start"].tolist() == [0.0, *segments["end"][:-1]]
        assert segments["end"].iloc[-1] == audio.duration(path)
        assert segments["duration"].tolist() == [len(piece) / RATE for piece in pieces]
    assert rows["end"][4] != len(audio.read(long)) / RATE  # the exact end, which is not a multiple of 1/16000 s


def test_a_short_recording_is_read_from_its_own_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_noise(tmp_path / "a.wav", 0.5, 8_000)
    rows, _ = cut([Path("a.wav")], 1.0, tmp_path / "nowhere")
    (row,) = rows.to_dict("records")
    assert row["path"] == str(tmp_path / "a.wav") and row["recording"] == "a.wav"
    assert (row["start"], row["end"], row["duration"]) == (0.0, 0.5, 0.5)


def test_rows_are_a_manifest_in_the_order_of_the_files(tmp_path):
    paths = [write_noise(tmp_path / f"{name}.wav", seconds) for name, seconds in (("z", 0.3), ("b", 5), ("a", 0.3))]
    paths += [write_noise(tmp_path / "other" / "a.wav")] * 9
    rows, _ = cut(paths, 1.0, tmp_path)
    assert rows["recording"].drop_duplicates().tolist() == [str(path) for path in paths[:4]]
    assert rows[KEY].is_unique and rows[KEY].is_monotonic_increasing and len(rows) > 10
    schemas.write_manifest(rows, tmp_path / "manifest.parquet")
    read = schemas.read_manifest(tmp_path / "manifest.parquet")
    assert read["path"].tolist() == rows["path"].tolist() and set(read["split"]) == {"test"}
    assert read.drop(columns=[KEY, "path", "split", "duration"]).isna().all(axis=None)


def test_unreadable_files_are_reported_and_the_others_processed(tmp_path):
    good = write_noise(tmp_path / "good.wav")
    (tmp_path / "nonsense.wav").write_text("<html>")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:-100])
    latin = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav"))
    latin.write_bytes(good.read_bytes())
    os.mkfifo(tmp_path / "pipe.wav")
    names = ("nonsense.wav", "empty.wav", "cut.wav", "absent.wav", "pipe.wav", "nul\0.wav")
    rows, rejected = cut([*(tmp_path / name for name in names), latin, good], 10.0, tmp_path)
    assert rows["recording"].tolist() == [str(good)]
    assert [path for path, _ in rejected] == [*(str(tmp_path / name) for name in names), f"{tmp_path}/caf\\xe9.wav"]
    reasons = [reason for _, reason in rejected]
    assert reasons[0].startswith("cannot be decoded") and reasons[1] == "file is empty (0 bytes)"
    assert reasons[2].startswith("truncated") and reasons[3] == reasons[4] == reasons[5] == "audio file not found"
    assert reasons[6] == "the file name is not UTF-8; rename the file"
    pd.DataFrame(rejected).to_csv(tmp_path / "rejected.csv")  # the paths can be encoded


def test_too_short_recordings_are_rejected(tmp_path):
    samples = {"click": 1, "blip": 320, "almost": 1_599, "word": 1_600}
    for name, count in samples.items():
        soundfile.write(tmp_path / f"{name}.wav", np.full(count, 0.1), RATE)
    rows, rejected = cut([tmp_path / f"{name}.wav" for name in samples], 10.0, tmp_path)
    assert rows["recording"].tolist() == [str(tmp_path / "word.wav")]
    assert Corpus.model_fields["min_seconds"].default == 0.1
    assert rejected == [
        (str(tmp_path / "click.wav"), "0.000 s, shorter than 0.1 s"),
        (str(tmp_path / "blip.wav"), "0.020 s, shorter than 0.1 s"),
        (str(tmp_path / "almost.wav"), "0.100 s, shorter than 0.1 s"),
    ]


def test_each_recording_is_decoded_once(tmp_path, monkeypatch):
    paths = [write_noise(tmp_path / "long.flac", 3, 44_100, channels=2), write_noise(tmp_path / "short.wav")]
    opened = []

    class RecordedSoundFile(soundfile.SoundFile):
        def __init__(self, file, mode="r", *options, **more):
            opened.append((file, mode))
            super().__init__(file, mode, *options, **more)

    monkeypatch.setattr(soundfile, "SoundFile", RecordedSoundFile)
    cut(paths, 1.0, tmp_path)
    assert [file for file, mode in opened if mode == "r"] == paths


def test_unwritable_segments_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: .*TMPDIR"):
        cut([write_noise(tmp_path / "long.wav", 3)], 1.0, tmp_path / "nowhere")


# --- finding files


def found_in(*paths: Path) -> list[str]:
    found, rejected = find(paths)
    assert not rejected
    return [str(path) for path in found]


def test_a_folder_gives_all_audio_below_it_by_name(tmp_path):
    for name in ("b.wav", "z.FLAC", "one/a.ogg", "one/deep/c.wav", "two/b.wav"):
        write_noise(tmp_path / name)
    for name in (".hidden.wav", ".git/d.wav", "labels.csv", "notes.txt", "wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "voice.m4a").write_bytes(b"not supported by libsndfile")  # is found, so that it is reported
    expected = ("b.wav", "voice.m4a", "z.FLAC", "one/a.ogg", "one/deep/c.wav", "two/b.wav")
    assert found_in(tmp_path) == [str(tmp_path / name) for name in expected]


def test_links_in_a_folder_are_followed_and_cycles_end(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    write_noise(inside / "a.wav")
    write_noise(outside / "b.wav")
    (inside / "link").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (inside / "self").symlink_to(inside)
    (inside / "twice").symlink_to(outside)
    (inside / "cycle.wav").symlink_to(inside / "cycle.wav")
    found, rejected = find([inside])
    assert found == [inside / "a.wav", inside / "cycle.wav", inside / "link/b.wav"] and not rejected
    assert cut(found, 10.0, tmp_path)[1][0][0] == str(inside / "cycle.wav")


def test_empty_and_unreadable_folders_are_reported(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    write_noise(tmp_path / "full/a.wav")
    write_noise(tmp_path / "full/closed/b.wav")
    scandir = os.scandir

    def scandir_with_permissions(path):  # root, who may run the tests, can read every folder
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_with_permissions)
    found, rejected = find([tmp_path / "empty", tmp_path / "full"])
    assert found == [tmp_path / "full/a.wav"]
    assert rejected == [
        (str(tmp_path / "empty"), "no audio files in this folder"),
        (str(tmp_path / "full/closed"), "cannot be read (Permission denied)"),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "path,note\nsub/a.wav,x\n{root}/b.wav,y\n"),
        ("list.csv", "EmoClass,FileName\nA,sub/a.wav\nH,{root}/b.wav\n"),
        ("LIST.CSV", "\ufeffpath\nsub/a.wav\n\n{root}/b.wav\n"),
        ("list.txt", "\ufeffsub/a.wav\n\n{root}/b.wav"),
    ],
)
def test_paths_in_a_list_are_relative_to_its_folder(name, content, tmp_path):
    source = tmp_path / "lists" / name
    source.parent.mkdir()
    source.write_text(content.format(root=tmp_path))
    assert found_in(source) == [str(tmp_path / "lists/sub/a.wav"), str(tmp_path / "b.wav")]


def test_paths_in_a_list_may_begin_with_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    (tmp_path / "list.txt").write_text("~/a.wav\nb.wav\n")
    assert find([tmp_path / "list.txt"])[0] == [Path("/home/somebody/a.wav"), tmp_path / "b.wav"]


def test_folder_in_a_list_is_reported(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "list.txt").write_text("clips\n")
    rows, rejected = cut(find([tmp_path / "list.txt"])[0], 5.0, tmp_path)
    assert rows.empty and rejected == [(str(tmp_path / "clips"), "is a folder, not an audio file")]


def test_a_list_may_contain_unusual_names(tmp_path):
    names = ["two\nlines.wav", "re\rturn.wav", 'quo"te, comma.wav', " space .wav", "-dash.wav", "=1+1.wav"]
    files.write_csv(pd.DataFrame({"path": names}), tmp_path / "list.csv")
    assert found_in(tmp_path / "list.csv") == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.csv", "file\na.wav\n", "path or FileName"),
        ("list.csv", "path\n", "no file names"),
        ("list.csv", "", "not a readable table"),
        ("list.txt", "\n\n", "no file names"),
        ("list.txt", "caf\xe9.wav", "not a readable text file"),
        ("list.txt", None, "not found"),
        ("list.csv", None, "not found"),
    ],
)
def test_invalid_list_is_reported(name, content, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        find([tmp_path / name])
    assert_names(str(caught.value), f"{tmp_path / name}: ", words)


def test_a_file_given_twice_counts_once_and_equal_names_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = write_noise(tmp_path / "one/a.wav"), write_noise(tmp_path / "other/a.wav")
    (tmp_path / "list.txt").write_text("one/../other/a.wav\none/a.wav\n")
    assert found_in(Path("one/a.wav"), tmp_path, tmp_path / "list.txt", one) == ["one/a.wav", str(other)]


def test_a_given_file_may_have_any_suffix(tmp_path):
    paths = [tmp_path / "recording", tmp_path / "x.sound"]
    assert found_in(*paths) == list(map(str, paths))


def test_common_formats_of_libsndfile_are_found():
    extensions = {f".{name.lower()}" for name in soundfile.available_formats()}
    common = {".wav", ".flac", ".mp3", ".ogg", ".aiff", ".au", ".caf", ".w64", ".rf64", ".voc"}
    assert common <= extensions and common <= {*recordings.SUFFIXES}
