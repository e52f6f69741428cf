"""Figure 2 as an SVG: bars with their intervals, a line for the baseline, marks where the paper has a value."""

from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from abhinaya.reporting.paper.compare import Value
from abhinaya.reporting.report.figures import BLUE, FAINT, GREY, INK, ORANGE, STYLE, save, svg
from abhinaya.reporting.table import NOTHING, percent

# Of a file of its own: the page's light colours (report.html, `:root`), on white.
LIGHT = {INK: "#1c2024", FAINT: "#d8dde3", BLUE: "#0072b2", ORANGE: "#d55e00", GREY: "#b4bcc6"}
BAR, PAPER = "ours, with its interval", "the paper"


@dataclass(frozen=True)
class Panel:
    """One split: a bar for each system of `values`, and the name and macro-F1 of the line, None without one."""

    values: dict[str, Value]
    line: tuple[str, Value] | None


@mpl.rc_context(STYLE)
def draw(panels: dict[str, Panel], title: str) -> tuple[Markup, str]:
    """The figure, a panel a split: inline, in the page's colours; and as a file of its own, on white.

    Args:
        panels: by split; all with the same systems.
        title: what is read aloud.
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
    row[0].set_xlim(0, min(115, 1.3 * max(_farthest(panel) for panel in panels.values()) + 3))
    handles = {label: handle for axes in row for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    return svg(figure, title), _alone(figure, title)


def _bars(axes: Axes, panel: Panel) -> None:
    for position, one in enumerate(panel.values.values()):
        ends = [100 * end for end in one.interval or ()]
        if one.value is not None:
            axes.barh(position, 100 * one.value, color=BLUE, height=0.6, label=BAR)
        if ends:
            axes.plot(ends, [position, position], color=INK, linewidth=1.2, marker="|", markersize=6)
        if one.paper is not None:
            axes.plot(100 * one.paper, position, "D", color=ORANGE, markersize=6, linestyle="none", label=PAPER)
        end = max([*ends, 100 * (one.paper or 0)])
        text = NOTHING if one.value is None else percent(one.value)
        axes.annotate(text, (end, position), (6, 0), textcoords="offset points", va="center", fontsize=8)
    if panel.line and panel.line[1].value is not None:
        name, one = panel.line
        axes.axvline(100 * one.value, color=INK, linewidth=1, linestyle=":", label=f"{name}, ours")
    axes.set_xlabel("macro-F1 (%)")
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _farthest(panel: Panel) -> float:
    """The largest of what a panel shows, in per cent."""
    values = [*panel.values.values(), *([panel.line[1]] if panel.line else [])]
    return max(100 * (end or 0) for one in values for end in (one.value, one.paper, *(one.interval or ())))


def _alone(figure: Figure, title: str) -> str:
    text = save(figure, title, facecolor="white")
    for placeholder, colour in LIGHT.items():
        text = text.replace(placeholder, colour)
    return text
