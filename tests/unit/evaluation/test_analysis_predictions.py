from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, f1_score

from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation import metrics, voting
from abhinaya.evaluation.analysis import predictions as evaluation
from abhinaya.evaluation.analysis.predictions import Ensemble
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from support.analysis_parts import guess, made, manifest, predictions, truths, write_files

LABELS = {"s1": list("AACHN"), "s2": list("ACCSU"), "t1": list("UCDSN")}


def voted(labels: dict[str, list[str]], tie_break: str = "s2", rule: str = "label") -> pd.DataFrame:
    members = {name: predictions(given, seed=seed).set_index(KEY) for seed, (name, given) in enumerate(labels.items())}
    return voting.vote(members, tie_break, rule)


@pytest.fixture
def files(tmp_path) -> dict:
    """Five validation utterances, three systems and their vote; one utterance has no transcript."""
    tables = {name: predictions(given, seed=seed) for seed, (name, given) in enumerate(LABELS.items())}
    texts = {f"validation_{index:04d}.wav": f"word {index}" for index in range(4)}
    return write_files(tmp_path, manifest(list("AACON")), tables | {"vote": voted(LABELS)}, texts)


def test_reads_the_labelled_utterances(files):
    found = evaluation.read(**files, ties={"vote": ("s2", "label")})
    (split,) = found.splits
    assert split.name == "validation"
    assert split.utterances["EmoClass"].tolist() == ["A", "A", "C", "N"]  # the fourth is labelled O
    assert split.utterances["text"].iloc[:3].tolist() == ["word 0", "word 1", "word 2"]
    assert pd.isna(split.utterances["text"].iloc[3])
    assert list(split.predictions) == ["s1", "s2", "t1", "vote"]
    for table in split.predictions.values():
        assert table.index.equals(split.utterances.index)
    assert "".join(np.array(CLASSES)[split.predicted["t1"]]) == "UCDN"
    assert "".join(np.array(CLASSES)[split.truth]) == "AACN"
    assert found.ensembles == {"vote": Ensemble(["s1", "s2", "t1"], "s2", "label")}


def test_transcripts_are_optional(files):
    (split,) = evaluation.read(files["manifest"], None, files["preds"]).splits
    assert split.utterances["text"].isna().all()


def test_only_validation_and_test_with_labels_are_splits(tmp_path):
    rows = pd.concat([manifest(list("AC")), manifest([None, None], "test"), manifest(list("AC"), "train")])
    table = pd.concat([predictions(list("AC")), predictions(list("AC"), "test")])
    found = evaluation.read(**write_files(tmp_path, rows, {"s1": table}, {}))
    assert [split.name for split in found.splits] == ["validation"]
    assert len(found.splits[0].truth) == 2
    nothing = manifest([None, "X"])
    found = evaluation.read(**write_files(tmp_path, nothing, {"s1": predictions(list("AC"))}, {}))
    assert found.splits == []


def test_rows_are_aligned(tmp_path):
    rows = manifest(list("ACDFHNSU"))
    table = predictions(list("ACDFHNSU"))
    files = write_files(tmp_path, rows.sample(frac=1, random_state=1), {"s1": table, "s2": table}, {})
    (split,) = evaluation.read(**files).splits
    assert (split.predicted["s2"] == split.truth).all()
    assert split.utterances.index.is_monotonic_increasing


def test_scores_equal_those_of_metrics():
    truth = truths(120)
    split = made(truth, {"s1": guess(truth, 0.4, 1)})
    table = split.predictions["s1"].reset_index()
    expected = metrics.score(split.utterances.reset_index(), table, 1)["validation"]
    assert split.macro_f1(split.predicted["s1"]) == pytest.approx(expected["macro_f1"], abs=1e-12)
    assert split.macro_f1(split.predicted["s1"]) == pytest.approx(
        f1_score(truth, guess(truth, 0.4, 1), average="macro")
    )
    counts = evaluation.confusion(split.truth, split.predicted["s1"])
    assert (counts == confusion_matrix(truth, guess(truth, 0.4, 1), labels=CLASSES)).all()


def test_confusion_counts_combinations():
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 8, (3, 500))
    counts = evaluation.confusion(*arrays)
    assert counts.shape == (8, 8, 8)
    for cell in [(0, 1, 2), (7, 7, 7), (3, 0, 5)]:
        assert counts[cell] == (arrays == np.array(cell)[:, None]).all(axis=0).sum()
    assert (counts.sum(axis=2) == evaluation.confusion(*arrays[:2])).all()


def test_probability_of_the_given_class_is_at_most_one():
    split = made(list("AC"), {"s1": list("AC")})
    table = split.predictions["s1"]
    table[list(PROBABILITIES)] = np.eye(8)[[0, 3]] * 1.0004  # sums of 1 ± 1e-3 are accepted
    assert split.probability("s1", np.array([0, 1])).tolist() == [1, 0]
    assert split.probability("s1", np.array([2, 3])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("ties", "message"),
    [
        ({"s1": ("s1", "label")}, "s1/preds.csv: .*votes"),
        ({"vote": ("st1", "label")}, "tie-breaker 'st1'"),
        (
            {"vote": ("s1", "label")},
            r"vote/preds.csv: 2 utterances \(validation_0000.wav, validation_0004.wav\) .*s1, s2, t1",
        ),
    ],
)
def test_ensemble_must_match_its_settings(tmp_path, ties, message):
    labels = {"s1": list("AACHN"), "s2": list("CCCSU"), "t1": list("UCDSS")}
    tables = {name: predictions(given, seed=seed) for seed, (name, given) in enumerate(labels.items())}
    files = write_files(tmp_path, manifest(list("AACON")), tables | {"vote": voted(labels)}, {})
    with pytest.raises(UserError, match=message):
        evaluation.read(**files, ties=ties)


def test_outdated_vote_is_reported(files, tmp_path):
    newer = predictions(list("UUUUU"), seed=1)
    files = write_files(
        tmp_path,
        manifest(list("AACON")),
        {"s1": newer, "s2": newer, "t1": newer, "vote": voted(LABELS)},
        {},
    )
    with pytest.raises(UserError, match="--tie-breaks and --tie-rules"):
        evaluation.read(**files, ties={"vote": ("s2", "label")})


def test_all_voters_are_required(files):
    preds = {name: path for name, path in files["preds"].items() if name != "t1"}
    with pytest.raises(UserError, match=r"--names: .*vote.*t1"):
        evaluation.read(files["manifest"], files["transcripts"], preds, {"vote": ("s2", "label")})


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (predictions(list("AACH")), voting.MissingPredictions, r"s2 .*1 utterance \(.*0004.wav\)"),
        (predictions(list("AACHN"), "test"), UserError, "s1 .*5 utterances"),
        (predictions(list("AACHN")).assign(Split="test"), UserError, "s2/preds.csv: Split .*s1/preds.csv"),
    ],
)
def test_predictions_must_match_each_other(tmp_path, table, error, message):
    files = write_files(tmp_path, manifest(list("AACON")), {"s1": predictions(list("AACHN")), "s2": table}, {})
    with pytest.raises(error, match=message):
        evaluation.read(**files)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (manifest(list("AACONA")), r"s1/preds.csv: 1 utterance \(.*0005.wav\)"),
        (manifest(list("AACO")), r"s1/preds.csv: 1 utterance \(.*0004.wav\)"),
    ],
)
def test_predictions_must_match_the_manifest(tmp_path, rows, message):
    files = write_files(tmp_path, rows, {"s1": predictions(list("AACHN"))}, {})
    with pytest.raises(UserError, match=message):
        evaluation.read(**files)


def test_missing_files_are_reported(files):
    for key in ("manifest", "transcripts"):
        with pytest.raises(UserError, match=r"nowhere: .*not found"):
            evaluation.read(**files | {key: Path("nowhere")})
    with pytest.raises(UserError, match=r"nowhere: .*not found"):
        evaluation.read(**files | {"preds": {"s1": Path("nowhere")}})
