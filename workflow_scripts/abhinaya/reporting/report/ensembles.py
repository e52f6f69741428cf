"""Analysis of the ensembles: contribution of each member, oracle, ties, agreement."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from abhinaya.evaluation.voting import VOTE, count_ties, voters
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.findings import Figures, by_split, in_order, square
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.wording import between, percentage, signed_points
from abhinaya.reporting.table import Cell, Table, percent, vote_table


def ensembles(inputs: Inputs) -> list[dict]:
    """For each ensemble: its oracle, figures, ties, and the effects of its members."""
    return [
        {
            "name": name,
            "sentences": [_oracle(rows.iloc[0]) for _, rows in by_split(inputs, "oracle", ensemble=name)],
            "figures": _ensemble_figures(inputs, name),
            "ties": _ties(inputs.votes.get(name)),
            "members": [(split, _members(rows)) for split, rows in by_split(inputs, "leave_one_out", ensemble=name)],
        }
        for name in inputs.members()
    ]


def agreement_maps(inputs: Inputs) -> Figures:
    """Cohen's kappa of the members as a heat map for each split."""
    return [(split, _kappa_map(inputs, rows, split)) for split, rows in by_split(inputs, "agreement")]


def agreement(voted: pd.DataFrame) -> dict[str, float]:
    """The share of utterances (0 to 1) on which each member agrees with the vote."""
    return {name: float((voted[f"{VOTE}{name}"] == voted["EmoClass"]).mean()) for name in voters(voted)}


def _ties(voted: pd.DataFrame | None) -> Table | None:
    return None if voted is None else vote_table(count_ties(voted), agreement(voted))


def _oracle(row: pd.Series) -> str:
    gap = row["oracle"] - row["vote"]
    return (
        f"On {row['split']}, an oracle that selects the correct label if a member predicts it reaches "
        f"{percentage(row['oracle'])}, {signed_points(gap).lstrip('+')} points above the vote. All members agree on "
        f"{percentage(row['unanimous'])} of the utterances; all are wrong on {percentage(row['all_wrong'])}."
    )


def _ensemble_figures(inputs: Inputs, name: str) -> Figures:
    captioned: Figures = []
    oracles = {split: rows.iloc[0] for split, rows in by_split(inputs, "oracle", ensemble=name)}
    for split, rows in by_split(inputs, "leave_one_out", ensemble=name):
        if split in oracles:
            bars = dict(zip(rows["member"], rows["macro_f1"], strict=True))
            title = f"macro-F1 (%) of {name}'s members, vote and oracle on {split}"
            bars_figure = figures.ensemble_bars(bars, oracles[split]["vote"], oracles[split]["oracle"], title)
            captioned.append((f"Members, vote and oracle on {split}: macro-F1 (%)", bars_figure))
        effects = list(zip(rows["effect"], rows["low"], rows["high"], strict=True))
        title = f"effect of each member of {name} on {split}, in points of macro-F1"
        label = "effect on the vote's macro-F1 (points)"
        effects_figure = figures.dots(list(rows["member"]), {"effect": effects}, label, title, signed=True)
        captioned.append((f"Effect of each member on {split}", effects_figure))
    return captioned


def _members(rows: pd.DataFrame) -> Table:
    body = []
    for row in rows.itertuples():
        shares = [Cell(percent(value)) for value in (row.macro_f1, row.agrees, row.changed, row.without)]
        body.append([Cell(row.member), *shares, Cell(signed_points(row.effect), between(row.low, row.high))])
    columns = ["member", "macro-F1", "agrees with the vote", "changes the vote", "vote without it", "effect"]
    return Table(columns, body)


def _kappa_map(inputs: Inputs, rows: pd.DataFrame, split: str) -> Markup:
    names = in_order(inputs, pd.concat([rows["a"], rows["b"]]))
    kappas = square(names, rows, "kappa", 1)
    texts = [["" if np.isnan(value) else f"{value:.2f}".replace("-", "−") for value in line] for line in kappas]
    return figures.heat_map(kappas, names, texts, f"Cohen's kappa of the voters on {split}")
