"""The tables of the report and of the paper, and their Markdown, LaTeX and CSV."""

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import pandas as pd

from abhinaya.evaluation.metrics import SCORED
from abhinaya.labels import CLASSES, EMOTIONS

MEASURES = {"macro_f1": "macro-F1", "uar": "UAR", "accuracy": "accuracy"}
MISSING = "–"  # for a missing value
HEADING_WIDTH = 12  # characters of a heading on one line of a LaTeX table

LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "-": "-{}",  # only before another hyphen; two of them would be a dash
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "−": "$-$",
    "±": r"$\pm$",
}
SPECIAL = re.compile(r"-(?=-)|[^\w\s\-]|_")


@dataclass
class Cell:
    """A cell of a table: `text`, bold if `best`, and `detail` in small print."""

    text: str
    detail: str = ""
    best: bool = False


@dataclass
class Table:
    """Rows of cells; the first column has the names of the rows.

    Args:
        groups: (heading, number of columns) of the groups of `columns`, if there are any.
    """

    columns: list[str]
    rows: list[list[Cell]]
    groups: list[tuple[str, int]] = field(default_factory=list)

    def headings(self) -> list[str]:
        """The names of the columns, each after the name of its group."""
        groups = [name for name, width in self.groups for _ in range(width)] or [""] * len(self.columns)
        return [f"{group} {column}".strip() for group, column in zip(groups, self.columns, strict=True)]

    def markdown(self) -> str:
        """The table in Markdown; the best cells are bold."""
        body = [
            [f"{f'**{cell.text}**' if cell.best else cell.text} {cell.detail}" for cell in row] for row in self.rows
        ]
        lines = [self.headings(), ["---", *["---:"] * (len(self.columns) - 1)], *body]
        return "".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines)

    def latex(self, caption: str, label: str, notes: Sequence[str] = ()) -> str:
        """The table as a LaTeX float, as wide as the page; its document needs the package booktabs.

        The best cells are bold. Details are in small print in a line below their row. `notes` follow the table. All
        text is escaped, `label` is not.
        """
        body = []
        for row in self.rows:
            body.append([rf"\textbf{{{latex(cell.text)}}}" if cell.best else latex(cell.text) for cell in row])
            if any(cell.detail for cell in row):
                body.append([rf"{{\scriptsize {latex(cell.detail)}}}" if cell.detail else "" for cell in row])
        lines = [
            r"% \usepackage{booktabs}",
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{latex(caption)}}}",
            rf"\label{{{label}}}\par\smallskip",
            r"\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}",
            r"\toprule",
            *_latex_groups(self.groups),
            _latex_row(map(_latex_heading, self.columns)),
            r"\midrule",
            *map(_latex_row, body),
            r"\bottomrule",
            r"\end{tabular}",
            *[rf"\par\smallskip {latex(note)}" for note in notes],
            r"\end{table*}",
        ]
        return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    """`text` as a cell of a Markdown table, on one line."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def latex(text: str) -> str:
    """`text` for LaTeX: special characters are escaped, control characters and line breaks removed."""
    line = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return SPECIAL.sub(lambda match: LATEX.get(match[0], match[0]), line)


def _latex_groups(groups: list[tuple[str, int]]) -> list[str]:
    """The line of the groups' headings, and the rules below those that have one."""
    if not groups:
        return []
    starts = accumulate((width for _, width in groups), initial=1)
    spans = [(start, start + width - 1) for start, (heading, width) in zip(starts, groups, strict=False) if heading]
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for first, last in spans)
    headings = [rf"\multicolumn{{{width}}}{{c}}{{{latex(heading)}}}" for heading, width in groups]
    return [" & ".join(headings) + r" \\", *([rules] if rules else [])]


def _latex_heading(text: str) -> str:
    """A column's heading, on several lines if it is long."""
    lines = [_after_break(latex(part)) for part in textwrap.wrap(text, HEADING_WIDTH)]
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else "".join(lines)


def _latex_row(cells: Iterable[str]) -> str:
    return _after_break(" & ".join(cells)) + r" \\"


def _after_break(text: str) -> str:
    """`text` after a line break; without the braces, LaTeX would read [ and * as arguments of the break."""
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def percent(value: float | None) -> str:
    """0.4402 as ``44.02``; a dash for None."""
    return MISSING if value is None else f"{100 * value:.2f}"


def number(value: float | None) -> str:
    """An integer with separated thousands, any other number with two decimals; a dash for None."""
    if value is None:
        return MISSING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def emotion(letter: str) -> str:
    """A as ``angry (A)``; letters of no class unchanged."""
    return f"{EMOTIONS[letter]} ({letter})" if letter in EMOTIONS else letter


def scored_splits(scores: dict[str, dict]) -> list[str]:
    """The splits that at least one system has scores on."""
    return [split for split in SCORED if any(system.get(split) for system in scores.values())]


def scores_on(scores: dict[str, dict], split: str) -> dict[str, dict]:
    """The scores of each system that has scores on `split`."""
    return {name: system[split] for name, system in scores.items() if system.get(split)}


def scored(scores: dict[str, dict]) -> list[tuple[str, str, dict]]:
    """(system, split, its scores) for each split that a system has scores on."""
    return [(name, split, system[split]) for name, system in scores.items() for split in SCORED if system.get(split)]


def scores_csv(scores: dict[str, dict]) -> pd.DataFrame:
    """A row for each system and scored split: `n`, each measure (0 to 1) and the ends of its interval."""
    rows = []
    for system, split, on_split in scored(scores):
        values = [value for measure in MEASURES for value in (on_split[measure], *on_split[f"{measure}_interval"])]
        rows.append([system, split, on_split["n"], *values])
    ends = [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["system", "split", "n", *ends])


def per_class_csv(scores: dict[str, dict]) -> pd.DataFrame:
    """A row for each system, scored split and class: `f1`, `precision`, `recall` (0 to 1), `support`.

    A measure that is undefined (its denominator is 0) is empty.
    """
    measures = ["f1", "precision", "recall"]
    rows = [
        [
            system,
            split,
            letter,
            name,
            *[on_split[f"per_class_{measure}"][letter] for measure in measures],
            on_split["support"][letter],
        ]
        for system, split, on_split in scored(scores)
        for letter, name in EMOTIONS.items()
    ]
    return pd.DataFrame(rows, columns=["system", "split", "class", "emotion", *measures, "support"])


def score_table(scores: dict[str, dict], descriptions: dict[str, str]) -> Table:
    """Systems by measures, in per cent, with the interval as detail; `descriptions` are of the systems."""
    splits = scored_splits(scores)
    rows = [[Cell(system, descriptions.get(system, ""))] for system in scores]
    for split in splits:
        for measure in MEASURES:
            _add_column(rows, [_measured(system.get(split), measure) for system in scores.values()])
    return Table(
        ["system", *list(MEASURES.values()) * len(splits)],
        rows,
        [("", 1), *[(_heading(scores, split), len(MEASURES)) for split in splits]],
    )


def per_class_table(scores: dict[str, dict], split: str) -> Table:
    """Systems by classes: F1 in per cent on `split`; the last row has the number of utterances."""
    on_split = scores_on(scores, split)
    rows = [[Cell(name)] for name in on_split]
    for letter in CLASSES:
        _add_column(rows, [(values["per_class_f1"][letter], "") for values in on_split.values()])
    supports = {tuple(values["support"].values()) for values in on_split.values()}
    if len(supports) == 1:
        rows.append([Cell("utterances"), *[Cell(number(count)) for count in supports.pop()]])
    return Table(["system", *map(emotion, CLASSES)], rows)


def vote_table(counts: dict[str, int], agreement: dict[str, float]) -> Table:
    """An ensemble's ties, and the share of utterances on which each member agrees with the vote."""
    total = max(counts["utterances"], 1)
    rows = [
        [Cell("utterances"), Cell(number(counts["utterances"]))],
        [Cell("ties"), Cell(number(counts["ties"]), f"{percent(counts['ties'] / total)} %")],
        [Cell("ties decided outside the tied labels"), Cell(number(counts["outside"]))],
        *[[Cell(f"{name} agrees with the vote"), Cell(f"{percent(share)} %")] for name, share in agreement.items()],
    ]
    return Table(["", ""], rows)


def corpus_tables(summary: dict) -> list[Table]:
    """Splits by size, speakers, gender and imbalance; and splits by class. Missing numbers show as a dash."""
    splits = summary.get("splits", {})
    genders = sorted({gender for split in splits.values() for gender in split.get("gender") or {}})
    others = {letter for split in splits.values() for letter in split.get("classes", {})} - set(CLASSES)
    letters = [*CLASSES, *sorted(others)]
    columns = ["utterances", "hours", "speakers", "imbalance"]
    sizes = [
        [Cell(name), *_numbers(split, columns), *_numbers(split.get("gender") or {}, genders)]
        for name, split in splits.items()
    ]
    classes = [[Cell(name), *_numbers(split.get("classes", {}), letters)] for name, split in splits.items()]
    return [Table(["split", *columns, *genders], sizes), Table(["split", *map(emotion, letters)], classes)]


def facts(pairs: dict[str, object]) -> Table:
    """Two columns without headings: names and values."""
    return Table(["", ""], [[Cell(name), Cell(str(value))] for name, value in pairs.items()])


def labelling_table(labellings: dict[str, dict]) -> Table:
    """A row for each zero-shot system: model and prompt, utterances by status, speed and generated tokens."""
    statuses = ["labelled", "empty", "unparsable", "refused"]
    rows = []
    for name, labelling in labellings.items():
        settings = labelling.get("settings", {})
        encoder = settings.get("encoder", {})  # of a speech LLM
        models = [settings.get("model"), encoder.get("language_model"), encoder.get("checkpoint")]
        description = [*filter(None, models), f"prompt {labelling.get('prompt')}", f"mode {labelling.get('mode')}"]
        cost = [labelling.get("labels_per_second"), labelling.get("tokens", {}).get("generated_per_label")]
        counts = [Cell(number(labelling.get("utterances"))), *_numbers(labelling.get("counts", {}), statuses)]
        rows.append([Cell(name, ", ".join(description)), *counts, *[Cell(number(value)) for value in cost]])
    return Table(["system", "utterances", *statuses, "labels / s", "tokens / label"], rows)


def versions_table(models: dict[str, dict]) -> Table:
    """Packages and their versions; with the systems' names only if systems with the package have different ones."""
    packages = sorted({package for config in models.values() for package in config.get("versions", {})})
    rows = []
    for package in packages:
        users: dict[str, list[str]] = {}
        for name, config in models.items():
            if package in config.get("versions", {}):
                users.setdefault(str(config["versions"][package]), []).append(name)
        same = len(users) == 1
        text = ", ".join(version if same else f"{version} ({' '.join(names)})" for version, names in users.items())
        rows.append([Cell(package), Cell(text)])
    return Table(["package", "version"], rows)


def _numbers(values: dict, keys: Iterable[str]) -> list[Cell]:
    return [Cell(number(values.get(key))) for key in keys]


def _heading(scores: dict[str, dict], split: str) -> str:
    sizes = {values["n"] for values in scores_on(scores, split).values()}
    return f"{split} (n = {number(sizes.pop())})" if len(sizes) == 1 else split


def _measured(scores: dict | None, measure: str) -> tuple[float | None, str]:
    """A value and its interval as text."""
    if not scores:
        return None, ""
    low, high = scores[f"{measure}_interval"]
    return scores[measure], f"[{100 * low:.1f}, {100 * high:.1f}]"


def _add_column(rows: list[list[Cell]], column: list[tuple[float | None, str]]) -> None:
    """Append a column of values and their details to `rows`; the best values are marked."""
    best = max((value for value, _ in column if value is not None), default=None)
    for row, (value, detail) in zip(rows, column, strict=True):
        row.append(Cell(percent(value), detail, best=len(rows) > 1 and value is not None and value == best > 0))
