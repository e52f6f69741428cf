"""The report's figures: inline SVG with the colours and font of the page, for its light and dark style."""

import hashlib
import html
import io
import re
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from abhinaya.labels import CLASSES
from abhinaya.reporting.report.wording import signed_points

Interval = tuple[float, float, float]  # a value and the ends of its interval

# Placeholders in matplotlib's SVG, which `svg` replaces by the colours of the page (page.html.j2, `:root`).
INK, FAINT, BLUE, ORANGE, GREY = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {INK: "--ink", FAINT: "--rule", BLUE: "--blue", ORANGE: "--orange", GREY: "--grey"}
STYLE = {
    "svg.hashsalt": "abhinaya",  # the same figure gives the same bytes
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may contain two $
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
MARKS = (
    (BLUE, "o"),
    (GREY, "D"),
    (ORANGE, "s"),
    (INK, "^"),
)  # colour and shape; the shape alone distinguishes series, too
MIN_SCALE, MAX_SCALE = 0.7, 1.1  # of a figure on the page, so that its text stays readable
WIDE = 4.4  # inches: a column of the page, or the full width of a phone
MAX_OPACITY = 0.65  # of a cell, so that its text stays readable in both styles


def class_bars(values: dict[str, float | None], title: str) -> Markup:
    """One bar for each system: its F1 (0 to 1, None where undefined) on one class. The best bar is blue."""
    best = max((value for value in values.values() if value), default=None)
    return _bars(values, {name: BLUE for name, value in values.items() if value == best}, 2.6, title)


def ensemble_bars(members: dict[str, float | None], vote: float, oracle: float, title: str) -> Markup:
    """Macro-F1 (0 to 1) of an ensemble's members, of their vote (blue) and of the oracle (orange)."""
    values = {**members, "vote": vote, "oracle": oracle}
    return _bars(values, {"vote": BLUE, "oracle": ORANGE}, WIDE, title)


@mpl.rc_context(STYLE)
def dots(
    rows: list[str], series: dict[str, list[Interval | None]], label: str, title: str, signed: bool = False
) -> Markup:
    """Values as dots on their intervals (value, low, high; fractions): one line per row, one colour per series.

    Args:
        rows: names of the rows.
        series: for each name, the intervals of all rows; None draws nothing.
        signed: the values are differences, shown with their sign and a line at 0.
    """
    figure = Figure(figsize=(WIDE, 0.75 + (0.12 + 0.17 * len(series)) * len(rows)))
    axes = figure.subplots()
    step = 0.8 / max(len(series), 1)
    for index, (name, values) in enumerate(series.items()):
        colour, shape = MARKS[index % len(MARKS)]
        offset = (index - (len(series) - 1) / 2) * step
        dots = [(row + offset, *interval) for row, interval in enumerate(values) if interval is not None]
        for row, value, low, high in dots:
            axes.plot([100 * low, 100 * high], [row, row], color=colour, linewidth=1.6, solid_capstyle="round")
            text = signed_points(value) if signed else f"{100 * value:.1f}"
            axes.annotate(
                text, (100 * max(high, value), row), (5, 0), textcoords="offset points", va="center", fontsize=8
            )
        x, y = [100 * value for _, value, *_ in dots], [row for row, *_ in dots]
        axes.plot(x, y, shape, color=colour, markersize=5, label=name)
    if signed:
        axes.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=label, ylim=(len(rows) - 0.4, -0.6))
    axes.margins(x=0.12)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    if len(series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0, fontsize=8, handlelength=1)
    return svg(figure, title)


@mpl.rc_context(STYLE)
def heat_map(values: np.ndarray, names: list[str], texts: list[list[str]], title: str, full: float = 1) -> Markup:
    """A square of cells, blue for values above 0 and orange below.

    Args:
        values: (names, names); a cell with NaN has no colour.
        texts: (names, names), in the cells.
        full: the absolute value with the highest opacity.
    """
    side = 0.9 + max(0.44 * len(names), 1.4)
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    for (row, column), value in np.ndenumerate(values):
        strength = 0.0 if np.isnan(value) else MAX_OPACITY * min(abs(value) / full, 1)
        _draw_cell(axes, row, column, (BLUE if value > 0 else ORANGE, strength))
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    _frame_cells(axes, names)
    return svg(figure, title)


@mpl.rc_context(STYLE)
def reliability(bins: pd.DataFrame, title: str) -> Markup:
    """Accuracy over confidence: a dot for each bin, its area by the bin's share; the bars are these shares.

    Args:
        bins: `low` and `high` end, `n` utterances, mean `confidence` and `accuracy` (0 to 1).
    """
    figure = Figure(figsize=(2.6, 2.6))
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":")
    total = bins["n"].sum()
    widths = 100 * (bins["high"] - bins["low"])
    axes.bar(100 * bins["low"], 100 * bins["n"] / total, widths, align="edge", color=GREY, alpha=0.6)
    confidence, accuracy = 100 * bins["confidence"], 100 * bins["accuracy"]
    axes.plot(confidence, accuracy, color=BLUE, linewidth=1)
    axes.scatter(confidence, accuracy, 10 + 140 * bins["n"] / total, color=BLUE, linewidth=0, clip_on=False)
    axes.set(xlim=(0, 101), ylim=(0, 101), aspect="equal", xlabel="confidence (%)", ylabel="accuracy (%)")
    axes.set(xticks=range(0, 101, 25), yticks=range(0, 101, 25))
    axes.grid()
    axes.set_axisbelow(True)
    return svg(figure, title)


@mpl.rc_context(STYLE)
def confusion(matrix: list[list[int]], title: str) -> Markup:
    """A confusion matrix (rows are the truth): each cell holds the row's percentage and the count."""
    counts = np.array(matrix)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = Figure(figsize=(4.4, 4.1))
    axes = figure.subplots()
    for (row, column), share in np.ndenumerate(shares):
        _draw_cell(axes, row, column, (BLUE, MAX_OPACITY * share))
        if counts[row, column]:
            axes.text(column, row - 0.12, f"{100 * share:.0f}", ha="center", va="center", fontsize=9)
            axes.text(column, row + 0.25, counts[row, column], ha="center", va="center", fontsize=6.5, alpha=0.75)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(CLASSES)), CLASSES)
    _frame_cells(axes, CLASSES)
    return svg(figure, title)


@mpl.rc_context(STYLE)
def training_curves(epochs: list[dict], best_epoch: int | None, title: str) -> Markup:
    """Training and validation loss above, validation macro-F1 below, by epoch; the selected epoch is marked."""
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
            axes.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", label="selected")
    if above.get_legend_handles_labels()[0]:
        above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0, fontsize=8)
    return svg(figure, title)


@mpl.rc_context(STYLE)
def histogram(values: np.ndarray, label: str, title: str) -> Markup:
    """The distribution of `values`, as counts in 40 bins."""
    figure = Figure(figsize=(6, 2.2))
    axes = figure.subplots()
    axes.hist(values, bins=40, color=BLUE)
    axes.set(xlabel=label, ylabel="utterances")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return svg(figure, title)


def _draw_cell(axes: Axes, row: int, column: int, colour: tuple[str, float]) -> None:
    """One cell of a matrix; the colour with its opacity."""
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=colour, edgecolor=FAINT, linewidth=0.6))


def _frame_cells(axes: Axes, names: Sequence[str]) -> None:
    """Limits and row names of a square matrix of cells, the first row on top."""
    end = len(names) - 0.47
    axes.set(xlim=(-0.53, end), ylim=(end, -0.53), aspect="equal")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


@mpl.rc_context(STYLE)
def _bars(values: dict[str, float | None], colours: dict[str, str], width: float, title: str) -> Markup:
    """Horizontal bars with their value in per cent; grey without an entry in `colours`, a dash for None."""
    figure = Figure(figsize=(width, 0.35 + 0.24 * len(values)))
    axes = figure.subplots()
    lengths = [100 * (value or 0.0) for value in values.values()]
    positions = range(len(values))
    axes.barh(positions, lengths, color=[colours.get(name, GREY) for name in values], height=0.7)
    for position, (length, value) in enumerate(zip(lengths, values.values(), strict=True)):
        label = "–" if value is None else f"{length:.1f}"
        axes.text(length + 2, position, label, va="center", fontsize=8)
    axes.set_yticks(positions, list(values))
    axes.set(xlim=(0, 115), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(left=False)
    axes.invert_yaxis()
    return svg(figure, title)


def _line(axes: Axes, epochs: list[dict], key: str, colour: str, style: str, label: str, scale: float = 1) -> None:
    points = [(epoch["epoch"], scale * epoch[key]) for epoch in epochs if epoch.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, marker="o", markersize=3, label=label)


def svg(figure: Figure, title: str) -> Markup:
    """`figure` as an element of the page, with the page's colours, unique ids, and `title` for screen readers."""
    text = save(figure, transparent=True)
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)  # a style would apply to the whole page
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for placeholder, variable in COLOURS.items():
        text = text.replace(placeholder, f"var({variable})")
    width = figure.get_figwidth() * 72
    size = f'style="max-width: {width * MAX_SCALE:.0f}pt; min-width: {width * MIN_SCALE:.0f}pt"'
    text = re.sub(r'(<svg [^>]*?)height="[^"]*" ', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*"', rf"\1{size}", text, count=1)
    key = hashlib.sha256((title + text).encode()).hexdigest()[:8]  # ids must be unique on the page
    text = re.sub(r'\bid="', f'id="f{key}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#f{key}-", text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1))


def save(figure: Figure, title: str | None = None, **options: object) -> str:
    """`figure` as an SVG file, the same bytes for the same figure; `options` are matplotlib's."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type")) | ({"Title": title} if title else {})
    figure.savefig(buffer, format="svg", metadata=metadata, **options)
    return buffer.getvalue()
