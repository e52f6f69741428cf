"""Messages for invalid inputs of the paper's tables."""

import pytest

from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.paper_parts import SETTINGS, arguments, run_script


@pytest.mark.parametrize(
    ("table", "settings", "parts"),
    [
        ("table9", {}, ["--table: ", "'table9'", "table1, table1_submitted"]),
        ("table1", {"components": []}, ["`tables.components`"]),
        ("table3", {"components": []}, ["`tables.components`"]),
        ("table2", {"losses": None}, ["`tables.losses`"]),
        ("table2", {"losses": {"systems": [], "losses": []}}, ["`tables.losses`"]),
        ("table2", {"loss_runs": {"s1": {"wce": "baseline"}}}, ["s1 with vs", "`loss_runs`"]),
        ("table4", {"combinations": {}}, ["`tables.combinations`"]),
        ("table1_submitted", {"submitted": {}}, ["`tables.submitted`"]),
        ("table1_submitted", {"submitted": {"late": {"members": ["s1"], "tie_break": "s1"}}}, ["'late'"]),
        ("figure2", {"zero_shot": None}, ["`tables.zero_shot`"]),
        ("figure2", {"zero_shot": {"models": []}}, ["`tables.zero_shot`"]),
        ("section_4_6", {"modalities": []}, ["`tables.modalities`"]),
        ("section_4_6", {"modalities": ["s1", "s1"]}, ["`tables.modalities`"]),
        ("zero_shot_speech", {"speech_zero_shot": None}, ["`tables.speech_zero_shot`"]),
        ("seeds", {"seed_runs": {}}, ["`seeds`"]),
        ("table1", {"components": ["s1", "s9"]}, ["`tables.components`", "'s9'", "scores.json"]),
        ("seeds", {"seed_runs": {"s1": {"0": "s1_0"}}}, ["`seeds`", "'s1_0'"]),
        ("figure2", {"zero_shot": {"models": ["t1"], "line": "wavlm"}}, ["`tables.zero_shot`", "'wavlm'"]),
        ("table1", {"components": "s1"}, ["tables: `components`", "list", "'s1'"]),
    ],
)
def test_missing_settings_are_reported(score_files, tmp_path, monkeypatch, table, settings, parts):
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, arguments(score_files, table, tmp_path / "out", SETTINGS | settings))
    assert_names(str(caught.value), *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("further", "parts"),
    [
        (["--names", "s1"], ["--names: ", "1 names", "1 different", "10 files of --scores"]),
        (["--names", *["s1"] * 10], ["--names: ", "10 names", "1 different", "10 files of --scores"]),
        (["--votes", "vote"], ["--votes: ", "'vote'", "NAME=MEMBER"]),
        (["--votes", "vote=s1,,s2"], ["--votes: ", "'vote=s1,,s2'", "NAME=MEMBER"]),
        (["--votes", "all=s1,s2", "--table", "table4"], ["`--votes`", "'all'"]),
        (["--settings", "{"], ["tables: ", "JSON"]),
        (["--settings", "nowhere.json"], ["nowhere.json", "JSON"]),
        (["--summary", "nowhere.json"], ["nowhere.json: ", "not found"]),
    ],
)
def test_invalid_arguments_are_reported(score_files, tmp_path, monkeypatch, further, parts):
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, [*arguments(score_files, "table1", tmp_path / "out"), *further])
    assert_names(str(caught.value), *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        ("s1", "[]", "JSON object"),
        ("s1", "{}", "score.py"),
        ("s1", '{"validation": {}}', "validation.n"),
        ("summary", "{}", "`splits`"),
    ],
)
def test_invalid_files_are_reported(score_files, tmp_path, monkeypatch, file, content, part):
    broken = tmp_path / "broken.json"
    broken.write_text(content)
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, arguments({**score_files, file: broken}, "section_4_1", tmp_path / "out"))
    assert_names(str(caught.value), f"{broken}: ", part)


def test_section_4_1_needs_a_summary(monkeypatch, tmp_path):
    with pytest.raises(UserError) as caught:
        run_script(monkeypatch, ["--table", "section_4_1", "--output-dir", str(tmp_path / "out")])
    assert_names(str(caught.value), "`--summary`", "summary.json")
