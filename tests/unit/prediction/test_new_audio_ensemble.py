"""New recordings, labelled with all members of an ensemble and their vote."""

import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

import predict_ensemble
from abhinaya.evaluation import voting
from abhinaya.evaluation.fusion.rule import FittedFusion, Method, fit
from abhinaya.labels import CLASSES
from abhinaya.prediction import new_audio, systems
from abhinaya.prediction import predict as prediction
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support.chat_server import ChatServer
from support.fusion_parts import sample
from support.messages import assert_names
from support.new_audio_parts import COLUMNS, as_manifest, probabilities, three_clips


@pytest.fixture
def models_in_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of trained models in memory after each system."""
    loaded, counts = [], []
    load, free_memory = prediction.load_model, new_audio.free_memory

    def recorded_load(*arguments: object) -> tuple:
        model, *others = load(*arguments)
        loaded.append(weakref.ref(model))
        return model, *others

    def recorded_free(gpus: int) -> None:
        free_memory(gpus)
        counts.append(sum(model() is not None for model in loaded))

    monkeypatch.setattr(prediction, "load_model", recorded_load)
    monkeypatch.setattr(new_audio, "free_memory", recorded_free)
    return counts


@pytest.mark.slow
def test_all_members_label_and_vote(
    call, ensemble: Path, clips: Path, chat: ChatServer, models_in_memory: list[int], capsys, tmp_path: Path
) -> None:
    chat.received.clear()
    capsys.readouterr()
    table = call(predict_ensemble, "--ensemble", ensemble, "--audio", *three_clips(clips), clips / "talk.flac")
    printed = capsys.readouterr()
    members = ["s1", "t1", "t2", "z"]
    assert list(table.columns) == [*COLUMNS, "text", *(f"vote_{member}" for member in members), "tie"]
    assert len(table) > 4 and ((table["end"] - table["start"]) <= 4.0).all()  # the limit of s1
    assert table["vote_t1"].tolist()[:3] == ["H", "S", "D"]  # the second response is invalid: the fallback
    assert "labelled sad, the fallback." in printed.err
    assert sorted(chat.texts) == sorted({*table["text"]})  # one request for each text
    letters = table[[f"vote_{member}" for member in members]].to_numpy().tolist()
    for row, label, tie in zip(letters, table["EmoClass"], table["tie"], strict=True):
        most = [letter for letter in {*row} if row.count(letter) == max(map(row.count, row))]
        assert tie == (len(most) > 1) and label == (row[1] if tie else most[0])
    heading, *shown = (line.split() for line in printed.out.splitlines() if line.strip() and "──" not in line)
    assert heading == ["recording", "seconds", "emotion", "next", *members, "text"]
    assert [letter for letter in shown[0] if letter in CLASSES] == letters[0]
    assert models_in_memory == [0, 0, 0, 0]
    assert not list(tmp_path.glob("out/*.log"))

    table = table.head(3)
    rows = as_manifest(three_clips(clips), table["text"].tolist())
    expected = {name: prediction.predict(ensemble.parent / name / "model", rows, cpus=1) for name in ("s1", "t2")}
    for name, predictions in expected.items():
        assert table[f"vote_{name}"].tolist() == predictions["EmoClass"].tolist()
    one_hot = np.eye(8)[[[CLASSES.index(letter) for letter in table[f"vote_{name}"]] for name in ("t1", "z")]]
    mean = (probabilities(expected["s1"]) + probabilities(expected["t2"]) + one_hot.sum(0)) / 4
    np.testing.assert_allclose(probabilities(table), mean, rtol=0, atol=1e-6)


def test_ties_are_broken_as_in_ensemble_json(
    call, ensemble: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, vote = [], voting.vote
    monkeypatch.setattr(voting, "vote", lambda members, **rules: used.append(rules) or vote(members, **rules))
    shutil.copytree(ensemble.parent / "s1", tmp_path / "s1")
    rules = {"tie_break": "s1", "tie_rule": "probabilities"}
    files.write_json({"members": ["s1"], **rules}, tmp_path / "vote/ensemble.json")
    table = call(predict_ensemble, "--ensemble", tmp_path / "vote", "--audio", clips / "car.flac")
    assert used == [rules] and "text" not in table  # no member reads transcripts


def test_a_fitted_fusion_labels_new_audio(call, ensemble: Path, clips: Path, tmp_path: Path) -> None:
    for name in ("s1", "copy"):
        shutil.copytree(ensemble.parent / "s1", tmp_path / name)
    classes = list(CLASSES)
    fitted = fit(Method("weighted"), sample(60), 0)
    fused = FittedFusion(rule="weighted", members=["s1", "copy"], classes=classes, fitted=fitted)
    files.write_json(fused.model_dump(mode="json", exclude_none=True), tmp_path / "fused/ensemble.json")
    table = call(predict_ensemble, "--ensemble", tmp_path / "fused", "--audio", clips / "car.flac")
    assert list(table.columns) == COLUMNS
    one = prediction.predict(tmp_path / "s1" / "model", as_manifest([clips / "car.flac"]), cpus=1)
    expected = fused.fuse({name: one.set_index("FileName") for name in ("s1", "copy")})
    np.testing.assert_allclose(probabilities(table), probabilities(expected), rtol=0, atol=1e-6)
    assert table["EmoClass"].tolist() == expected["EmoClass"].tolist()


# --- invalid ensembles


def test_a_member_of_another_program_cannot_label_new_audio(ensemble: Path, tmp_path: Path) -> None:
    shutil.copytree(ensemble.parent / "s1", tmp_path / "s1")
    files.write_json({"preds": "theirs.csv"}, tmp_path / "theirs/source.json")
    files.write_json({"members": ["s1", "theirs"], "tie_break": "s1"}, tmp_path / "vote/ensemble.json")
    with pytest.raises(UserError) as caught:
        systems.read_ensemble(tmp_path / "vote")
    assert_names(str(caught.value), "member theirs", "another program")


@pytest.mark.parametrize("content", [{"rule": "weighted"}, {"rule": "median", "members": ["s1"]}, {"rule": None}])
def test_an_invalid_fusion_is_reported(content: dict, tmp_path: Path) -> None:
    files.write_json(content, tmp_path / "fused/ensemble.json")
    with pytest.raises(UserError) as caught:
        systems.read_ensemble(tmp_path / "fused")
    assert_names(str(caught.value), "fused/ensemble.json: ", "fit the fusion again")


def test_missing_member_is_reported_with_its_target(ensemble: Path, tmp_path: Path) -> None:
    for name in ("vote", "s1", "t1", "z"):
        shutil.copytree(ensemble.parent / name, tmp_path / name)
    for folder, names in (
        ("vote", ("t2: ", "`snakemake results/t2/preds.csv`")),
        ("s1", ("s1/ensemble.json: ", "`snakemake results/s1/preds.csv`")),
    ):
        with pytest.raises(UserError) as caught:
            systems.read_ensemble(tmp_path / folder)
        assert_names(str(caught.value), *names)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("vote/ensemble.json", {"members": ["s1"], "tie_break": "t2"}, "tie_break 't2'"),
        ("vote/ensemble.json", {"members": "s1", "tie_break": "s1"}, "members"),
        ("vote/ensemble.json", {}, "members"),
        ("t1/labelling.json", {"settings": {}}, "settings or classes"),
        ("t1/labelling.json", [], "not a JSON object"),
        ("t1/labelling.json", {"settings": {"family": "speech"}, "classes": ["A"]}, "family"),
    ],
)
def test_invalid_files_of_an_ensemble_are_reported(
    file: str, content: object, words: str, ensemble: Path, tmp_path: Path
) -> None:
    shutil.copytree(ensemble.parent, tmp_path / "results")
    files.write_json(content, tmp_path / "results" / file)
    with pytest.raises(UserError) as caught:
        systems.read_ensemble(tmp_path / "results/vote")
    assert str(tmp_path / "results" / file) in str(caught.value) and words in str(caught.value)


def test_a_zero_shot_member_may_have_an_empty_model_folder(ensemble: Path, tmp_path: Path) -> None:
    shutil.copytree(ensemble.parent, tmp_path / "results")
    (tmp_path / "results/t1/model").mkdir()
    assert isinstance(systems.read_ensemble(tmp_path / "results/vote")[1]["t1"], systems.ZeroShotText)
