"""Transcripts of a corpus, from shards or another table: complete, in the manifest's order, with counts."""

import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import merge_transcripts
from abhinaya.data import schemas
from abhinaya.runtime import errors, files
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import transcripts
from abhinaya.transcription.transcripts import SHARD, merge
from support.messages import assert_names

NAMES = ["c.wav", "a.wav", "b.wav"]


@pytest.fixture
def manifest() -> pd.DataFrame:
    return pd.DataFrame({"FileName": NAMES, "path": NAMES, "split": ["train", None, "test"], "duration": 1.0}).reindex(
        columns=schemas.MANIFEST.names
    )


def shard(path: Path, names: list[str], **columns: object) -> Path:
    table = pd.DataFrame({"FileName": names, "text": [f"this is {name}" for name in names], **columns})
    files.write_parquet(table, SHARD, path, {"model": "tiny", "options": {"beam_size": 5}})
    return path


@pytest.mark.slow
def test_shards_are_merged_in_the_manifests_order(manifest: pd.DataFrame, tmp_path: Path) -> None:
    sources = [shard(tmp_path / "0", ["a.wav", "c.wav"], avg_logprob=-0.5), shard(tmp_path / "1", ["b.wav"])]
    for order in (sources, sources[::-1]):
        merged, metadata = merge(manifest, order, "all")
        assert merged["FileName"].tolist() == NAMES
        assert merged["text"].tolist() == [f"this is {name}" for name in NAMES]
        assert merged.columns.tolist() == schemas.TRANSCRIPTS.names
        assert metadata["model"] == "tiny"
        assert metadata["options"] == {"beam_size": 5}


def test_empty_and_redecoded_transcripts_are_counted(manifest: pd.DataFrame, tmp_path: Path) -> None:
    source = shard(tmp_path / "0", NAMES, temperature=[0.0, 0.4, None]).with_name("1")
    table = pd.read_parquet(tmp_path / "0").assign(text=["", " ", "hello"])
    files.write_parquet(table, SHARD, source)
    assert merge(manifest, [source], "all")[1]["counts"] == {"utterances": 3, "empty": 2, "redecoded": 1}


def test_another_table_needs_two_columns(manifest: pd.DataFrame, tmp_path: Path) -> None:
    """Its rows and columns may be in any order; further ones are ignored."""
    path = tmp_path / "human.parquet"
    table = pd.DataFrame({"text": ["1", "2", "3", "4"], "FileName": [*sorted(NAMES), "z.wav"], "author": "me"})
    table.to_parquet(path)
    merged, metadata = merge(manifest, [path], "all")
    assert merged["text"].tolist() == ["3", "1", "2"]
    assert merged["language"].isna().all()
    assert metadata == {"model": "human.parquet", "counts": {"utterances": 3, "empty": 0, "redecoded": 0}}


def test_unused_utterances_may_lack_a_transcript(manifest: pd.DataFrame, tmp_path: Path) -> None:
    source = shard(tmp_path / "0", ["b.wav", "c.wav"])
    merged, metadata = merge(manifest, [source], "used")
    assert merged["FileName"].tolist() == ["c.wav", "b.wav"]
    assert metadata["counts"]["utterances"] == 2
    with pytest.raises(UserError, match=r"no transcript for 1 of 3 .*a\.wav"):
        merge(manifest, [source], "all")


def missing(path: Path) -> None:
    shard(path, ["c.wav"])


def twice(path: Path) -> None:
    shard(path, [*NAMES, "a.wav"])


def no_text(path: Path) -> None:
    pd.DataFrame({"FileName": NAMES}).to_parquet(path)


def no_names(path: Path) -> None:
    pd.DataFrame({"text": NAMES}).to_parquet(path)


def null_text(path: Path) -> None:
    pd.DataFrame({"FileName": NAMES, "text": ["x", None, "y"]}).to_parquet(path)


def csv(path: Path) -> None:
    path.write_text("FileName,text\na.wav,hello\n")


def truncated(path: Path) -> None:
    shard(path, NAMES)
    path.write_bytes(path.read_bytes()[:-20])


def absent(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, "no transcript for 2 of 3 utterances"),
        (twice, "duplicate FileName 'a.wav'"),
        (no_text, "column text is missing"),
        (no_names, "column FileName is missing"),
        (null_text, "wrong type or null"),
        (csv, "not a readable Parquet file"),
        (truncated, "not a readable Parquet file"),
        (absent, "file not found"),
    ],
)
def test_invalid_tables_are_reported(manifest: pd.DataFrame, tmp_path: Path, make, words: str) -> None:
    path = tmp_path / "source.parquet"
    make(path)
    with pytest.raises(UserError) as caught:
        merge(manifest, [path], "all")
    assert_names(str(caught.value), str(path), words)


def test_an_utterance_in_two_shards_is_reported(manifest: pd.DataFrame, tmp_path: Path) -> None:
    sources = [shard(tmp_path / "0", NAMES), shard(tmp_path / "1", ["a.wav"])]
    with pytest.raises(UserError, match=r"duplicate FileName 'a\.wav'"):
        merge(manifest, sources, "all")


def test_the_script_writes_the_columns_of_transcripts(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    schemas.write_manifest(manifest, tmp_path / "manifest.parquet")
    sources = [shard(tmp_path / "0", NAMES[:1], temperature=1.0), shard(tmp_path / "1", NAMES[1:])]
    options = ["--manifest", tmp_path / "manifest.parquet", "--output", tmp_path / "out.parquet", "--sources"]
    monkeypatch.setattr(sys, "argv", ["merge_transcripts.py", *map(str, [*options, *sources])])
    errors.run(merge_transcripts.main)
    assert capsys.readouterr().out == "3 transcripts, 0 empty, 1 decoded again\n"
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema.equals(schemas.TRANSCRIPTS)
    assert json.loads(written.schema.metadata[b"abhinaya"])["counts"]["redecoded"] == 1
    assert transcripts.merge(manifest, [tmp_path / "out.parquet"], "all")[0]["text"].tolist() == [
        f"this is {name}" for name in NAMES
    ]

    monkeypatch.setattr(sys, "argv", ["merge_transcripts.py", *map(str, [*options, tmp_path / "none"])])
    with pytest.raises(SystemExit, match=r"^error: .*none: file not found"):
        errors.run(merge_transcripts.main)
