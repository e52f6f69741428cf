"""The steps of a fusion: which there are, how they are scored and compared, and that fitted ones are cross-fitted."""

import numpy as np
import pandas as pd
import pytest

from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation.analysis.bootstrap import Bootstrap
from abhinaya.evaluation.fusion import linear, steps
from abhinaya.evaluation.fusion.rule import Method
from abhinaya.evaluation.fusion.sample import Sample
from abhinaya.evaluation.metrics import score
from abhinaya.labels import CLASSES
from support.fusion_parts import manifest, sample, tables

BOOTSTRAP = Bootstrap(100, 0)
CHOSEN = Method("weighted")


def fusion(made: Sample, test: Sample, names=("a", "b")) -> tuple[steps.Fusion, pd.DataFrame]:
    """A fusion of members fitted on the validation utterances `made`, and the manifest."""
    rows = pd.concat([manifest(made), manifest(test, "test")], ignore_index=True)
    first, second = tables(made, list(names)), tables(test, list(names), "test")
    members = {name: pd.concat([first[name], second[name]]).sort_index() for name in names}
    fitted_on = rows[rows["split"] == "validation"].set_index(KEY)
    return steps.Fusion(members, list(CLASSES), fitted_on, made.groups, 0), rows


@pytest.fixture(scope="module")
def evaluated() -> tuple[steps.Fusion, pd.DataFrame, dict, dict]:
    made, rows = fusion(sample(80, (0.8, 1.4)), sample(120, (0.8, 1.4), seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "PENALTIES", (10.0, 1.0))  # takes less time
        predicted = steps.predictions(made, CHOSEN)[1]
    return made, rows, predicted, steps.evaluate(rows, predicted, CHOSEN, ["validation"], BOOTSTRAP)


def test_the_steps_go_from_the_best_member_to_stacking(evaluated) -> None:
    _, _, predicted, evaluation = evaluated
    names = ["best_member", "vote", *steps.methods(CHOSEN)]
    assert list(predicted) == names
    by_split = evaluation["steps"].groupby("split")["step"].agg(list)
    assert by_split.to_dict() == {"validation": names, "test": names}


def test_the_scores_of_a_step_are_those_of_its_predictions(evaluated) -> None:
    _, rows, predicted, evaluation = evaluated
    by_step = evaluation["steps"].set_index(["split", "step"])
    for name, table in predicted.items():
        scores = score(rows, table.reset_index(), resamples=10)
        for split in ("validation", "test"):
            assert by_step.loc[(split, name), "macro_f1"] == pytest.approx(scores[split]["macro_f1"])


def test_only_fitted_steps_on_the_fitted_split_are_cross_fitted(evaluated) -> None:
    table = evaluated[3]["steps"]
    assert not table[table["split"] == "test"]["cross_fitted"].any()
    on_validation = table[table["split"] == "validation"].set_index("step")["cross_fitted"]
    assert set(on_validation.index[~on_validation.astype(bool)]) == {"best_member", "vote", "mean", "log_mean"}


def test_comparisons_are_with_the_vote_and_the_best_member(evaluated) -> None:
    table = evaluated[3]["step_comparisons"]
    assert set(table["b"]) == {"vote", "best_member"}
    on_test = table[table["split"] == "test"]
    assert set(on_test[on_test["b"] == "vote"]["a"]) == set(steps.methods(CHOSEN))
    assert set(on_test[on_test["b"] == "best_member"]["a"]) == {"vote", *steps.methods(CHOSEN)}
    assert on_test["p_speakers"].notna().all()


def test_class_shares_sum_to_one(evaluated) -> None:
    shares = evaluated[3]["class_shares"].groupby(["split", "step"])[["predicted", "probability", "true"]].sum()
    assert shares.to_numpy() == pytest.approx(1)


def test_the_best_member_is_the_best_on_the_fitted_utterances(evaluated) -> None:
    assert evaluated[0].best_member() == "b"


def test_a_fitted_step_has_not_seen_the_speaker_that_it_predicts() -> None:
    """Random labels and speakers that give them away: in-sample stacking would profit, cross-fitted must not."""
    made = sample(120, (0.0, 0.0), speakers=120)
    part, _ = fusion(made, sample(10, (0.0, 0.0), seed=1))
    method = Method("stacking", "none")
    changed = Sample(made.logs, made.truth.copy(), made.groups)
    changed.truth[made.groups == made.groups[0]] = (made.truth[0] + 1) % 8
    other, _ = fusion(changed, sample(10, (0.0, 0.0), seed=1))
    name = manifest(made)[KEY][0]
    columns = list(PROBABILITIES)
    before, after = (each.predict(method)[1].set_index(KEY).loc[name, columns] for each in (part, other))
    assert np.allclose(before.to_numpy(float), after.to_numpy(float), atol=0.02)


def test_a_configuration_outside_the_steps_is_one_more() -> None:
    chosen = Method("mean", "vector", prior_correction=True)
    assert steps.step_of(Method("weighted", "none")) == "weighted_configured"
    assert steps.step_of(chosen) == "mean_prior_corrected"
    assert len(steps.methods(chosen)) == 8


def test_without_test_labels_only_validation_is_scored() -> None:
    made, rows = fusion(sample(30), sample(20, seed=1))
    rows.loc[rows["split"] == "test", "EmoClass"] = None
    mean = made.predict(Method("mean", "none"))[1].set_index(KEY)
    predicted = {"best_member": made.members["a"], "vote": made.members["b"], "mean": mean}
    evaluation = steps.evaluate(rows, predicted, Method("mean"), ["validation"], BOOTSTRAP)
    assert set(evaluation["steps"]["split"]) == {"validation"}
    assert len(mean) == 50
