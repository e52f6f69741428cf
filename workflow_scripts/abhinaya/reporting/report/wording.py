"""Numbers as text: singular and plural, lists, points, p-values."""

from collections.abc import Sequence

from abhinaya.reporting.table import number

NBSP = "\u00a0"  # no line break here


def count(n: int, noun: str) -> str:
    """``1 note``, ``3 notes``, ``1,042 utterances``."""
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"


def listing(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def percentage(value: float) -> str:
    """0.6326 as ``63.3 %``."""
    return f"{100 * value:.1f}{NBSP}%"


def signed_points(value: float) -> str:
    """A difference of two percentages: 0.0512 as ``+5.1``."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def between(low: float, high: float) -> str:
    """An interval of differences: ``−1.2 to +11.3``."""
    return f"{signed_points(low)} to {signed_points(high)}"


def probability(p: float) -> str:
    """A p-value: ``< 0.001``, ``0.032``, ``0.31``; a dash for NaN."""
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
