import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abhinaya.evaluation.analysis.seeds import COLUMNS, spread

rates = st.lists(st.floats(0, 1), min_size=2, max_size=6)


def replica(validation: float | None, test: float | None) -> dict:
    """The part of a scores.json that `spread` uses."""
    return {
        "validation": None if validation is None else {"macro_f1": validation},
        "test": None if test is None else {"macro_f1": test},
    }


def test_the_spread_in_closed_form():
    table = spread({"s1": [replica(0.3, 0.1), replica(0.4, 0.1), replica(0.5, 0.4)], "vote": [replica(0.9, None)]})
    assert list(table.columns) == COLUMNS
    assert table[["system", "split", "seeds"]].values.tolist() == [
        ["s1", "validation", 3], ["s1", "test", 3], ["vote", "validation", 1],
    ]  # fmt: skip
    assert table["mean"].tolist() == pytest.approx([0.4, 0.2, 0.9])
    assert table["sd"].tolist()[:2] == pytest.approx([0.1, 0.03**0.5])  # (0.1² + 0.1² + 0.2²) / (3 - 1)
    assert table["lowest"].tolist() == [0.3, 0.1, 0.9]
    assert table["highest"].tolist() == [0.5, 0.4, 0.9]


def test_one_seed_has_no_deviation():
    table = spread({"s1": [replica(0.3, None)]})
    assert np.isnan(table["sd"].item())
    assert table.to_csv(index=False).splitlines()[1] == "s1,validation,1,0.3,,0.3,0.3"


@given(rates)
def test_mean_and_deviation_are_those_of_the_standard_library(values):
    row = spread({"s1": [replica(value, None) for value in values]}).iloc[0]
    assert row["mean"] == pytest.approx(statistics.mean(values), abs=1e-12)
    assert row["sd"] == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert row["lowest"] - 1e-12 <= row["mean"] <= row["highest"] + 1e-12


@pytest.mark.parametrize("scores", [{}, {"s1": []}, {"s1": [replica(None, None)]}])
def test_no_scores_give_an_empty_table(scores):
    table = spread(scores)
    assert table.empty
    assert list(table.columns) == COLUMNS
