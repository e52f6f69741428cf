"""A corpus from a CSV table: columns, invalid tables, and invalid audio."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data import schemas
from abhinaya.data.corpora import TooManyRejected, fields, prepare
from abhinaya.data.corpora.kinds import csv as csv_table
from abhinaya.data.corpora.kinds.csv import Csv
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "prepare_corpus.py"
ROWS = [(f"{split}/{letter} {n}.wav", letter, split) for split in schemas.SPLITS for letter in "AH" for n in range(3)]
ODD_NAMES = ("with space.wav", 'it\'s "quoted".wav', "Überraschung 驚き.wav", "comma, semicolon;.wav", " edge .wav")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with 18 valid utterances of two classes in three splits, listed in corpus.csv."""
    for name, _, _ in ROWS:
        write_noise(tmp_path / name)
    save(tmp_path, ROWS)
    return tmp_path


def save(root: Path, rows: list[tuple], columns: tuple[str, ...] = ("path", "EmoClass", "split")) -> None:
    pd.DataFrame(rows, columns=list(columns)).to_csv(root / "corpus.csv", index=False)


def corpus(folder: Path, **settings) -> Csv:
    defaults = {"kind": "csv", "table": str(folder / "corpus.csv"), "classes": ["A", "H"]}
    return config.parse(AnyCorpus, defaults | settings)


def test_minimal_table(root: Path) -> None:
    prepared = prepare(corpus(root), 1, root, workers=2)
    manifest = prepared.manifest.set_index("FileName")
    assert manifest["split"].to_dict() == {name: split for name, _, split in ROWS}
    assert manifest["EmoClass"].to_dict() == {name: letter for name, letter, _ in ROWS}
    assert all(Path(path).is_file() for path in manifest["path"])
    assert prepared.references.empty and prepared.rejected.empty


def test_other_development_utterances_are_a_split_only_if_asked(root: Path) -> None:
    settings = corpus(root, validation={"per_class": 2})
    plain, more = (prepare(settings, 1, root, with_development=asked) for asked in (False, True))
    unused = plain.manifest["split"].isna()
    assert unused.sum() == 2
    assert more.manifest["split"].fillna("").tolist() == plain.manifest["split"].fillna("development").tolist()
    assert "development" not in plain.summary["splits"]
    assert more.summary["splits"]["development"]["classes"] == {"A": 1, "H": 1}


def test_optional_columns_are_copied(root: Path) -> None:
    words, splits = {"A": "Anger", "H": "happy"}, {"validation": "dev", "test": "Test"}
    rows = [
        (f"id {n}", name, words[letter], splits.get(split, split), f"s{n % 2}", "3", n, f"text {n}" if n else None, "!")
        for n, (name, letter, split) in enumerate(ROWS)
    ]
    save(root, rows, ("FileName", "path", "EmoClass", "split", "SpkrID", "EmoAct", "votes_A", "text", "weather"))
    prepared = prepare(corpus(root), 1, root)
    manifest = prepared.manifest.set_index("FileName")
    assert set(manifest["EmoClass"]) == {"A", "H"}
    assert manifest["split"].value_counts().to_dict() == dict.fromkeys(schemas.SPLITS, 6)
    assert manifest.loc["id 3", ["SpkrID", "EmoAct", "votes_A"]].tolist() == ["s1", 3.0, 3]
    assert len(prepared.references) == len(ROWS) - 1
    assert prepared.references.set_index("FileName").loc["id 5", "text"] == "text 5"
    schemas.write_manifest(prepared.manifest, root / "manifest.parquet", {})
    assert schemas.read_manifest(root / "manifest.parquet")["votes_A"].sum() == sum(range(18))


def test_hidden_test_labels_and_empty_splits_are_allowed(root: Path) -> None:
    rows = [(name, None if split == "test" else letter, split) for name, letter, split in ROWS]
    write_noise(root / "spare.wav")
    save(root, [*rows, ("spare.wav", "A", None)])
    prepared = prepare(corpus(root), 1, root)
    test = prepared.manifest[prepared.manifest["split"] == "test"]
    assert len(test) == 6 and test["EmoClass"].isna().all()
    assert prepared.manifest.set_index("FileName")["split"].isna()["spare.wav"]


def test_separate_root_and_tab_separator(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("labels") / "corpus.tsv"
    elsewhere.write_text("path\tEmoClass\tsplit\n" + "".join("\t".join(row) + "\n" for row in ROWS))
    assert len(prepare(corpus(root, table=str(elsewhere), root=str(root)), 1, root).manifest) == len(ROWS)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_unusual_file_names(root: Path, name: str) -> None:
    write_noise(root / name)
    save(root, [*ROWS, (name, "A", "train")])
    manifest = prepare(corpus(root), 1, root).manifest
    schemas.write_manifest(manifest, root / "manifest.parquet")
    assert schemas.read_manifest(root / "manifest.parquet").set_index("FileName").loc[name, "split"] == "train"


def test_48_khz_stereo_is_accepted(root: Path) -> None:
    write_noise(root / "studio.wav", 0.3, 48_000, 2)
    save(root, [*ROWS, ("studio.wav", "A", "train")])
    manifest = prepare(corpus(root), 1, root).manifest
    assert manifest.set_index("FileName").loc["studio.wav", "duration"] == pytest.approx(0.3)


def absent(path: Path) -> None:
    pass


def zero_bytes(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    write_noise(path)
    path.write_bytes(path.read_bytes()[:-100])


def not_audio(path: Path) -> None:
    path.write_text("not audio")


def zero_samples(path: Path) -> None:
    write_noise(path, 0)


def ten_milliseconds(path: Path) -> None:
    write_noise(path, 0.01)


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.full(8_000, np.nan), 16_000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (absent, "not found"),
        (zero_bytes, "empty"),
        (truncated, "truncated"),
        (not_audio, "decoded"),
        (zero_samples, "no samples"),
        (ten_milliseconds, "corpus.min_seconds 0.1"),
        (not_a_number, "NaN"),
    ],
)
def test_invalid_audio_is_rejected_and_the_run_continues(root: Path, make, reason: str) -> None:
    make(root / "broken.wav")
    save(root, [("broken.wav", "A", "train"), *ROWS])
    prepared = prepare(corpus(root, max_rejected=0.1), 1, root)
    assert len(prepared.manifest) == len(ROWS)
    assert prepared.summary["rejected"] == len(prepared.rejected) == 1
    assert list(prepared.rejected.columns) == ["FileName", "path", "reason", "role"]
    row = prepared.rejected.iloc[0]
    assert row["FileName"] == "broken.wav" and row["path"] == str(root / "broken.wav")
    assert reason in row["reason"]
    assert str(root) not in row["reason"].split("(")[0]


@pytest.mark.parametrize("name", ["../{folder}/outside.wav", "train/../train/A 0.wav", "{outside}"])
def test_path_outside_the_folder_of_the_table_is_accepted(root: Path, name: str, tmp_path_factory) -> None:
    outside = write_noise(tmp_path_factory.mktemp("outside") / "outside.wav")
    path = name.format(outside=outside, folder=outside.parent.name)
    save(root, [(path, "A", "train"), *ROWS])
    manifest = prepare(corpus(root), 1, root).manifest.set_index("FileName")
    assert len(manifest) == len(ROWS) + 1 and manifest.loc[path, "split"] == "train"


def test_absolute_path_inside_the_corpus_folder_is_accepted(root: Path) -> None:
    save(root, [(root / name, letter, split) for name, letter, split in ROWS])
    assert len(prepare(corpus(root), 1, root).manifest) == len(ROWS)


def test_duplicate_name_is_reported_for_any_reader(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = csv_table.read(corpus(root))
    monkeypatch.setattr(Csv, "rows", lambda *_: pd.concat([rows, rows.head(1)], ignore_index=True))
    with pytest.raises(UserError, match=r"^corpus: duplicate FileName 'train/A 0\.wav'"):
        prepare(corpus(root), 1, root)


def test_too_many_rejected_utterances_stop_the_run_and_are_listed(root: Path) -> None:
    for name, _, _ in ROWS[:2]:
        (root / name).write_bytes(b"")
    assert len(prepare(corpus(root, max_rejected=2 / 18), 1, root).rejected) == 2
    with pytest.raises(TooManyRejected, match=r"2 of 18 .*A 0\.wav.*corpus\.max_rejected") as raised:
        prepare(corpus(root, max_rejected=0.1), 1, root)
    assert raised.value.rejected["FileName"].tolist() == [ROWS[0][0], ROWS[1][0]]


def test_only_valid_files_are_sampled_for_validation(root: Path) -> None:
    (root / "validation/A 1.wav").write_bytes(b"")
    settings = {"max_rejected": 0.1, "validation": {"per_class": "smallest"}}
    manifest = prepare(corpus(root, **settings), 1, root).manifest
    assert manifest[manifest["split"] == "validation"]["EmoClass"].value_counts().to_dict() == {"A": 2, "H": 2}


def test_validation_list_may_name_a_rejected_file(root: Path) -> None:
    (root / "validation/A 1.wav").write_bytes(b"")
    (root / "list.txt").write_text("validation/A 0.wav\nvalidation/A 1.wav\nvalidation/H 2.wav\n")
    settings = {"max_rejected": 0.1, "validation": {"files": str(root / "list.txt")}}
    manifest = prepare(corpus(root, **settings), 1, root).manifest
    chosen = manifest.loc[manifest["split"] == "validation", "FileName"]
    assert chosen.tolist() == ["validation/A 0.wav", "validation/H 2.wav"]


@pytest.mark.parametrize("split", schemas.SPLITS)
def test_empty_split_is_reported(root: Path, split: str) -> None:
    save(root, [row for row in ROWS if row[2] != split])
    with pytest.raises(UserError, match=f"the {split} split is empty"):
        prepare(corpus(root), 1, root)


def test_class_missing_from_training_is_reported(root: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.classes: .* S \(sad\)"):
        prepare(corpus(root, classes=["A", "H", "S"]), 1, root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,split\na.wav,train\n", r"corpus\.csv: .*EmoClass"),
        ("path,EmoClass,split\n", "empty"),
        ("", "not a readable table"),
        ("path,EmoClass,split\na.wav,Q,train\n", r"EmoClass 'Q' of a\.wav"),
        ("path,EmoClass,split\na.wav,A,holdout\n", r"split 'holdout' of a\.wav"),
        ("path,EmoClass,split\na.wav,A,train\na.wav,A,test\n", r"FileName 'a\.wav'"),
        ("path,EmoClass,split\na.wav,A,train\n,A,test\n", "row 3: path"),
        ("path,EmoClass,split,EmoVal\na.wav,A,train,4\nb.wav,A,test,4,2\n", "EmoVal '4,2'|not a readable table"),
        ("path,EmoClass,split,votes_A\na.wav,A,train,many\n", r"votes_A 'many' of a\.wav"),
        ("path,EmoClass,split,votes_A\na.wav,A,train,-3\n", r"votes_A '-3' of a\.wav"),
        ("path,EmoClass,split,votes_A\na.wav,A,train,1e30\n", r"votes_A '1e30' of a\.wav"),
        ("path,EmoClass,split,EmoVal\na.wav,A,train,-99\n", r"EmoVal '-99' of a\.wav"),
        ("path,EmoClass,split,EmoAct\na.wav,A,train,999\n", r"EmoAct '999' of a\.wav"),
        ("path,EmoClass,split,EmoAct\na.wav,A,train,inf\n", r"EmoAct 'inf' of a\.wav"),
        ("path,EmoClass,split\na.wav,A,train,4\nb.wav,A,test\n", r"corpus\.csv: row 2"),
        ("path,path,EmoClass,split\na.wav,b.wav,A,train\n", r"corpus\.csv: .*column 'path'"),
        ("path, path,EmoClass,split\na.wav,b.wav,A,train\n", r"corpus\.csv: .*column 'path'"),
    ],
)
def test_invalid_table_is_reported(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "corpus.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        csv_table.read(corpus(tmp_path))
    assert_names(str(caught.value), "corpus.csv: ")


def test_trailing_delimiter_is_accepted(root: Path) -> None:
    (root / "corpus.csv").write_text("path,EmoClass,split\n" + "".join(",".join(row) + ",\n" for row in ROWS))
    assert csv_table.read(corpus(root))["FileName"].tolist() == [name for name, _, _ in ROWS]


@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("corpus.csv/inner.csv", "Not a directory")], ids=["folder", "inner"]
)
def test_unreadable_table_is_reported_with_the_reason(root: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"{name}: .*{reason}"):
        csv_table.read(corpus(root, table=str(root / name)))


def test_missing_table_or_folder_is_reported(root: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: .*not found"):
        csv_table.read(corpus(root, table="none.csv"))
    with pytest.raises(UserError, match=r"nowhere: .*corpus\.root"):
        csv_table.read(corpus(root, root="nowhere"))


def run_script(root: Path, settings: dict, workers: int = 2) -> subprocess.CompletedProcess:
    """Run prepare_corpus.py in `root` with the default paths."""
    command = [sys.executable, str(SCRIPT), "--settings", json.dumps(settings), "--seed", "7", f"--workers={workers}"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_script_is_deterministic_and_prints_the_summary(root: Path) -> None:
    settings = {"kind": "csv", "table": "corpus.csv", "classes": ["A", "H"], "max_rejected": 0.1}
    (root / ROWS[0][0]).write_bytes(b"")
    run = run_script(root, settings)
    assert run.returncode == 0, run.stderr
    assert "17 utterances" in run.stdout and "A angry" in run.stdout and "1 rejected" in run.stdout
    folder = root / "results/corpus"
    first = contents(folder)
    names = {"manifest.parquet", "references.parquet", "rejected.csv", "summary.json"}
    parts = ("all_audio", "used_audio", "training", "evaluation", "manifest", "references")
    assert set(first) == names | {f"digests/{part}.sha256" for part in parts}
    manifest = schemas.read_manifest(folder / "manifest.parquet")
    assert manifest["path"].iloc[0] == manifest["FileName"].iloc[0]  # relative to the working directory, as configured
    metadata = files.read_metadata(folder / "manifest.parquet")
    assert metadata["seed"] == 7 and metadata["classes"] == {"A": 2, "H": 3} and metadata["corpus"]["kind"] == "csv"
    assert schemas.read_transcripts(folder / "references.parquet").empty
    assert files.read_json(folder / "summary.json")["splits"]["train"]["classes"] == {"A": 2, "H": 3}
    assert run_script(root, settings).returncode == 0
    assert contents(folder) == first


def test_script_writes_the_list_of_rejected_files_on_failure(root: Path) -> None:
    (root / ROWS[0][0]).write_bytes(b"")
    run = run_script(root, {"kind": "csv", "table": "corpus.csv", "classes": ["A", "H"]})
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1
    assert last.startswith("error: 1 of 18 ")
    assert "results/corpus/rejected.csv" in last
    assert pd.read_csv(root / "results/corpus/rejected.csv")["FileName"].tolist() == [ROWS[0][0]]
    assert not (root / "results/corpus/manifest.parquet").exists()


def test_script_needs_at_least_one_worker(root: Path) -> None:
    run = run_script(root, {"kind": "csv", "table": "corpus.csv", "classes": ["A", "H"]}, workers=0)
    assert run.returncode != 0 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].endswith("error: argument --workers: must be 1 or more, not 0")


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_another_encoding_is_one_line(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes("path,EmoClass,split\nStraße.wav,A,train\n".encode(encoding))
    with pytest.raises(UserError, match=r"c\.csv: .*UTF-8"):
        fields.read_table(tmp_path / "c.csv", ())


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.csv")
    with pytest.raises(UserError, match=r"c\.csv: not a regular file"):
        fields.read_table(tmp_path / "c.csv", ())
    with pytest.raises(UserError, match=r"c\.csv: not a regular file"):
        fields.read_lines(tmp_path / "c.csv", "")
