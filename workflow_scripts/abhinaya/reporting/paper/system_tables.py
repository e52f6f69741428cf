"""The tables of macro-F1 by system: Tables 1, 2 and 4, Figure 2, § 4.6, SALMONN zero-shot."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from abhinaya.evaluation.metrics import SCORED
from abhinaya.reporting.paper import figure, published
from abhinaya.reporting.paper.compare import (
    MATCHING_NOTE,
    ComparisonTable,
    Row,
    Value,
    compare_systems,
    corpus_note,
    macro_f1,
    records_frame,
    scoring_note,
)
from abhinaya.reporting.paper.inputs import Inputs, require
from abhinaya.reporting.table import MISSING, Cell, percent
from abhinaya.runtime.errors import UserError

MODALITIES = ("s2_7b", "st1")  # the paper's systems in § 4.6
SALMONN = "salmonn_zero_shot"


def published_macro_f1(inputs: Inputs, name: str) -> Callable[[str], float | None]:
    """The paper's macro-F1 by split: of an ensemble by its members and tie-breaker, of a system by its name."""
    if members := inputs.members(name):
        return partial(published.vote_f1, members, tie_break=inputs.tie_break(name))
    return partial(published.macro_f1, name)


def table1(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of the components and of their vote (the paper's Table 1)."""
    names = inputs.settings.components
    require(names, "tables.components", "the systems and ensembles to show")
    systems = inputs.scores_of(names, "tables.components")
    rows = [Row(name, scores, published_macro_f1(inputs, name)) for name, scores in systems.items()]
    title = "The paper's Table 1: the systems and their vote"
    return _macro_f1_table(inputs, rows, title, "Macro-F1 (%).", MATCHING_NOTE, _deadline_note())


def _deadline_note() -> str:
    scores = " and ".join(
        f"{percent(published.macro_f1('abhinaya_at_deadline', split))} on {split}" for split in SCORED
    )
    return f"The paper's vote as submitted before the deadline has {scores}; table1_submitted compares it with ours."


def table1_submitted(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of the votes as submitted before the deadline, then of the configured ensembles (Table 1)."""
    names = list(inputs.settings.submitted)
    require(names, "tables.submitted", "votes: {name: {members: […], tie_break: …}}")
    systems = inputs.scores_of([*names, *inputs.settings.ensembles], "tables.submitted")
    rows = [_vote_row(inputs, name, scores) for name, scores in systems.items()]
    note = (
        "The paper's submission has ST1 after three of its twenty epochs, here the member "
        f"{published.EARLY_ST1}; the organisers scored the vote with the finished ST1 after the deadline."
    )
    title = "The paper's Table 1: the vote as submitted"
    return _macro_f1_table(inputs, rows, title, "Macro-F1 (%) of the members' vote.", note)


def table2(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of each system trained with each loss (the paper's Table 2)."""
    losses = inputs.settings.losses
    require(losses and losses.systems and losses.losses, "tables.losses", "{systems: […], losses: […]}")
    rows = []
    for system in losses.systems:
        for loss in (loss.name for loss in losses.losses):
            run = inputs.settings.loss_runs.get(system, {}).get(loss)
            if run is None:
                raise UserError(f"`tables.losses`: no run of {system} with {loss} in `loss_runs`; add it there")
            (scores,) = inputs.scores_of([run], "tables.losses").values()
            rows.append(Row(system, scores, partial(published.loss_f1, system, loss), {"loss": loss.upper()}, system))
    caption = (
        "Macro-F1 (%) with weighted cross-entropy (WCE), weighted focal loss (WFL) and vector scaling (VS); the best "
        "of each system's losses is bold."
    )
    note = "A loss is compared with the paper's loss of the same name, even if its parameters differ."
    return _macro_f1_table(inputs, rows, "The paper's Table 2: the losses", caption, note)


def table4(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of votes by their members (the paper's Table 4): the combinations, then the configured ensembles."""
    combinations = inputs.settings.combinations
    require(combinations, "tables.combinations", "votes: {name: {members: […], tie_break: …}}")
    systems = inputs.scores_of(combinations, "tables.combinations") | inputs.scores_of(inputs.votes, "--votes")
    rows = [_vote_row(inputs, name, scores) for name, scores in systems.items()]
    note = (
        "A vote is compared with the paper's vote of the same members and tie-breaker. The paper's tie-breaker is S2, "
        "in its combination II, without S2, ST1."
    )
    title = "The paper's Table 4: combinations of voters"
    return _macro_f1_table(inputs, rows, title, "Macro-F1 (%) of the members' vote.", note)


def section_4_6(inputs: Inputs) -> ComparisonTable:
    """Speech alone, and speech with its transcript, with the same backbone (the paper's § 4.6)."""
    names = inputs.settings.modalities
    require(len(set(names)) == 2, "tables.modalities", "two systems: one of speech, one of speech and transcript")
    systems = inputs.scores_of(names, "tables.modalities").items()
    rows = [
        Row(name, scores, partial(published.macro_f1, paper_name))
        for (name, scores), paper_name in zip(systems, MODALITIES, strict=True)
    ]
    table = _macro_f1_table(
        inputs,
        rows,
        "The paper's § 4.6: speech alone, and speech with its transcript",
        "Macro-F1 (%) of two systems with the same backbone: the input of the first is speech, of the second "
        "speech and transcript. The last row is their difference in points.",
        "The backbone of the paper's systems is SALMONN-7B. significance.csv of the analysis has a paired interval of "
        "the difference if both are in the configuration's section `systems`.",
    )
    cells, records = _difference(*rows, list(dict.fromkeys(table.records["split"])))
    table.table.rows.append(cells)
    return replace(table, records=records_frame([*table.records.to_dict("records"), *records], table.records.columns))


def zero_shot_speech(inputs: Inputs) -> ComparisonTable:
    """Macro-F1 of SALMONN zero-shot."""
    name = inputs.settings.speech_zero_shot
    require(name, "tables.speech_zero_shot", "a zero-shot system of a speech LLM")
    scores = inputs.scores_of([name], "tables.speech_zero_shot")[name]
    rows = [Row(name, scores, partial(published.macro_f1, SALMONN))]
    caption = "Macro-F1 (%) of the speech LLM, prompted for the emotion without training on the corpus."
    return _macro_f1_table(inputs, rows, "SALMONN zero-shot", caption)


def figure2(inputs: Inputs) -> ComparisonTable:
    """LLMs that label transcripts zero-shot, with the baseline as a line (the paper's Figure 2)."""
    settings = inputs.settings.zero_shot
    require(settings and settings.models, "tables.zero_shot", "{models: […], line: …}")
    names = [*settings.models, *([settings.line] if settings.line else [])]
    rows = {
        name: Row(name, scores, _published_llm(inputs, name), group="models" if name in settings.models else "line")
        for name, scores in inputs.scores_of(names, "tables.zero_shot").items()
    }
    caption = "Macro-F1 (%) of LLMs, prompted for the emotion of a transcript without training"
    caption += f"; the line is {settings.line}." if settings.line else "."
    table = _macro_f1_table(inputs, list(rows.values()), "The paper's Figure 2: zero-shot LLMs", caption)
    panels = {
        split: figure.Panel(
            {name: macro_f1(rows[name], split) for name in settings.models},
            (settings.line, macro_f1(rows[settings.line], split)) if settings.line else None,
        )
        for split in SCORED
        if any(row.scores.get(split) for row in rows.values())
    }
    if not panels:
        return table
    inline, standalone = figure.draw(panels, table.title)
    return replace(table, figure=inline, svg=standalone)


def _vote_row(inputs: Inputs, name: str, scores: dict) -> Row:
    """The row of an ensemble, with its members and tie-breaker."""
    keys = {"members": " ".join(inputs.members(name) or []), "tie-breaker": inputs.tie_break(name) or MISSING}
    return Row(name, scores, published_macro_f1(inputs, name), keys)


def _published_llm(inputs: Inputs, name: str) -> Callable[[str], float | None]:
    """The paper's macro-F1 by split of a zero-shot system, by its LLM, else by its name."""
    model = inputs.settings.zero_shot_models.get(name)
    return partial(published.zero_shot_f1, model) if model else published_macro_f1(inputs, name)


def _macro_f1_table(inputs: Inputs, rows: list[Row], title: str, caption: str, *notes: str) -> ComparisonTable:
    table, records = compare_systems(rows)
    caption = f"{caption} {scoring_note([row.scores for row in rows])}"
    return ComparisonTable(title, caption, table, records, [*notes, corpus_note(inputs.summary)])


def _difference(first: Row, second: Row, splits: list[str]) -> tuple[list[Cell], list[dict[str, object]]]:
    """The second row minus the first on each split, ours and the paper's: cells in points, records in fractions."""
    name = f"{second.name} − {first.name}"
    cells, records = [Cell(name)], []
    for split in splits:
        minuend, subtrahend = macro_f1(second, split), macro_f1(first, split)
        ours, paper = _minus(minuend.value, subtrahend.value), _minus(minuend.paper, subtrahend.paper)
        cells += [Cell(_points(ours)), Cell(_points(paper)), Cell(MISSING)]
        place = {"system": name, "split": split, "measure": "macro_f1_difference", "n": None}
        records.append(place | Value(ours, None, paper).record())
    return cells, records


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _points(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{'−' if value < 0 else '+'}{percent(abs(value))}"
