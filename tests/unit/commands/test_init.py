"""`abhinaya init`: known corpora, folders, tables; nothing is overwritten."""

import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from abhinaya import config
from abhinaya.commands import start
from abhinaya.data.corpora import prepare
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Sixty different recordings."""
    folder = tmp_path_factory.mktemp("clips")
    return [write_noise(folder / f"{index}.wav", 0.11 + index / 4000, 8000) for index in range(60)]


def copies(clips: list[Path], root: Path, names: list[str]) -> None:
    for clip, name in zip(clips, names, strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / name)


def prepared(output: Path) -> pd.DataFrame:
    return prepare(config.load(output / "mine.yaml").corpus, 1, output / "audio").manifest


def test_known_corpus_is_recognised(clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    copies(clips, tmp_path / "in", [f"wav/{s}a01{letter}a.wav" for s, letter in product(speakers, "WLFTN")])
    start.init(tmp_path / "in", tmp_path)
    assert config.load(tmp_path / "mine.yaml").corpus.kind == "emodb"
    printed = capsys.readouterr().out
    assert "emodb, 40 recordings" in printed and "left out: 10 L" in printed
    assert f"snakemake --configfile {tmp_path / 'mine.yaml'}" in printed and "warning" not in printed


def test_folder_of_speakers_and_emotions(clips: list[Path], tmp_path: Path) -> None:
    places = [f"{s}/{word}/{n}.wav" for s, word, n in product("abcde", ("angry", "happy", "sad"), range(3))]
    copies(clips, tmp_path / "in", [*places, "a/what/ever.wav"])
    start.init(tmp_path / "in", tmp_path / "out")
    manifest = prepared(tmp_path / "out")
    assert len(manifest) == 45 and set(manifest["SpkrID"]) == set("abcde")
    assert (manifest.groupby("SpkrID")["split"].nunique() == 1).all()


def test_names_of_files_and_unknown_speakers(clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    copies(clips, tmp_path / "in", [f"clip{n}-{word}.wav" for n, word in product(range(30), ("Angry", "joy"))])
    start.init(tmp_path / "in", tmp_path / "out")
    assert "may share speakers" in capsys.readouterr().out
    assert prepared(tmp_path / "out")["split"].value_counts().index.tolist()[0] == "train"


def test_table_with_own_words(clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = [f"{n}.wav" for n in range(40)]
    copies(clips, tmp_path, names)
    words = ["angry", "freude", "happy", "angry"] * 10
    speakers = [f"s{n % 5}" for n in range(40)]
    table = pd.DataFrame({"file": names, "emotion": words, "speaker": speakers})
    table.to_csv(tmp_path / "mine.tsv", sep="\t", index=False)
    start.init(tmp_path / "mine.tsv", tmp_path / "out")
    assert "freude" in capsys.readouterr().out and not (tmp_path / "out/corpus.csv").exists()
    assert config.load(tmp_path / "out/mine.yaml").corpus.labels == {"freude": None}
    assert len(prepared(tmp_path / "out")) == 30


@pytest.mark.parametrize("name", ["mine.yaml", "corpus.csv"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError) as caught:
        start.init(tmp_path, tmp_path)
    assert_names(str(caught.value), name, "--output")
    assert (tmp_path / name).read_text() == "mine"


def test_nothing_to_use_is_reported(clips: list[Path], tmp_path: Path) -> None:
    copies(clips, tmp_path / "in", ["a.wav", "b.wav"])
    for source in (tmp_path / "in", tmp_path / "nowhere"):
        with pytest.raises(UserError) as caught:
            start.init(source, tmp_path / "out")
        assert_names(str(caught.value), str(source))
    assert not (tmp_path / "out").exists()
