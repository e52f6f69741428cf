"""How the report says numbers: one and many, lists, points, p-values."""

from collections.abc import Sequence

from abhinaya.reporting.table import number

NBSP = "\u00a0"  # a space at which no line is broken


def count(n: int, one: str, many: str = "") -> str:
    """``1 note``, ``3 notes``, ``1,042 utterances``; `many` where an s does not do."""
    return f"{number(n)} {one if n == 1 else many or one + 's'}"


def listing(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def percentage(value: float) -> str:
    """0.6326 as ``63.3 %``, in one piece."""
    return f"{100 * value:.1f}{NBSP}%"


def signed_points(value: float) -> str:
    """0.0512 as ``+5.1``: a difference of two percentages."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def between(low: float, high: float) -> str:
    """An interval of differences: ``−1.2 to +11.3``."""
    return f"{signed_points(low)} to {signed_points(high)}"


def probability(p: float) -> str:
    """A p-value, not more precise than it is: ``< 0.001``, ``0.032``, ``0.31``; a dash where there is none."""
    if p != p:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
