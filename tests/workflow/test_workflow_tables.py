"""The paper's tables, replicas from other seeds, the analysis and the submission, each from a whole run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from abhinaya.config import validate
from abhinaya.config.paper_runs import in_report, tables
from abhinaya.reporting.table import percent
from abhinaya.runtime.files import read_json
from support.running import ROOT, TEST_CONFIG, planned, snakemake

SETTINGS = yaml.safe_load(TEST_CONFIG.read_text())
NAMES = [*SETTINGS["systems"], *SETTINGS["ensembles"]]
TRAINED = ("baseline", "s1", "t2")
PROBE = "s1_probe"  # s1 has a frozen encoder
REPORTED = ["baseline", "s1", PROBE, "t1", "t2", "vote"]
IN_REPORT = ("section_4_1", "table1", "table3", "table4", "figure2")
SPLITS = ("validation", "test")
SALMONN = ("salmonn", "salmonn_zero_shot")


def copied(finished: Path, folder: Path) -> Path:
    """A copy of the run, times included, so that nothing in it runs again."""
    return Path(shutil.copytree(finished, folder / "run"))


def weights(run: Path) -> dict[str, tuple[int, bytes]]:
    """Time and bytes of each trained model, by system."""
    models = run.glob("results/*/model/model.safetensors")
    return {path.parent.parent.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in models}


def scores(run: Path, name: str) -> dict:
    return read_json(run / "results" / name / "scores.json")


def table(run: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(run / "results/tables" / f"{name}.csv", float_precision="round_trip")


def families(settings: dict, *names: str) -> int:
    """How many systems of these families there are, those of the tables included."""
    systems = settings["systems"] | settings.get("tables", {}).get("systems", {})
    return sum(system["family"] in names for system in systems.values())


# --- the tables


@pytest.fixture(scope="module")
def with_tables(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A copy of the run in which `snakemake tables` ran, and its jobs."""
    run = copied(finished, tmp_path_factory.mktemp("tables"))
    return run, planned(snakemake(run, "tables"))


def test_the_tables_train_only_what_is_missing(finished: Path, with_tables: tuple[Path, dict[str, int]]) -> None:
    run, jobs = with_tables
    once = dict.fromkeys(("train", "predict", "score", "paper_table", "tables"), 1)
    assert jobs == {**once, "total": 5}  # Table 2 alone: the report has the others
    before, after = weights(finished), weights(run)
    assert set(after) == {*TRAINED, PROBE, "s1_wce"}
    assert {name: after[name] for name in (*TRAINED, PROBE)} == before
    assert planned(snakemake(run, "-n", "tables")) == planned(snakemake(run, "-n")) == {}


def test_each_table_has_its_files(with_tables: tuple[Path, dict[str, int]]) -> None:
    folder = with_tables[0] / "results/tables"
    names = (*IN_REPORT, "table2")
    assert set(tables(validate(SETTINGS))) == {*names}
    kinds = {f"{name}.{kind}" for name in names for kind in ("csv", "md", "tex", "json")}
    assert {path.name for path in folder.iterdir()} == {*kinds, "figure2.svg"}
    for name in names:
        described = read_json(folder / f"{name}.json")
        assert described["title"] in (folder / f"{name}.md").read_text()
        assert r"\begin{tabular}" in (folder / f"{name}.tex").read_text()
        assert len(table(with_tables[0], name))
    assert (folder / "figure2.svg").read_text().lstrip().startswith(("<?xml", "<svg"))


def test_table_1_has_the_numbers_of_the_scores(with_tables: tuple[Path, dict[str, int]]) -> None:
    run = with_tables[0]
    found = table(run, "table1").set_index(["system", "split"])
    assert set(found.index) == {(name, split) for name in NAMES for split in SPLITS}
    for (name, split), row in found.iterrows():
        expected = scores(run, name)[split]
        assert (row["value"], row["low"], row["high"]) == (expected["macro_f1"], *expected["macro_f1_interval"])
        assert row["n"] == expected["n"] == 16
    text = (run / "results/tables/table1.md").read_text()
    assert all(percent(value) in text for value in found["value"])


def test_table_2_takes_the_system_as_given_for_its_own_loss(with_tables: tuple[Path, dict[str, int]]) -> None:
    run = with_tables[0]
    assert {path.name for path in run.glob("results/s1*")} == {"s1", PROBE, "s1_wce"}
    found = table(run, "table2").set_index(["loss", "split"])["value"]
    assert set(found.index) == {(loss, split) for loss in ("WCE", "WFL") for split in SPLITS}
    for split in SPLITS:
        assert found["WFL", split] == scores(run, "s1")[split]["macro_f1"]
        assert found["WCE", split] == scores(run, "s1_wce")[split]["macro_f1"]
    given, other = (read_json(run / f"results/{name}/model/config.json") for name in ("s1", "s1_wce"))
    assert (given["settings"].pop("loss")["name"], other["settings"].pop("loss")["name"]) == ("wfl", "wce")
    assert (given["settings"], given["seed"]) == (other["settings"], other["seed"])
    trained = weights(run)
    assert trained["s1"][1] != trained["s1_wce"][1]


def test_table_4_counts_the_votes_of_its_combinations(with_tables: tuple[Path, dict[str, int]]) -> None:
    run = with_tables[0]
    found = table(run, "table4").set_index(["system", "split"])
    assert set(found.index) == {(name, split) for name in ("two", "vote") for split in SPLITS}
    assert found.loc["two", "members"].unique() == ["s1 t2"]
    predictions = pd.read_csv(run / "results/two/preds.csv")
    assert predictions["vote_s1"].equals(pd.read_csv(run / "results/s1/preds.csv")["EmoClass"])
    assert predictions["EmoClass"].equals(predictions["vote_s1"])  # of two, the tie-breaker is always right
    assert found.loc[("two", "test"), "value"] == scores(run, "s1")["test"]["macro_f1"]


def test_one_table_plans_only_what_it_needs(finished: Path, tmp_path: Path) -> None:
    plan = planned(snakemake(tmp_path / "new", "-n", "table2"))
    assert plan == {
        "prepare_corpus": 1,
        "extract_features": 1,
        "train": 2,
        "predict": 2,
        "score": 2,
        "paper_table": 1,
        "table2": 1,
        "total": 10,
    }
    run = copied(finished, tmp_path)
    shutil.rmtree(run / "results/two")
    (run / "results/tables/table4.csv").unlink()
    plan = planned(snakemake(run, "-n", "table4"))
    assert plan == {"vote": 1, "score": 1, "paper_table": 1, "table4": 1, "total": 4}


def test_a_published_value_that_changes_updates_the_table(finished: Path) -> None:
    summary = snakemake(finished, "table1", "figure2", "--detailed-summary").stdout
    columns, *rows = (line.split("\t") for line in summary.splitlines() if "\t" in line)
    inputs = {row[0]: row[columns.index("input-file(s)")].split(",") for row in rows}
    for name in ("table1.csv", "figure2.svg"):
        assert str(ROOT / "workflow_scripts/abhinaya/reporting/paper/paper.csv") in inputs[f"results/tables/{name}"]


@pytest.mark.parametrize("name", ["config.yaml", "config/paper.yaml"])
def test_the_tables_of_the_shipped_configurations_can_be_planned(name: str, tmp_path: Path) -> None:
    """Each system is trained once, plus the other losses of Table 2; systems share their features.

    The paper's configuration also trains ST1 for three epochs, as in the submitted vote.
    """
    jobs = planned(snakemake(tmp_path, "-n", "tables", configfile=ROOT / name))
    settings = yaml.safe_load((ROOT / name).read_text())
    trained = families(settings, "speech", "text", "salmonn")
    losses = len(settings["tables"]["losses"]["systems"]) * (3 - 1)  # one of the three is the system's own
    submitted = len(settings["tables"].get("submitted", {}))
    votes = len(settings["ensembles"]) + len(settings["tables"]["combinations"]) + submitted
    zero_shot = families(settings, "zero_shot", "salmonn_zero_shot")
    assert submitted == (name == "config/paper.yaml")
    assert (trained, losses) == (6 + submitted, 8)
    assert jobs["train"] == jobs["predict"] == trained + losses
    assert (jobs["label_zero_shot"], jobs["vote"]) == (zero_shot, votes)
    assert jobs["score"] == trained + losses + zero_shot + votes - submitted  # of ST1 after three epochs, only the vote
    assert jobs["paper_table"] + jobs["paper_figure"] == len(tables(validate(settings))) == 8 + submitted
    assert jobs["transcribe"] == settings["transcripts"]["shards"]
    assert jobs.get("extract_features", 0) == feature_shards(settings)
    assert "report" not in jobs and "analyse" not in jobs


def feature_shards(settings: dict) -> int:
    """How many jobs extract features, where all speech LLMs share theirs, and all losses and seeds those of s1."""
    systems = (settings["systems"] | settings["tables"]["systems"]).values()
    audio_encoder = [system["encoder"]["audio_encoder"] for system in systems if system["family"] in SALMONN]
    assert len(audio_encoder) > 2 and all(each == audio_encoder[0] for each in audio_encoder)
    frozen = [system for system in systems if system.get("encoder", {}).get("freeze") == "all"]
    return len(frozen) + (audio_encoder[0].get("shards", 1) if audio_encoder[0].get("cache") else 0)


# --- seeds


@pytest.fixture(scope="module")
def with_seeds(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A copy of the run, to which a second seed was added, and the jobs of that; without the section `tables`."""
    folder = tmp_path_factory.mktemp("seeds")
    settings = yaml.safe_load(TEST_CONFIG.read_text()) | {"seeds": [7, 8]}
    del settings["tables"]
    for name in TRAINED:
        settings["systems"][name]["resources"]["cpus"] = 1  # two at a time
    config = folder / "seeds.yaml"
    config.write_text(yaml.safe_dump(settings))
    run = copied(finished, folder)
    return run, planned(snakemake(run, configfile=config))


def test_another_seed_trains_replicas_and_nothing_else(finished: Path, with_seeds: tuple[Path, dict[str, int]]) -> None:
    run, jobs = with_seeds
    made = {name: jobs.get(name, 0) for name in ("train", "predict", "vote", "score", "transcribe", "label_zero_shot")}
    assert made == {"train": 3, "predict": 3, "vote": 1, "score": 4, "transcribe": 0, "label_zero_shot": 0}
    replicas = {f"{name}_seed8" for name in (*TRAINED, "vote")}
    assert {path.name for path in run.glob("results/*_seed*")} == replicas
    before, after = weights(finished), weights(run)
    assert {name: after[name] for name in (*TRAINED, PROBE)} == before
    assert set(after) == {*TRAINED, PROBE, *replicas} - {"vote_seed8"}
    for name in TRAINED:
        assert after[f"{name}_seed8"][1] != after[name][1]
        seeds = [
            read_json(run / f"results/{run_name}/model/config.json")["seed"] for run_name in (name, f"{name}_seed8")
        ]
        assert seeds == [7, 8]
    described = read_json(run / "results/vote_seed8/ensemble.json")
    assert described["members"] == ["baseline_seed8", "s1_seed8", "t1", "t2_seed8"]
    assert described["tie_break"] == "s1_seed8"


def test_the_seeds_table_has_mean_and_deviation_of_the_replicas(with_seeds: tuple[Path, dict[str, int]]) -> None:
    run = with_seeds[0]
    found = table(run, "seeds").set_index(["system", "split"])
    assert set(found.index) == {(name, split) for name in (*TRAINED, "vote") for split in SPLITS}
    page = (run / "results/report/report.html").read_text()
    for (name, split), row in found.iterrows():
        both = [scores(run, replica)[split]["macro_f1"] for replica in (name, f"{name}_seed8")]
        assert row["seeds"] == 2
        assert row["value"] == pytest.approx(np.mean(both)) and row["sd"] == pytest.approx(np.std(both, ddof=1))
        assert (row["lowest"], row["highest"]) == (min(both), max(both))
        assert f"{percent(row['value'])} ± {percent(row['sd'])}" in page
    assert "Seeds: variation between trainings" in page
    shown = pd.read_csv(run / "results/report/scores.csv")["system"]
    assert shown.drop_duplicates().tolist() == REPORTED  # a replica is no system of its own


def test_replicas_share_their_features(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"seeds": [1234, 1, 2]}
    config = tmp_path / "seeds.yaml"
    config.write_text(yaml.safe_dump(settings))
    jobs = planned(snakemake(tmp_path, "-n", configfile=config))
    trained = [system["family"] for system in settings["systems"].values() if "training" in system]
    assert trained.count("salmonn") == 2
    assert jobs["extract_features"] == feature_shards(settings) == 2
    assert jobs["train"] == jobs["predict"] == 3 * len(trained) + 1  # the probe of s1 depends on no seed
    assert jobs["vote"] == 3 + len(settings["tables"]["combinations"])
    assert jobs["label_zero_shot"] == 1 and jobs["transcribe"] == settings["transcripts"]["shards"]


# --- the analysis, the report, the submission


def test_the_analysis_compares_all_systems(finished: Path) -> None:
    folder = finished / "results/analysis"
    found = {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}
    whole = {"significance", "speakers", "calibration", "reliability", "agreement", "leave_one_out", "oracle"}
    whole |= {"subgroups", "worst_errors"}
    assert set(found) == whole
    assert {name for name, rows in found.items() if rows.empty} == {"speakers"}  # too few of them
    pairs = {
        (split, frozenset(pair)) for split, *pair in found["significance"][["split", "a", "b"]].itertuples(index=False)
    }
    assert len(found["significance"]) == len(pairs) == len(SPLITS) * len(REPORTED) * (len(REPORTED) - 1) / 2
    assert (found["significance"]["p_bootstrap_holm"] >= found["significance"]["p_bootstrap"]).all()
    for name in ("calibration", "reliability", "subgroups"):
        assert set(found[name]["system"]) == {*REPORTED}
    members = SETTINGS["ensembles"]["vote"]["members"]
    effects = found["leave_one_out"][["ensemble", "split", "member"]].itertuples(index=False, name=None)
    assert sorted(effects) == sorted(("vote", split, member) for split in SPLITS for member in members)
    oracle = found["oracle"].set_index("split")
    assert (oracle["oracle"] >= oracle["vote"]).all()
    for split in SPLITS:
        assert oracle.loc[split, "vote"] == pytest.approx(scores(finished, "vote")[split]["macro_f1"])
    assert found["worst_errors"]["FileName"].isin(pd.read_csv(finished / "results/vote/preds.csv")["FileName"]).all()


def test_the_report_names_each_system_and_has_the_tables_that_cost_nothing(finished: Path) -> None:
    page = (finished / "results/report/report.html").read_text()
    assert in_report(validate(SETTINGS)) == list(IN_REPORT)
    for name in IN_REPORT:
        assert read_json(finished / f"results/tables/{name}.json")["title"].replace("'", "&#39;") in page
    assert "Table 2" not in page
    shown = pd.read_csv(finished / "results/report/scores.csv")["system"]
    assert shown.drop_duplicates().tolist() == REPORTED
    assert all(f">{name}<" in page for name in REPORTED)
    assert all(system["description"].replace("'", "&#39;") in page for system in SETTINGS["systems"].values())


def test_an_ensemble_describes_itself(finished: Path) -> None:
    described = json.loads((finished / "results/vote/ensemble.json").read_text())
    assert described == SETTINGS["ensembles"]["vote"]
    described = json.loads((finished / "results/two/ensemble.json").read_text())
    assert (described["members"], described["tie_break"]) == (["s1", "t2"], "s1")


def test_the_submission_is_what_the_leaderboard_wants(finished: Path, tmp_path: Path) -> None:
    def check(submission: Path) -> subprocess.CompletedProcess[str]:
        script = ROOT / "workflow_scripts/check_submission.py"
        corpus = finished / "results/corpus"
        known = ("--manifest", corpus / "manifest.parquet", "--rejected", corpus / "rejected.csv")
        command = [sys.executable, script, "--submission", submission, *known]
        return subprocess.run(command, capture_output=True, text=True)

    good = finished / "results/vote/submission.csv"
    done = check(good)
    assert (done.returncode, done.stderr) == (0, "") and "16 test files" in done.stdout
    lines = good.read_text().splitlines(keepends=True)
    lost = lines.pop(5).split(",")[0]
    short = tmp_path / "short.csv"
    short.write_text("".join(lines))
    done = check(short)
    assert done.returncode == 1
    assert done.stderr == f"error: {short}: missing test files: 1 ({lost})\n"
