"""What each step of a fusion brings: from the vote over the mean to calibrated, weighted and stacked members.

A step that is fitted is cross-fitted on the utterances that it is fitted on, by whole speakers and nested: each
utterance is predicted by a fit (with its calibration and its choice of the penalty) that has not seen its speaker.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation import voting
from abhinaya.evaluation.analysis.bootstrap import Bootstrap, interval
from abhinaya.evaluation.analysis.calibration import calibration
from abhinaya.evaluation.analysis.predictions import Evaluation, Split, confusion
from abhinaya.evaluation.analysis.significance import compare
from abhinaya.evaluation.fusion.cross_fitting import cross_fitted
from abhinaya.evaluation.fusion.rule import Fitted, Method, as_predictions, fit, unfitted
from abhinaya.evaluation.fusion.sample import FLOOR, Sample, balanced_macro_f1, log_probabilities
from abhinaya.evaluation.metrics import SCORED, score_confusion
from abhinaya.labels import CLASSES, INDEX

BEST, VOTE = "best_member", "vote"
COLUMNS = ["split", "step", "n", "macro_f1", "low", "high", "nll", "ece", "cross_fitted", "configured"]
SHARE_COLUMNS = ["split", "step", "class", "predicted", "probability", "true"]


@dataclass(frozen=True)
class Fusion:
    """Members and labelled utterances of a fusion.

    Args:
        members: aligned predictions by name, as from `voting.read_members`.
        classes: the letters that can be predicted.
        rows: the manifest's rows of the labelled utterances that are fitted on, by `FileName`.
        groups: (rows,) index of the group of each of `rows` that stays in one fold.
        seed: of the folds.
        folds_by: what a group is, ``speaker`` or ``utterance``.
    """

    members: Mapping[str, pd.DataFrame]
    classes: list[str]
    rows: pd.DataFrame
    groups: np.ndarray
    seed: int
    folds_by: str = "speaker"

    @property
    def counts(self) -> dict[str, int]:
        """The number of utterances that are fitted on, by split."""
        return self.rows["split"].value_counts().sort_index(ascending=False).to_dict()

    @property
    def absent(self) -> list[str]:
        """The classes without an utterance to fit on."""
        return [letter for letter in self.classes if letter not in set(self.rows["EmoClass"])]

    @property
    def sample(self) -> Sample:
        index = {letter: place for place, letter in enumerate(self.classes)}
        tables = [table.loc[self.rows.index] for table in self.members.values()]
        truth = self.rows["EmoClass"].map(index).to_numpy(int)
        return Sample(log_probabilities(tables, self.classes), truth, self.groups)

    def predict(self, method: Method) -> tuple[Fitted, pd.DataFrame]:
        """The rule fitted on all labelled utterances, and its predictions; cross-fitted for those utterances."""
        tables = list(self.members.values())
        logs = log_probabilities(tables, self.classes)
        if not method.is_fitted:
            fitted = unfitted(method.rule, len(tables), len(self.classes))
            return fitted, as_predictions(fitted.apply(logs), tables[0], self.classes)
        fitted = fit(method, self.sample, self.seed)
        fused = fitted.apply(logs)
        fused[tables[0].index.get_indexer(self.rows.index)] = cross_fitted(
            lambda sample: fit(method, sample, self.seed).apply, self.sample, self.seed
        )
        return fitted, as_predictions(fused, tables[0], self.classes)

    def best_member(self) -> str:
        """The member with the highest balanced macro-F1 on the labelled utterances; the first one if equal."""
        sample, index = self.sample, {letter: place for place, letter in enumerate(self.classes)}
        scores = {}
        for name, table in self.members.items():
            labels = table.loc[self.rows.index, "EmoClass"].map(index).fillna(-1).to_numpy(int)
            known = labels >= 0  # a label that is no class of the corpus is wrong in any case
            labels = np.where(known, labels, (sample.truth + 1) % len(self.classes))
            scores[name] = balanced_macro_f1(sample, labels)
        return max(scores, key=scores.__getitem__)


def methods(chosen: Method) -> dict[str, Method]:
    """The steps from the mean to stacking, with the calibration and prior correction of `chosen`, and `chosen`."""
    kind = "temperature" if chosen.calibration == "none" else chosen.calibration
    steps = {
        "mean": Method("mean", "none"),
        "log_mean": Method("log_mean", "none"),
        "mean_calibrated": Method("mean", kind),
        "log_mean_calibrated": Method("log_mean", kind),
        "mean_prior_corrected": Method("mean", kind, prior_correction=True),
        "log_mean_prior_corrected": Method("log_mean", kind, prior_correction=True),
        "weighted": Method("weighted", kind, chosen.prior_correction),
        "stacking": Method("stacking", kind, chosen.prior_correction),
    }
    return steps if chosen in steps.values() else steps | {f"{chosen.rule}_configured": chosen}


def predictions(fusion: Fusion, chosen: Method) -> tuple[Fitted, dict[str, pd.DataFrame]]:
    """The fitted rule of `chosen`, and the predictions of each step by name, by `FileName`.

    The first steps are the best member on the fitted utterances, and the vote with that member as tie-breaker.
    """
    best = fusion.best_member()
    voted = voting.vote(dict(fusion.members), best)
    tables = {BEST: fusion.members[best], VOTE: voted.set_index(KEY)}
    rule = None
    for name, method in methods(chosen).items():
        fitted, table = fusion.predict(method)
        tables[name] = table.set_index(KEY)
        rule = fitted if method == chosen else rule
    return rule, tables


def step_of(chosen: Method) -> str:
    """The name of the step that is `chosen`."""
    return next(name for name, method in methods(chosen).items() if method == chosen)


def evaluate(
    manifest: pd.DataFrame, tables: dict[str, pd.DataFrame], chosen: Method, fit_on: list[str], bootstrap: Bootstrap
) -> dict[str, pd.DataFrame]:
    """Score and compare the steps on each split with labels.

    Args:
        manifest: as from `schemas.read_manifest`.
        tables: from `predictions`.
        fit_on: the splits that the rules are fitted on.

    Returns:
        ``steps``: a row for each split and step (COLUMNS): macro-F1 with its 95 % interval, mean negative
        log-likelihood of the true class (probabilities at least `FLOOR`), expected calibration error, whether the
        predictions are cross-fitted, and whether it is the `chosen` step. ``step_comparisons``: each step against the
        vote and the best member, by `significance.compare`. ``class_shares``: for each split, step and class
        (SHARE_COLUMNS) the share of utterances with that label, the mean probability, and the true share.
        ``step_reliability``: the bins of `calibration`, with the step as `system`.
    """
    labelled = manifest[manifest["EmoClass"].isin(CLASSES)].set_index(KEY).sort_index()
    splits = [
        Split(name, rows, {step: table.loc[rows.index] for step, table in tables.items()})
        for name in SCORED
        if len(rows := labelled[labelled["split"] == name])
    ]
    evaluation = Evaluation(splits, {})
    errors, reliability = calibration(evaluation)
    ece = errors.set_index(["split", "system"])["ece"] if len(errors) else {}
    fitted = {name for name, method in methods(chosen).items() if method.is_fitted}
    configured = step_of(chosen)
    rows, shares = [], []
    for split in splits:
        for step in tables:
            counts = confusion(split.truth, split.predicted[step])
            occurs = counts.sum(axis=0) + counts.sum(axis=1) > 0
            resampled = bootstrap.macro_f1(counts, occurs, "fusion step", split.name, step)
            point = float(score_confusion(counts)["macro_f1"])
            loss = -np.log(np.maximum(split.probability(step, split.truth), FLOOR)).mean()
            by_folds = step in fitted and split.name in fit_on
            scores = [point, *interval(resampled), loss, ece[split.name, step]]
            rows.append([split.name, step, len(split.truth), *scores, by_folds, step == configured])
            shares += _shares(split, step)
    pairs = [(step, other) for other in (VOTE, BEST) for step in tables if step not in (other, BEST)]
    return {
        "steps": pd.DataFrame(rows, columns=COLUMNS),
        "step_comparisons": compare(evaluation, bootstrap, pairs),
        "class_shares": pd.DataFrame(shares, columns=SHARE_COLUMNS),
        "step_reliability": reliability,
    }


def _shares(split: Split, step: str) -> list[list]:
    probabilities = split.predictions[step][list(PROBABILITIES)].mean()
    return [
        [
            split.name,
            step,
            letter,
            float(np.mean(split.predicted[step] == place)),
            float(probabilities[PROBABILITIES[place]]),
            float(np.mean(split.truth == place)),
        ]
        for letter, place in INDEX.items()
    ]
