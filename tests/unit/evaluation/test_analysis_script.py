import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import analyse
from abhinaya.data.schemas import KEY
from abhinaya.evaluation import voting
from abhinaya.runtime.errors import UserError
from support.analysis_parts import guess, manifest, predictions, truths, write_files

pytestmark = pytest.mark.usefixtures("quick_garbage_collection")

CONTRACT = {
    "significance": "split,a,b,n,difference,low,high,p_bootstrap,p_bootstrap_holm,"
    "speakers_low,speakers_high,p_speakers,p_speakers_holm,only_a_right,only_b_right,p_mcnemar,p_mcnemar_holm",
    "speakers": "split,system,n,speakers,macro_f1,low,high",
    "calibration": "system,split,n,ece,confidence,accuracy",
    "reliability": "system,split,low,high,n,confidence,accuracy",
    "agreement": "split,a,b,kappa,agree",
    "leave_one_out": "ensemble,member,split,n,macro_f1,agrees,changed,without,effect,low,high",
    "oracle": "ensemble,split,n,vote,oracle,unanimous,all_wrong",
    "subgroups": "system,split,variable,group,n,macro_f1,low,high,uar,accuracy",
    "worst_errors": "system,split,FileName,truth,predicted,confidence,p_truth,votes,text,path,duration",
}
SCRIPTS = Path(analyse.__file__).parent


@pytest.fixture
def files(tmp_path) -> dict:
    """Two labelled splits, three systems and two ensembles."""
    truth = truths(80)
    speakers = [f"speaker {i % 16}" for i in range(len(truth))]
    rows = pd.concat([manifest(list(truth), split, SpkrID=speakers) for split in ("validation", "test")])
    tables = {
        name: pd.concat([predictions(list(guess(truth, 0.5, seed)), split, seed) for split in ("validation", "test")])
        for seed, name in enumerate(["s1", "s2", "t1"])
    }
    members = {name: table.set_index(KEY).sort_index() for name, table in tables.items()}
    for name, tie_break, rule in (("vote", "s2", "label"), ("likely", "t1", "probabilities")):
        tables[name] = voting.vote(members, tie_break, rule)
    return write_files(tmp_path, rows, tables, {"test_0000.wav": "hello"})


ENSEMBLES = ("--votes", "vote", "likely", "--tie-breaks", "vote=s2", "likely=t1", "--tie-rules", "likely=probabilities")


def arguments(files: dict, output: Path, *further: object) -> list[str]:
    given = ("--manifest", files["manifest"], "--transcripts", files["transcripts"], "--names", *files["preds"])
    return [*map(str, (*given, "--preds", *files["preds"].values(), "--output-dir", output, *further))]


def run(monkeypatch: pytest.MonkeyPatch, given: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["analyse.py", *given])
    analyse.main()


def test_all_tables_are_written(files, tmp_path, monkeypatch, capsys):
    run(monkeypatch, arguments(files, tmp_path / "out", *ENSEMBLES, "--bootstrap", 50))
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(CONTRACT)
    tables = {name: pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in CONTRACT}
    for name, columns in CONTRACT.items():
        assert ",".join(tables[name].columns) == columns
    assert len(tables["significance"]) == 2 * 10
    assert len(tables["speakers"]) == len(tables["calibration"]) == 2 * 5
    assert len(tables["agreement"]) == 2 * 3
    assert len(tables["leave_one_out"]) == 2 * 2 * 3
    assert len(tables["oracle"]) == 2 * 2
    assert set(tables["worst_errors"]["system"]) == {"vote", "likely"}
    assert set(tables["subgroups"]["variable"]) == {"speaker", "duration", "words"}
    assert "significance.csv: 20 rows\n" in capsys.readouterr().out


def test_same_seed_writes_the_same_bytes(files, tmp_path, monkeypatch):
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        run(monkeypatch, arguments(files, tmp_path / name, *ENSEMBLES, "--bootstrap", 50, "--seed", seed))
    for table in CONTRACT:
        one, again, other = ((tmp_path / name / f"{table}.csv").read_bytes() for name in ("one", "again", "other"))
        assert one == again
        assert (one != other) == (table in ("significance", "speakers", "leave_one_out", "subgroups"))


def test_without_ensembles_and_transcripts(files, tmp_path, monkeypatch):
    given = arguments(files, tmp_path / "out", "--bootstrap", 5)
    del given[2:4]
    run(monkeypatch, given)
    assert (tmp_path / "out" / "leave_one_out.csv").read_text() == CONTRACT["leave_one_out"] + "\n"
    assert set(pd.read_csv(tmp_path / "out" / "subgroups.csv")["variable"]) == {"speaker", "duration"}
    assert pd.read_csv(tmp_path / "out" / "worst_errors.csv")["system"].nunique() == 5


def test_without_labels_tables_have_only_a_header(tmp_path, monkeypatch):
    files = write_files(tmp_path, manifest([None, None]), {"s1": predictions(list("AC"))}, {})
    run(monkeypatch, arguments(files, tmp_path / "out"))
    for name, columns in CONTRACT.items():
        assert (tmp_path / "out" / f"{name}.csv").read_text() == columns + "\n"


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--votes", "vote"], "--tie-breaks: .*vote=MEMBER"),
        (["--votes", "ours", "--tie-breaks", "ours=s2"], "--votes: ours .*--names"),
        (["--votes", "vote", "--tie-breaks", "vote"], "--tie-breaks: 'vote' .*NAME=VALUE"),
        (["--votes", "vote", "--tie-breaks", "vote="], "--tie-breaks: 'vote' .*NAME=VALUE"),
        (["--votes", "vote", "--tie-breaks", "vote=s2", "s1=s2"], "--tie-breaks: 's1' .*NAME=VALUE"),
        (["--votes", "vote", "--tie-breaks", "vote=nobody"], "tie-breaker 'nobody'"),
        (
            ["--votes", "vote", "--tie-breaks", "vote=s2", "--tie-rules", "vote=dice"],
            "--tie-rules: vote=dice .*label, probabilities",
        ),
        (["--tie-rules", "vote=label"], "--tie-rules: 'vote'"),
        (["--votes", "s1", "--tie-breaks", "s1=s1"], "s1/preds.csv: .*votes"),
        (["--bootstrap", "0"], "bootstrap: 0"),
        (["--seed", "-1"], "seed: -1"),
        (["--names", "s1"], "--names: "),
        (["--names", "s1", "s1", "t1", "vote", "likely"], "--names: "),
    ],
)
def test_invalid_arguments_are_reported_and_nothing_is_written(files, tmp_path, monkeypatch, further, message):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, arguments(files, tmp_path / "out", *further))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_analysis_does_not_import_torch():
    code = "import sys, analyse; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
