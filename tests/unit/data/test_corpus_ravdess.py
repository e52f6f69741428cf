"""RAVDESS as downloaded: labels from file names, splits from actors, and ignored files."""

from itertools import product
from pathlib import Path

import pytest

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data.corpora import prepare
from abhinaya.data.corpora.kinds import ravdess
from abhinaya.data.corpora.kinds.ravdess import Ravdess
from abhinaya.runtime.errors import UserError
from support.speech import write_noise

EMOTIONS = {"01": "N", "03": "H", "04": "S", "05": "A", "06": "F", "07": "D", "08": "U"}


def record(root: Path, name: str, rate: int = 16_000, channels: int = 1, suffix: str = "wav") -> None:
    write_noise(root / f"Actor_{name[-2:]}" / f"{name}.{suffix}", 0.2, rate, channels)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six actors; actor 2 in FLAC, actor 3 in 48 kHz stereo; also a song, a video's audio and other files."""
    root = tmp_path_factory.mktemp("ravdess")
    for actor, emotion, statement in product(range(1, 7), ("01", "02", *list(EMOTIONS)[1:]), ("01", "02")):
        name = f"03-01-{emotion}-01-{statement}-01-{actor:02}"
        if actor == 3:
            record(root, name, rate=48_000, channels=2)
        else:
            record(root, name, suffix="flac" if actor == 2 else "wav")
    record(root, "03-02-03-01-01-01-01")
    record(root, "01-01-03-01-01-01-01")
    record(root, "03-01-03-01-01-02-01", suffix="WAV")
    (root / "Actor_01" / "._03-01-03-01-01-01-01.wav").write_bytes(b"junk")
    (root / "Actor_01" / "notes.txt").write_text("notes")
    (root / "README.md").write_text("description")
    return root


def corpus(folder: Path, **settings) -> Ravdess:
    actors = {"train_actors": [1, 2, 3], "validation_actors": [4], "test_actors": [5, 6]}
    return config.parse(AnyCorpus, {"kind": "ravdess", "root": str(folder), **actors, **settings})


def test_labels_come_from_file_names(root: Path) -> None:
    table = ravdess.read(corpus(root)).set_index("FileName")
    assert len(table) == 6 * 7 * 2 + 1
    row = table.loc["03-01-06-01-02-01-02.flac"]
    assert (row["EmoClass"], row["Gender"], row["SpkrID"], row["role"]) == ("F", "Female", "Actor_02", "train")
    assert row["text"] == "Dogs are sitting by the door"
    assert table.loc["03-01-03-01-01-02-01.WAV", "EmoClass"] == "H"
    for name, letter in table["EmoClass"].items():
        assert EMOTIONS[name[6:8]] == letter


def test_calm_can_count_as_neutral(root: Path) -> None:
    neutral = ravdess.read(corpus(root, calm="neutral"))["EmoClass"].eq("N").sum()
    assert neutral == 2 * ravdess.read(corpus(root))["EmoClass"].eq("N").sum()


def test_splits_come_from_actors_for_any_audio_format(root: Path) -> None:
    prepared = prepare(corpus(root), seed=3, folder=root, workers=2)
    actors = prepared.manifest.groupby("split")["SpkrID"].unique().map(sorted).to_dict()
    assert actors["train"] == ["Actor_01", "Actor_02", "Actor_03"]
    assert actors["validation"] == ["Actor_04"]
    assert actors["test"] == ["Actor_05", "Actor_06"]
    assert prepared.manifest["duration"].to_numpy() == pytest.approx(0.2)
    assert set(prepared.references["text"]) == {"Kids are talking by the door", "Dogs are sitting by the door"}
    assert len(prepared.references) == len(prepared.manifest)


def test_unlisted_actors_are_unused(root: Path) -> None:
    manifest = prepare(corpus(root, test_actors=[5]), 3, root).manifest
    assert manifest.loc[manifest["SpkrID"] == "Actor_06", "split"].isna().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "nowhere"}, "nowhere: .*corpus.root"),
        ({"train_actors": [1, 24]}, r"corpus\.train_actors: .*actor 24"),
        ({"classes": ["A", "C"]}, r"C \(contempt\)"),
    ],
)
def test_invalid_settings_are_reported(root: Path, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepare(corpus(root, **settings), 1, root)


def test_folder_without_speech_is_reported(tmp_path: Path) -> None:
    record(tmp_path, "03-02-03-01-01-01-01")
    with pytest.raises(UserError, match=r"speech recordings.*corpus\.root"):
        ravdess.read(corpus(tmp_path))


def test_unknown_emotion_is_reported(tmp_path: Path) -> None:
    record(tmp_path, "03-01-09-01-01-01-01")
    with pytest.raises(UserError, match=r"09-01-01-01-01\.wav: unknown emotion 09"):
        ravdess.read(corpus(tmp_path))


def test_duplicate_recording_in_two_formats_is_reported(tmp_path: Path) -> None:
    record(tmp_path, "03-01-05-01-01-01-01")
    record(tmp_path, "03-01-05-01-01-01-01", suffix="flac")
    with pytest.raises(UserError, match="03-01-05-01-01-01-01"):
        ravdess.read(corpus(tmp_path))
