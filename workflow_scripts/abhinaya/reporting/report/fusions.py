"""Fusions: what each step brought, the fitted numbers, class shares and reliability before and after."""

import pandas as pd
from markupsafe import Markup

from abhinaya.evaluation.fusion.rule import FittedFusion
from abhinaya.evaluation.fusion.steps import BEST, VOTE
from abhinaya.labels import CLASSES
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.findings import Figures, splits_of
from abhinaya.reporting.report.fusion_inputs import FusionResult
from abhinaya.reporting.report.wording import between, count, listing, probability, signed_points
from abhinaya.reporting.table import MISSING, Cell, Table, emotion, number, percent

STEPS = {
    BEST: "best member",
    VOTE: "vote",
    "mean": "mean",
    "log_mean": "log-mean",
    "mean_calibrated": "mean, calibrated",
    "log_mean_calibrated": "log-mean, calibrated",
    "mean_prior_corrected": "mean, prior-corrected",
    "log_mean_prior_corrected": "log-mean, prior-corrected",
    "weighted": "weighted",
    "stacking": "stacking",
}
RULES = {
    "mean": "the mean of their probabilities",
    "log_mean": "the mean of their log-probabilities",
    "weighted": "a weighted mean of their log-probabilities with a bias for each class",
    "stacking": "logistic regression on their log-probabilities",
}


def fusions(results: dict[str, FusionResult]) -> list[dict]:
    """For each fusion: sentences, a figure and tables of its steps, its numbers, class shares and reliability."""
    return [
        {
            "name": name,
            "sentences": _sentences(result),
            "figure": _figure(name, result),
            "steps": [(split, _steps(rows, result, split)) for split, rows in splits_of(result.tables["steps"])],
            "members": _members(result.fusion),
            "shares": [(split, _shares(rows, result)) for split, rows in splits_of(result.tables["class_shares"])],
            "reliability": [
                (split, _reliability(name, rows, result, split))
                for split, rows in splits_of(result.tables["step_reliability"])
            ],
        }
        for name, result in results.items()
    ]


def _sentences(result: FusionResult) -> list[str]:
    fusion = result.fusion
    sentences = [f"Combines {listing(fusion.members)} by {RULES[fusion.rule]}."]
    if not fusion.fitted_on:
        return [*sentences, "It has no fitted numbers."]
    counts = listing([f"{number(n)} of {split}" for split, n in fusion.fitted_on.items()])
    whole = "of whole speakers" if fusion.folds_by == "speaker" else "of utterances (speakers are unknown)"
    sentences.append(
        f"Fitted on {count(sum(fusion.fitted_on.values()), 'utterance')} ({counts}), which no member was trained on. "
        f"Its predictions and scores on {listing(list(fusion.fitted_on))} are cross-fitted: each fold {whole} is "
        "predicted by a rule fitted without it, including the choice of its penalty."
    )
    if fusion.absent:
        sentences.append(f"None of them is {listing([emotion(letter) for letter in fusion.absent])}.")
    return sentences


def _name(step: str) -> str:
    return STEPS.get(step, step.replace("_", " "))


def _figure(name: str, result: FusionResult) -> Markup | None:
    by_split = splits_of(result.tables["steps"])
    if not by_split:
        return None
    names = list(dict.fromkeys(result.tables["steps"]["step"]))
    series = {split: [_interval(rows[rows["step"] == step]) for step in names] for split, rows in by_split}
    return figures.dots(list(map(_name, names)), series, "macro-F1 (%)", f"macro-F1 of the steps of {name}")


def _interval(rows: pd.DataFrame) -> tuple[float, float, float] | None:
    return None if rows.empty else tuple(rows[["macro_f1", "low", "high"]].iloc[0])


def _steps(rows: pd.DataFrame, result: FusionResult, split: str) -> Table:
    """Steps by scores and by differences to the vote and to the best member."""
    pairs = result.tables["step_comparisons"]
    pairs = pairs[pairs["split"] == split].set_index(["a", "b"])
    body = []
    for row in rows.itertuples():
        details = ["cross-fitted"] if row.cross_fitted == "True" else []
        details += ["configured"] if row.step == result.configured else []
        scores = Cell(percent(row.macro_f1), f"[{100 * row.low:.1f}, {100 * row.high:.1f}]")
        losses = [Cell(f"{row.nll:.3f}"), Cell(percent(row.ece))]
        differences = [cell for other in (VOTE, BEST) for cell in _difference(pairs, row.step, other)]
        body.append([Cell(_name(row.step), ", ".join(details)), scores, *losses, *differences])
    columns = ["step", "macro-F1", "log loss", "calibration error", *["difference", "p, utterances", "p, speakers"] * 2]
    return Table(columns, body, [("", 4), ("minus the vote", 3), ("minus the best member", 3)])


def _difference(pairs: pd.DataFrame, step: str, other: str) -> list[Cell]:
    if (step, other) not in pairs.index:
        return [Cell(MISSING)] * 3
    row = pairs.loc[(step, other)]
    p_values = [row["p_bootstrap_holm"], row["p_speakers_holm"]]
    difference = Cell(signed_points(row["difference"]), between(row["low"], row["high"]))
    return [difference, *[Cell(probability(p), best=p < 0.05) for p in p_values]]


def _members(fusion: FittedFusion) -> Table | None:
    """Temperature, exponent of the prior and weight of each member; None without fitted numbers."""
    if not fusion.fitted_on:
        return None
    fitted = fusion.fitted
    body = []
    for place, (member, one) in enumerate(zip(fusion.members, fitted.calibration, strict=True)):
        scales = sorted(1 / scale for scale in one.scale if scale > 0)
        same = scales and scales[-1] - scales[0] < 1e-9
        temperature = f"{scales[0]:.2f}" if same else f"{scales[0]:.2f} to {scales[-1]:.2f}" if scales else MISSING
        weight = f"{fitted.weights[place]:.2f}" if fitted.weights else MISSING
        body.append([Cell(member), Cell(temperature), Cell(f"{one.tau:.1f}"), Cell(weight)])
    return Table(["member", "temperature", "prior corrected by", "weight"], body)


def _shares(rows: pd.DataFrame, result: FusionResult) -> Table:
    """The shares of the labels: true, of the vote, before and after."""
    by_step = rows.set_index(["step", "class"])
    steps = dict.fromkeys([VOTE, result.before, result.configured])
    first = next(iter(rows["step"]))
    body = [[Cell("true"), *[Cell(percent(by_step.loc[(first, letter), "true"])) for letter in CLASSES]]]
    for step in steps:
        shares = [percent(by_step.loc[(step, letter), "predicted"]) for letter in CLASSES]
        body.append([Cell(_name(step)), *map(Cell, shares)])
    return Table(["labels (%)", *map(emotion, CLASSES)], body)


def _reliability(name: str, rows: pd.DataFrame, result: FusionResult, split: str) -> Figures:
    return [
        (_name(step), figures.reliability(rows[rows["system"] == step], f"reliability of {name}, {step}, on {split}"))
        for step in dict.fromkeys([result.before, result.configured])
    ]
