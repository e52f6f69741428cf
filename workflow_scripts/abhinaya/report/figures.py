"""The report's figures: inline SVG with the page's own colours and font, so that it follows light and dark."""

import hashlib
import html
import io
import re

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from abhinaya.labels import CLASSES

# Placeholders that the SVG writer prints and `_svg` exchanges for the page's own colours (report.html, `:root`).
INK, FAINT, BLUE, ORANGE, GREY = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "--ink", FAINT: "--rule", BLUE: "--blue", ORANGE: "--orange", GREY: "--grey"}
STYLE = {
    "svg.hashsalt": "abhinaya",  # the same figure gives the same bytes
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with two $ is no formula
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
DARKEST = 0.65  # opacity of a full cell: the ink stays readable on it in light and dark


def class_bars(values: dict[str, float | None], title: str) -> Markup:
    """One bar for each system: its F1 (0 to 1, None where undefined) on one class. The best bar is blue."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6, 0.35 + 0.24 * len(values)))
        axes = figure.subplots()
        known = {name: 0.0 if value is None else value for name, value in values.items()}
        best = max(known.values())
        colours = [BLUE if value == best > 0 else GREY for value in known.values()]
        positions = range(len(values))
        axes.barh(positions, [100 * value for value in known.values()], color=colours, height=0.7)
        for position, (name, value) in enumerate(values.items()):
            label = "–" if value is None else f"{100 * value:.1f}"
            axes.text(100 * known[name] + 2, position, label, va="center", fontsize=8)
        axes.set_yticks(positions, list(values))
        axes.set(xlim=(0, 115), xticks=[])
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(left=False)
        axes.invert_yaxis()
        return _svg(figure, title)


def confusion(matrix: list[list[int]], title: str) -> Markup:
    """A confusion matrix (rows are the truth): each cell holds the row's percentage and the count."""
    counts = np.array(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.1))
        axes = figure.subplots()
        for (row, column), share in np.ndenumerate(shares):
            corner, face = (column - 0.5, row - 0.5), (BLUE, DARKEST * share)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=face, edgecolor=FAINT, linewidth=0.6))
            if counts[row, column]:
                axes.text(column, row - 0.12, f"{100 * share:.0f}", ha="center", va="center", fontsize=9)
                axes.text(column, row + 0.25, counts[row, column], ha="center", va="center", fontsize=6.5, alpha=0.75)
        axes.set(xlim=(-0.53, 7.53), ylim=(7.53, -0.53), aspect="equal", xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(CLASSES)), CLASSES)
        axes.set_yticks(range(len(CLASSES)), CLASSES)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return _svg(figure, title)


def training_curves(epochs: list[dict], best_epoch: int | None, title: str) -> Markup:
    """Training and validation loss above, validation macro-F1 below, by epoch; the chosen epoch is marked."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 3.6))
        above, below = figure.subplots(2, 1, sharex=True)
        _line(above, epochs, "loss", BLUE, "-", "training")
        _line(above, epochs, "validation_loss", ORANGE, "--", "validation")
        _line(below, epochs, "macro_f1", ORANGE, "--", "validation", scale=100)
        above.set_ylabel("loss")
        below.set(ylabel="macro-F1 (%)", xlabel="epoch")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (above, below):
            axes.grid(axis="y")
            if best_epoch is not None:
                axes.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", label="chosen")
        if above.get_legend_handles_labels()[0]:
            above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0, fontsize=8)
        return _svg(figure, title)


def histogram(values: np.ndarray, label: str, title: str) -> Markup:
    """How `values` are spread, as counts in 40 bins."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 2.2))
        axes = figure.subplots()
        axes.hist(values, bins=40, color=BLUE)
        axes.set(xlabel=label, ylabel="utterances")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        return _svg(figure, title)


def _line(axes: Axes, epochs: list[dict], key: str, colour: str, style: str, label: str, scale: float = 1) -> None:
    points = [(epoch["epoch"], scale * epoch[key]) for epoch in epochs if epoch.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, marker="o", markersize=3, label=label)


def _svg(figure: Figure, title: str) -> Markup:
    """`figure` as an element of the page: its colours are the page's, its ids its own, its `title` read aloud."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = re.sub(r"<!--.*?-->", "", buffer.getvalue()[buffer.getvalue().index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for placeholder, variable in COLOURS.items():
        text = text.replace(placeholder, f"var({variable})")
    key = hashlib.sha256((title + text).encode()).hexdigest()[:8]  # several figures share one page
    text = re.sub(r'\bid="', f'id="f{key}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#f{key}-", text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1))
