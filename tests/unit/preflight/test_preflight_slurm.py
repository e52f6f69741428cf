"""Preflight's checks with SLURM, its script, and preflight before a run on a cluster."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from abhinaya.preflight import slurm
from abhinaya.preflight.plan import Plan, Slurm
from abhinaya.preflight.plan import read as read_plan
from abhinaya.runtime.errors import UserError
from support.preflight_parts import configured, findings, planned, table
from support.running import ROOT

SCRIPT = ROOT / "workflow_scripts" / "preflight.py"
# Rejects what exceeds a machine of 8 GB and one GPU, as SLURM does, and records its arguments.
SBATCH = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in *--test-only*) ;; *) echo "sbatch: error: no jobs here" >&2; exit 1 ;; esac
case "$*" in
*--wrap=*) ;;
*) echo "sbatch: option '--wrap' requires an argument" >&2; exit 255 ;;
esac
case "$*" in
*"--mem 9000 "*) echo "allocation failure: Requested node configuration is not available" >&2; exit 1 ;;
*"--gpus=a100:2"*)
    echo "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification" >&2
    exit 1 ;;
*) echo "sbatch: Job 7 to start at 2026-01-01T00:00:00 using 1 processors on nodes cpu in partition cpu" >&2 ;;
esac
"""


# A job of Snakemake in $HERE, one in another folder, and another job of the user, which may be Snakemake itself.
SQUEUE = """#!/bin/sh
[ "$1 $2 $3" = "--me --noheader --format=%A|%Z|%k" ] || exit 1
[ -z "$HERE" ] || echo "11|$HERE|rule_train_wildcards_s1"
echo "12|/elsewhere|rule_train_wildcards_s1"
echo "13|$PWD|(null)"
"""

# The message of SLURM without accounting.
SACCT = """#!/bin/sh
echo "Slurm accounting storage is disabled" >&2
exit 1
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SLURM's commands first in PATH; returns the file in which sbatch records its arguments."""
    (tmp_path / "bin").mkdir()
    others = dict.fromkeys(("sinfo", "scontrol", "sacctmgr"), "#!/bin/sh\n")
    for name, script in {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, **others}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    calls = tmp_path / "calls.txt"
    calls.touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(calls))
    return calls


def partitions(folder: Path) -> Slurm:
    (folder / "partitions.yaml").write_text("partitions: {cpu: {}, gpu: {max_gpu: 8}}\n")
    return Slurm(str(folder / "partitions.yaml"), qos="quick")


def test_each_kind_of_job_is_submitted_once(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slurm = partitions(tmp_path)
    small = planned(("score", {"name": "a"}), ("score", {"name": "b"}), slurm=slurm, mem_mb=4000, runtime=30)
    large = planned(("report", {}), slurm=slurm, mem_mb=9000, runtime=30, slurm_account="lab")
    many = planned(("vote", {"ensemble": "v"}), slurm=slurm, mem_mb=4000, runtime=60, gpu=2, gpu_model="a100")
    well, wrong = findings(configured(table(tmp_path)), Plan(small.jobs + large.jobs + many.jobs, slurm))
    assert "SLURM: 4 jobs of 3 kinds" in well
    assert [line.split(" (requested: ")[0] for line in wrong] == [
        "SLURM: report: rejected: Requested node configuration is not available",
        "SLURM: vote v: rejected: Invalid generic resource (gres) specification",
    ]
    assert "-A lab -p cpu -t 30 --mem 9000 --qos=quick" in wrong[0]
    assert "-p gpu -t 60 --mem 4000" in wrong[1] and "--gpus=a100:2" in wrong[1]
    commands = cluster.read_text().splitlines()
    assert len(commands) == 3 and all("--test-only" in command for command in commands)


def test_the_command_has_all_options_of_the_profile(tmp_path: Path, cluster: Path) -> None:
    profile = replace(partitions(tmp_path), reservation="nightly", requeue=True)
    resources = {"gpu": 1, "gpu_model": "a100-80gb", "constraint": "big", "slurm_extra": "--nice=10 --signal=TERM@120"}
    ((_, command),) = slurm.commands(planned(("train", {"system": "s1"}), slurm=profile, **resources).jobs, profile)
    for option in ("--requeue", "--reservation=nightly", "--gpus=a100-80gb:1", "--nice=10", "--signal=TERM@120"):
        assert option in command
    assert command[command.index("-C") + 1] == "big"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"gpu": 16, "mem_mb": 4000}, "report: its cpus: 1, gpu: 16, mem_mb: 4000 fit no partition of the profile; "),
        ({"gres": "gpu:9"}, "report: its cpus: 1, gres: gpu:9 fit no partition of the profile; "),
        ({"slurm_extra": "--mem=9"}, "report: sbatch command failed (The --memory option is not allowed"),
        ({"gpu": 1, "gpu_model": "a 100"}, "report: sbatch command failed (Invalid GPU model format: a 100"),
    ],
)
def test_a_request_that_the_plugin_would_not_submit_as_it_is(
    resources: dict, message: str, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(("report", {}), slurm=partitions(tmp_path), **resources)
    (line,) = findings(configured(table(tmp_path)), plan)[1]
    assert line.startswith(f"SLURM: {message}")


def test_running_jobs_of_an_earlier_run_are_reported(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.orphans(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path))
    with pytest.raises(UserError, match=r"^jobs of an earlier run are still running: 11; .*: scancel 11$"):
        slurm.orphans(tmp_path)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MaxTime=20:00", "20 minutes"),
        ("MaxTime=00:30:00", None),
        ("MaxTime=UNLIMITED", None),
        ("MaxMemPerNode=3999", "3999 MB"),
        ("MaxMemPerNode=4000", None),
        ("MaxMemPerNode=0", None),
        ("MaxCPUsPerNode=2", None),
        ("MaxNodes=1", "1 nodes"),
    ],
)
def test_partition_limit_that_slurm_does_not_enforce_is_reported(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, message: str | None
) -> None:
    (cluster.parent / "bin" / "scontrol").write_text(f"#!/bin/sh\necho PartitionName=cpu {limit} State=UP\n")
    monkeypatch.chdir(tmp_path)
    plan = planned(("report", {}), slurm=partitions(tmp_path), runtime=30, mem_mb=4000, nodes=2)
    wrong = findings(configured(table(tmp_path)), plan)[1]
    expected = [] if message is None else [f"SLURM: report: exceeds the {message} of partition cpu"]
    assert [line.split(" (requested: ")[0] for line in wrong] == expected


def test_slurm_that_is_down_is_reported_once(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cluster.parent / "bin" / "sinfo").write_text("#!/bin/sh\necho 'sinfo: error: no contact' >&2\nexit 1\n")
    monkeypatch.chdir(tmp_path)
    plan = planned(("report", {}), ("vote", {"ensemble": "v"}), slurm=partitions(tmp_path), runtime=30)
    assert findings(configured(table(tmp_path)), plan)[1] == [
        "SLURM: sinfo failed (sinfo: error: no contact); check that `sinfo` works"
    ]


def test_missing_partitions_file_is_reported(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned(("report", {}), slurm=Slurm(str(tmp_path / "nowhere.yaml")))
    (line,) = findings(configured(table(tmp_path)), plan)[1]
    assert "Partition file not found" in line and "correct the profile" in line


def test_missing_slurm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for ask in (lambda: slurm.test_only(["sbatch"]), lambda: slurm.orphans(tmp_path)):
        with pytest.raises(UserError, match=r"^s[a-z]+ not found"):
            ask()


def test_plan_is_written_and_read(tmp_path: Path) -> None:
    plan = planned(("train", {"system": "s1"}), slurm=Slurm("partitions.yaml"), gpu=1)
    plan.write(tmp_path / "jobs.json")
    again = read_plan(tmp_path / "jobs.json")
    assert again.wildcards("system", "train") == ["s1"] and again.rules == {"train"}
    assert (again.slurm, again.jobs[0].resources) == (plan.slurm, {"gpu": 1})


def run(
    *arguments: str | Path, program: tuple[str, ...] = (str(SCRIPT),), **variables: str
) -> subprocess.CompletedProcess:
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=300)


def variant(folder: Path, **sections: dict) -> Path:
    settings = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    for name, changes in sections.items():
        settings[name] |= changes
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
def test_script_makes_the_plan_by_a_dry_run(cluster: Path, tmp_path: Path) -> None:
    """Two shards share a job and run one after the other, with all threads."""
    target = "results/corpus/transcripts.parquet"
    config = variant(tmp_path)
    done = run("--config", config, "--directory", tmp_path, "--profile", "profiles/slurm", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok     jobs: 3 to run\n" in done.stdout and "preflight: no errors" in done.stdout
    calls = cluster.read_text()
    assert "-p cpu -t 20 --mem 2000 " in calls and calls.count("--cpus-per-task=2") == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("account", "command"), [(None, "sacct"), ("lab", "sacctmgr")])
def test_missing_command_of_the_plugin_is_reported(
    account: str | None, command: str, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == command else f"/usr/bin/{name}")
    resources = {"mem_mb": 4000, "runtime": 30} | ({"slurm_account": account} if account else {})
    _, wrong = findings(
        configured(table(tmp_path)), planned(("score", {"name": "a"}), slurm=partitions(tmp_path), **resources)
    )
    assert any(f"{command} not found" in line for line in wrong)


def test_invalid_configuration_is_reported_first(tmp_path: Path) -> None:
    config = variant(tmp_path, corpus={"speakers": 1}, transcripts={"windows": "full"})
    done = run("--config", config, "--directory", tmp_path)
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert "speakers" in done.stderr and "windows" in done.stderr


def test_error_of_snakemake_is_one_line(tmp_path: Path) -> None:
    done = run("--config", variant(tmp_path), "--directory", tmp_path, "results/nothing.csv")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "No rule to produce results/nothing.csv" in done.stderr


SNAKEMAKE = ("-m", "snakemake", "--profile", "profiles/slurm", "--snakefile", "Snakefile")


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["on", "off"])
def test_failed_preflight_submits_no_job(switch: str, cluster: Path, tmp_path: Path) -> None:
    config = variant(tmp_path, corpus={"resources": {"mem_mb": 9000}})
    arguments = ("--configfile", config, "--directory", tmp_path, "results/corpus/manifest.parquet", "--retries", "0")
    arguments += ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "0")
    assert run(*arguments, "--dry-run", program=SNAKEMAKE, ABHINAYA_PREFLIGHT="on").returncode == 0
    assert cluster.read_text() == ""
    done = run(*arguments, program=SNAKEMAKE, ABHINAYA_PREFLIGHT=switch)
    assert done.returncode == 1
    commands = cluster.read_text().splitlines()
    if switch == "on":
        assert len(commands) == 1 and "--test-only" in commands[0]
        assert "error  SLURM: prepare_corpus: rejected: Requested node configuration is not available" in done.stderr
        assert "preflight failed, no job was submitted" in done.stderr
    else:
        assert len(commands) == 1 and "--test-only" not in commands[0]
        assert "no jobs here" in done.stderr
