"""Figure 2 as an SVG: bars with intervals, a line for the baseline, marks for the published values."""

from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abhinaya.reporting.paper.compare import Value
from abhinaya.reporting.report.figures import BLUE, FAINT, GREY, INK, ORANGE, STYLE, save, svg
from abhinaya.reporting.table import MISSING, percent

# Colours of the SVG file: those of the page's light style (page.html.j2, `:root`), on white.
LIGHT = {INK: "#1c2024", FAINT: "#d8dde3", BLUE: "#0072b2", ORANGE: "#d55e00", GREY: "#b4bcc6"}
BAR, PAPER = "ours, with interval", "the paper"


@dataclass(frozen=True)
class Panel:
    """One split: a bar for each system in `values`, and the name and macro-F1 of the line, if there is one."""

    values: dict[str, Value]
    line: tuple[str, Value] | None


@mpl.rc_context(STYLE)
def draw(panels: dict[str, Panel], title: str) -> tuple[Markup, str]:
    """The figure with a panel for each split: inline with the page's colours, and as an SVG file on white.

    Args:
        panels: by split; all with the same systems.
        title: for screen readers.
    """
    names = list(next(iter(panels.values())).values)
    figure = Figure(figsize=(2.2 + 2.2 * len(panels), 1.1 + 0.34 * len(names)))
    figure.get_layout_engine().set(wspace=0.08)
    row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (split, panel) in zip(row, panels.items(), strict=True):
        _bars(axes, panel)
        axes.set_title(split, fontsize=9)
    row[0].set_yticks(range(len(names)), names)
    row[0].set_ylim(len(names) - 0.5, -0.5)
    row[0].set_xlim(0, min(115, 1.3 * max(_maximum(panel) for panel in panels.values()) + 3))
    handles = {label: handle for axes in row for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    return svg(figure, title), _standalone(figure, title)


def _bars(axes: Axes, panel: Panel) -> None:
    for position, score in enumerate(panel.values.values()):
        ends = [100 * end for end in score.interval or ()]
        if score.value is not None:
            axes.barh(position, 100 * score.value, color=BLUE, height=0.6, label=BAR)
        if ends:
            axes.plot(ends, [position, position], color=INK, linewidth=1.2, marker="|", markersize=6)
        if score.paper is not None:
            axes.plot(100 * score.paper, position, "D", color=ORANGE, markersize=6, linestyle="none", label=PAPER)
        end = max([*ends, 100 * (score.paper or 0)])
        text = MISSING if score.value is None else percent(score.value)
        axes.annotate(text, (end, position), (6, 0), textcoords="offset points", va="center", fontsize=8)
    if panel.line and panel.line[1].value is not None:
        name, score = panel.line
        axes.axvline(100 * score.value, color=INK, linewidth=1, linestyle=":", label=f"{name}, ours")
    axes.set_xlabel("macro-F1 (%)")
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _maximum(panel: Panel) -> float:
    """The largest value in a panel, in per cent."""
    values = [*panel.values.values(), *([panel.line[1]] if panel.line else [])]
    return max(100 * (end or 0) for score in values for end in (score.value, score.paper, *(score.interval or ())))


def _standalone(figure: Figure, title: str) -> str:
    text = save(figure, title, facecolor="white")
    for placeholder, colour in LIGHT.items():
        text = text.replace(placeholder, colour)
    return text
