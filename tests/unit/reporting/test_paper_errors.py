"""Messages for invalid inputs of the paper's tables."""

import pytest

from abhinaya.runtime.errors import UserError
from support.paper_parts import SETTINGS, arguments, run_script


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("table9", {}, "no table 'table9'; choose from table1, table2"),
        ("table1", {"components": []}, "`tables.components`: empty"),
        ("table3", {"components": []}, "`tables.components`: empty"),
        ("table2", {"losses": None}, "`tables.losses`: empty"),
        ("table2", {"losses": {"systems": [], "losses": []}}, "`tables.losses`: empty"),
        ("table2", {"loss_runs": {"s1": {"wce": "baseline"}}}, "no run of s1 with vs"),
        ("table4", {"combinations": {}}, "`tables.combinations`: empty"),
        ("figure2", {"zero_shot": None}, "`tables.zero_shot`: empty"),
        ("figure2", {"zero_shot": {"models": []}}, "`tables.zero_shot`: empty"),
        ("section_4_6", {"modalities": []}, "`tables.modalities`: empty"),
        ("section_4_6", {"modalities": ["s1", "s1"]}, "`tables.modalities`: empty"),
        ("zero_shot_speech", {"speech_zero_shot": None}, "`tables.speech_zero_shot`: empty"),
        ("seeds", {"seed_runs": {}}, "`seeds`: empty"),
        ("table1", {"components": ["s1", "s9"]}, "`tables.components`: no scores of 's9'; give its scores.json"),
        ("seeds", {"seed_runs": {"s1": {"0": "s1_0"}}}, "`seeds`: no scores of 's1_0'"),
        ("figure2", {"zero_shot": {"models": ["t1"], "line": "wavlm"}}, "`tables.zero_shot`: no scores of 'wavlm'"),
        ("table1", {"components": "s1"}, "tables: `components`: must be a list, not 's1'"),
    ],
)
def test_missing_settings_are_reported(score_files, tmp_path, monkeypatch, table, settings, message):
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, arguments(score_files, table, tmp_path / "out", SETTINGS | settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--names", "s1"], "--names: 1 names \\(1 different\\) for 9 files of --scores"),
        (["--names", *["s1"] * 9], "--names: 9 names \\(1 different\\) for 9 files"),
        (["--votes", "vote"], "--votes: 'vote' is not NAME=MEMBER"),
        (["--votes", "vote=s1,,s2"], "--votes: 'vote=s1,,s2' is not NAME=MEMBER"),
        (["--votes", "all=s1,s2", "--table", "table4"], "`--votes`: no scores of 'all'"),
        (["--settings", "{"], "tables: not JSON"),
        (["--settings", "nowhere.json"], "neither JSON"),
        (["--summary", "nowhere.json"], "nowhere.json: .*not found"),
    ],
)
def test_invalid_arguments_are_reported(score_files, tmp_path, monkeypatch, further, message):
    with pytest.raises(UserError, match=message):
        run_script(monkeypatch, [*arguments(score_files, "table1", tmp_path / "out"), *further])
    assert not (tmp_path / "out").exists()


def test_invalid_files_are_reported(score_files, tmp_path, monkeypatch):
    broken = tmp_path / "broken.json"
    for content, message in (
        ("[]", "not a JSON object"),
        ("{}", "score.py"),
        ('{"validation": {}}', "validation.n: Field required"),
    ):
        broken.write_text(content)
        with pytest.raises(UserError, match=message):
            run_script(monkeypatch, arguments({**score_files, "s1": broken}, "table1", tmp_path / "out"))
    broken.write_text("{}")
    with pytest.raises(UserError, match=r"broken.json: .*`splits`"):
        run_script(monkeypatch, arguments({**score_files, "summary": broken}, "section_4_1", tmp_path / "out"))


def test_section_4_1_needs_a_summary(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="`--summary`: empty"):
        run_script(monkeypatch, ["--table", "section_4_1", "--output-dir", str(tmp_path / "out")])
