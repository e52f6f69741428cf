"""Tables, figures and numbers of the report."""

import re

import numpy as np
import pandas as pd
import pytest

from abhinaya.reporting import report
from abhinaya.reporting.report import figures, wording
from abhinaya.reporting.report.ensembles import agreement
from abhinaya.reporting.report.transcription import word_errors
from abhinaya.reporting.table import Cell, Table, number


def test_agreement_is_the_share_of_equal_labels():
    voted = pd.DataFrame({"EmoClass": list("AACH"), "vote_s1": list("AACH"), "vote_s2": list("ANNN")})
    assert agreement(voted) == {"s1": 1.0, "s2": 0.25}


def test_word_errors_ignore_case_punctuation_and_empty_references():
    references = pd.DataFrame({"FileName": list("abcd"), "text": ["Well, I know.", "one two", "...", "unheard"]})
    transcripts = pd.DataFrame({"FileName": list("abc"), "text": ["well i  know", "One 2 three", "noise"]})
    errors = word_errors(transcripts, references)
    assert (errors["utterances"], errors["words"]) == (2, 5)
    assert (errors["substitutions"], errors["deletions"], errors["insertions"]) == (1, 0, 1)
    assert errors["wer"] == pytest.approx(2 / 5)
    assert word_errors(transcripts.iloc[:0], references) == {}


def test_empty_hypothesis_counts_as_deletions():
    references = pd.DataFrame({"FileName": ["a"], "text": ["hello world"]})
    assert word_errors(references.assign(text=""), references)["deletions"] == 2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ({"name": "wce", "reduction": "mean"}, "a trial, WCE"),
        ({"name": "wfl", "gamma": 2.0}, "a trial, WFL γ 2"),
        ({"name": "vs", "gamma": 0.3, "tau": 1.0}, "a trial, VS γ 0.3 τ 1"),
    ],
)
def test_system_is_described_by_its_description_or_encoder_and_its_loss(loss, expected):
    config = {"settings": {"encoder": {"model": "wavlm"}, "loss": loss}}
    assert report.describe(config, "a trial") == expected
    assert report.describe(config).startswith("wavlm, ")
    assert report.describe({}) == ""


def test_markdown_escapes_a_bar():
    table = Table(["a", "b"], [[Cell("x|y"), Cell("1", "[0, 2]", best=True)]], [("", 1), ("test", 1)])
    assert table.markdown() == "| a | test b |\n| --- | ---: |\n| x\\|y | **1** [0, 2] |\n"


def test_numbers_are_grouped_and_missing_ones_are_dashes():
    assert [number(value) for value in (1234567, 1234.5, 0, None)] == ["1,234,567", "1,234.50", "0", "–"]


def test_a_confusion_matrix_shows_percent_of_the_row_and_counts():
    matrix = np.zeros((8, 8), int)
    matrix[0, :2] = 30, 10
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figures.confusion(matrix.tolist(), "c"))
    assert [text for text in texts if text.isdigit()] == ["75", "30", "25", "10"]


def test_epochs_without_a_measure_make_a_figure():
    svg = figures.training_curves([{"epoch": 1, "loss": 1.0, "macro_f1": None}], None, "t")
    assert svg.count("<svg") == 1 and "selected" not in svg


@pytest.mark.parametrize(
    ("p", "expected"), [(np.nan, "–"), (0.0004, "< 0.001"), (0.0321, "0.032"), (0.314, "0.31"), (1.0, "1.00")]
)
def test_format_of_p_values(p, expected):
    assert wording.probability(p) == expected


def test_differences_have_their_sign():
    assert [wording.signed_points(value) for value in (0.051, -0.051, 0.0001, -0.0001)] == [
        "+5.1",
        "−5.1",
        "0.0",
        "0.0",
    ]


def test_heat_map_colours_only_given_cells():
    values = np.array([[np.nan, 0.5], [-0.5, np.nan]])
    svg = figures.heat_map(values, ["a", "b"], [["", "+50"], ["−50", ""]], "differences")
    assert svg.count("var(--blue)") == 1 and svg.count('role="img" aria-label="differences"') == 1
    assert [text for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg) if "50" in text] == ["+50", "−50"]


def test_interval_may_exclude_its_value():
    svg = figures.dots(["a", "b"], {"test": [(0.5, 0.6, 0.7), None]}, "macro-F1 (%)", "t")
    assert "50.0" in svg
