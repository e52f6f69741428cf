"""Folds share no speaker or session; leaks between splits are found."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.config.corpus import Split
from abhinaya.data.corpora import folds, leaks, prepare
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise


def rows(speakers: list[int], letters: str = "AHNS") -> pd.DataFrame:
    """An utterance of each speaker's number in turn, with letters in turn."""
    return pd.DataFrame(
        {
            "FileName": [f"{index:04}.wav" for index in range(len(speakers))],
            "SpkrID": [f"s{speaker}" for speaker in speakers],
            "EmoClass": [letters[index % len(letters)] for index in range(len(speakers))],
        }
    )


@settings(max_examples=10)
@given(st.lists(st.integers(0, 9), min_size=30, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_a_speaker_is_in_one_fold_whatever_the_order(speakers: list[int], count: int, seed: int) -> None:
    table, split = rows(speakers), Split(by="speaker", folds=count)
    if table["SpkrID"].nunique() < count:
        return
    assigned = folds.assign(table, split, seed)
    assert set(assigned) == set(range(1, count + 1))
    assert (assigned.groupby(table["SpkrID"]).nunique() == 1).all()
    shuffled = table.sample(frac=1, random_state=1)
    assert folds.assign(shuffled, split, seed).sort_index().tolist() == assigned.tolist()


@settings(max_examples=10)
@given(st.lists(st.integers(0, 9), min_size=40, max_size=60), st.integers(2, 5))
def test_roles_of_all_folds(speakers: list[int], count: int) -> None:
    table, split = rows(speakers), Split(by="speaker", folds=count)
    largest = table["SpkrID"].value_counts().max()
    if table["SpkrID"].nunique() < max(count, 3) or largest > 20:
        return
    assigned = folds.assign(table, split, 1)
    by_fold = [folds.roles(table, assigned, split, fold, 1) for fold in range(1, count + 1)]
    tested = pd.concat([table["FileName"][roles == "test"] for roles in by_fold])
    assert sorted(tested) == table["FileName"].tolist()  # each utterance once
    for roles in by_fold:
        assert {"train", "development", "test"} == set(roles)
        of_speaker = roles.groupby(table["SpkrID"]).nunique()
        if count > 2:
            assert (of_speaker == 1).all()
        else:
            assert (roles.where(roles == "test", "other").groupby(table["SpkrID"]).nunique() == 1).all()


def test_as_many_groups_as_folds_are_folds_in_natural_order() -> None:
    table = rows([10, 2, 1, 10, 2, 1])
    assert folds.assign(table, Split(by="speaker", folds=3), 1).tolist() == [3, 2, 1, 3, 2, 1]


def test_two_speakers_share_the_training_only() -> None:
    table, split = rows([1, 2] * 40), Split(by="speaker", folds=2)
    roles = folds.roles(table, folds.assign(table, split, 1), split, 1, 1)
    assert set(table["SpkrID"][roles == "test"]) == {"s1"}
    assert set(table["SpkrID"][roles != "test"]) == {"s2"}
    assert (roles == "development").sum() == 8


def test_rows_without_a_label_have_no_fold() -> None:
    table = rows([1, 2, 3])
    table.loc[1, "EmoClass"] = None
    assert folds.assign(table, Split(by="speaker", folds=2), 1).isna().tolist() == [False, True, False]


def test_published_folds_are_used_as_they_are() -> None:
    table = rows([1, 1, 2, 2]).assign(fold=["2", "1", "3", "1"])
    assert folds.assign(table, Split(folds=3), 1).tolist() == [2, 1, 3, 1]
    with pytest.raises(UserError, match=r"corpus\.split\.folds: 2"):
        folds.assign(table, Split(folds=2), 1)


@pytest.mark.parametrize(
    ("split", "parts"),
    [
        (Split(by="speaker", folds=4), ["corpus.split.folds", "3 values of SpkrID"]),
        (Split(by="session"), ["corpus.split.by", "session", "0000.wav"]),
        (Split(folds=2), ["corpus.split.by", "fold"]),
    ],
)
def test_missing_groups_are_reported(split: Split, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        folds.assign(rows([1, 2, 3]), split, 1)
    assert_names(str(caught.value), *parts)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"split": {"by": "speaker", "fold": 6}}, "split.fold"),
        ({"split": {"fold": 2}}, "split.fold"),
        ({"split": {"by": "voice"}}, "split.by"),
        ({"split": {"folds": 1}}, "split.folds"),
        ({"split": {"by": "speaker"}, "validation": {"per_class": 3}}, "validation.per_class"),
        ({"split": {"by": "speaker"}, "validation": {"files": "list.txt"}}, "validation.files"),
    ],
)
def test_invalid_settings_are_reported(values: dict, key: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(AnyCorpus, {"kind": "csv", "table": "t.csv", **values}, "corpus")
    assert_names(str(caught.value), f"`{key}`: ")


# --- a whole corpus


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """corpus.csv without a column `split`: four speakers, two classes, one utterance without a label."""
    folder = tmp_path_factory.mktemp("speakers")
    lines = ["path,EmoClass,SpkrID"]
    for index in range(16):
        write_noise(folder / f"{index:02}.wav", 0.2 + index / 1000)
        lines.append(f"{index:02}.wav,{'AH'[index // 4 % 2]},{'wxyz'[index % 4]}")
    write_noise(folder / "last.wav")
    (folder / "corpus.csv").write_text("\n".join([*lines, "last.wav,,w"]))
    return folder


def test_folds_of_a_corpus_have_a_manifest_each(speakers: Path) -> None:
    values = {"kind": "csv", "table": str(speakers / "corpus.csv"), "split": {"by": "speaker", "folds": 4, "fold": 2}}
    prepared = prepare(config.parse(AnyCorpus, values), 1, speakers)
    manifests = {2: prepared.manifest, **prepared.other_folds}
    assert sorted(manifests) == [1, 2, 3, 4]
    for fold, manifest in manifests.items():
        of = manifest.groupby("split")["SpkrID"].unique().map(list).to_dict()
        assert of["test"] == ["wxyz"[fold - 1]] and of["validation"] == ["wxyz"[fold % 4]] and len(of["train"]) == 2
        assert manifest["FileName"][manifest["split"].isna()].tolist() == ["last.wav"]
    assert prepared.summary["leaks"] == {"speakers": {}, "recordings": {}}
    again = prepare(config.parse(AnyCorpus, values), 1, speakers)
    pd.testing.assert_frame_equal(prepared.other_folds[1], again.other_folds[1])


# --- leaks


def manifest(folder: Path, entries: list[tuple[str, str | None, str]]) -> pd.DataFrame:
    table = pd.DataFrame(entries, columns=["FileName", "split", "SpkrID"])
    return table.assign(path=[str(folder / name) for name in table["FileName"]])


def test_speakers_and_identical_recordings_in_two_splits_are_found(tmp_path: Path) -> None:
    for name, content in {"a": b"1234", "b": b"1235", "c": b"1234", "d": b"12345", "e": b"1234"}.items():
        (tmp_path / name).write_bytes(content)
    entries = [("a", "train", "x"), ("b", "validation", "x"), ("c", "test", "y"), ("d", "test", "z"), ("e", None, "x")]
    found = leaks.find(manifest(tmp_path, entries))
    assert found == {"speakers": {"train, validation": ["x"]}, "recordings": {"train, test": [["a", "c"]]}}
    assert len(leaks.sentences(found)) == 2


def test_unknown_speakers_are_no_leak(tmp_path: Path) -> None:
    table = manifest(tmp_path, [("a", "train", None), ("b", "test", None)])
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert leaks.find(table) == {"speakers": {}, "recordings": {}}
