"""The tables that hold systems by macro-F1: Tables 1, 2 and 4, Figure 2, § 4.6, SALMONN zero-shot."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.paper import figure, published
from abhinaya.reporting.paper.compare import MATCHED, Made, Row, Value, beside, corpus_note, frame, how_drawn, macro_f1
from abhinaya.reporting.paper.inputs import Inputs, needs
from abhinaya.reporting.table import NOTHING, Cell, percent
from abhinaya.runtime.errors import UserError

MODALITIES = ("s2_7b", "st1")  # the paper's two of § 4.6
SALMONN = "salmonn_zero_shot"


def published_macro_f1(inputs: Inputs, name: str) -> Callable[[str], float | None]:
    """The paper's macro-F1 of `name` by split: an ensemble's by its members, a system's by its name."""
    if members := inputs.members(name):
        return partial(published.vote_f1, members)
    return partial(published.macro_f1, name)


def table1(inputs: Inputs) -> Made:
    """Macro-F1 of the components and of their vote (the paper's Table 1)."""
    names = inputs.settings.components
    needs(names, "tables.components", "the systems and ensembles to show")
    rows = [
        Row(name, one, published_macro_f1(inputs, name))
        for name, one in inputs.chosen(names, "tables.components").items()
    ]
    return _made(inputs, rows, "The paper's Table 1: the systems and their vote", "Macro-F1 (%).", MATCHED)


def table2(inputs: Inputs) -> Made:
    """Macro-F1 of each system trained with each loss (the paper's Table 2)."""
    losses = inputs.settings.losses
    needs(losses and losses.systems and losses.losses, "tables.losses", "{systems: […], losses: […]}")
    rows = []
    for system in losses.systems:
        for loss in (one.name for one in losses.losses):
            run = inputs.settings.loss_runs.get(system, {}).get(loss)
            if run is None:
                raise UserError(f"`tables.losses`: no run of {system} with {loss} in `loss_runs`; add it there")
            (scores,) = inputs.chosen([run], "tables.losses").values()
            rows.append(Row(system, scores, partial(published.loss_f1, system, loss), {"loss": loss.upper()}, system))
    caption = (
        "Macro-F1 (%) with weighted cross-entropy (WCE), weighted focal loss (WFL) and vector scaling (VS); the best "
        "of each system's losses is bold."
    )
    note = "A loss is compared with the paper's of the same name, whatever its parameters."
    return _made(inputs, rows, "The paper's Table 2: the losses", caption, note)


def table4(inputs: Inputs) -> Made:
    """Macro-F1 of votes by their members (the paper's Table 4): the combinations, then the configured ensembles."""
    combinations = inputs.settings.combinations
    needs(combinations, "tables.combinations", "votes: {name: {members: […], tie_break: …}}")
    rows = []
    systems = inputs.chosen(combinations, "tables.combinations") | inputs.chosen(inputs.votes, "--votes")
    for name, scores in systems.items():
        members = inputs.members(name)
        vote = inputs.settings.vote(name)
        keys = {"members": " ".join(members), "tie-breaker": vote.tie_break if vote else NOTHING}
        rows.append(Row(name, scores, partial(published.vote_f1, members), keys))
    note = (
        "A vote is compared with the paper's of the same members, whoever breaks its ties. In the paper S2 does, and "
        "ST1 in its combination II."
    )
    return _made(
        inputs, rows, "The paper's Table 4: combinations of voters", "Macro-F1 (%) of the members' vote.", note
    )


def section_4_6(inputs: Inputs) -> Made:
    """Speech alone against speech and transcript, with the same backbone (the paper's § 4.6)."""
    names = inputs.settings.modalities
    needs(len(set(names)) == 2, "tables.modalities", "two systems: one that hears, one that also reads")
    found = inputs.chosen(names, "tables.modalities").items()
    rows = [
        Row(name, scores, partial(published.macro_f1, theirs))
        for (name, scores), theirs in zip(found, MODALITIES, strict=True)
    ]
    made = _made(
        inputs,
        rows,
        "The paper's § 4.6: speech alone, and speech with its transcript",
        "Macro-F1 (%) of two systems with the same backbone: the first hears, the second also reads the transcript. "
        "The last row is their difference in points.",
        "The paper's two have SALMONN-7B as backbone. significance.csv of the analysis has a paired interval of the "
        "difference where both are among the configuration's `systems`.",
    )
    cells, records = _difference(*rows, list(dict.fromkeys(made.records["split"])))
    made.table.rows.append(cells)
    return replace(made, records=frame([*made.records.to_dict("records"), *records], made.records.columns))


def zero_shot_speech(inputs: Inputs) -> Made:
    """SALMONN, asked for the emotion without training."""
    name = inputs.settings.speech_zero_shot
    needs(name, "tables.speech_zero_shot", "the system that is asked what it hears")
    rows = [
        Row(name, one, partial(published.macro_f1, SALMONN))
        for name, one in inputs.chosen([name], "tables.speech_zero_shot").items()
    ]
    return _made(
        inputs,
        rows,
        "SALMONN zero-shot",
        "Macro-F1 (%) of the speech LLM when it is asked for the emotion without any training on the corpus.",
    )


def figure2(inputs: Inputs) -> Made:
    """LLMs that label transcripts zero-shot, with the baseline as a line (the paper's Figure 2)."""
    shown = inputs.settings.zero_shot
    needs(shown and shown.models, "tables.zero_shot", "{models: […], line: …}")
    names = [*shown.models, *([shown.line] if shown.line else [])]
    rows = {
        name: Row(name, one, _asked(inputs, name), rivals="models" if name in shown.models else "line")
        for name, one in inputs.chosen(names, "tables.zero_shot").items()
    }
    caption = "Macro-F1 (%) of LLMs that are asked for the emotion of a transcript without training"
    caption += f"; {shown.line} is the line." if shown.line else "."
    made = _made(inputs, list(rows.values()), "The paper's Figure 2: zero-shot LLMs", caption)
    panels = {
        split: figure.Panel(
            {name: macro_f1(rows[name], split) for name in shown.models},
            (shown.line, macro_f1(rows[shown.line], split)) if shown.line else None,
        )
        for split in SCORED
        if any(row.scores.get(split) for row in rows.values())
    }
    if not panels:
        return made
    inline, alone = figure.draw(panels, made.title)
    return replace(made, figure=inline, svg=alone)


def _asked(inputs: Inputs, name: str) -> Callable[[str], float | None]:
    """The paper's macro-F1 by split of the LLM behind a system that is asked; of the system's name if none is known."""
    model = inputs.settings.zero_shot_models.get(name)
    return partial(published.zero_shot_f1, model) if model else published_macro_f1(inputs, name)


def _made(inputs: Inputs, rows: list[Row], title: str, caption: str, *notes: str) -> Made:
    table, records = beside(rows)
    drawn = how_drawn([row.scores for row in rows])
    return Made(title, f"{caption} {drawn}", table, records, [*notes, corpus_note(inputs.summary)])


def _difference(first: Row, second: Row, splits: list[str]) -> tuple[list[Cell], list[dict[str, object]]]:
    """The second row less the first on each split, ours and the paper's: cells in points, records in fractions."""
    name = f"{second.name} − {first.name}"
    cells, records = [Cell(name)], []
    for split in splits:
        old, new = macro_f1(first, split), macro_f1(second, split)
        ours, theirs = _less(new.value, old.value), _less(new.paper, old.paper)
        cells += [Cell(_points(ours)), Cell(_points(theirs)), Cell(NOTHING)]
        place = {"system": name, "split": split, "measure": "macro_f1_difference", "n": None}
        records.append(place | Value(ours, None, theirs).record())
    return cells, records


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _points(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{'−' if value < 0 else '+'}{percent(abs(value))}"
