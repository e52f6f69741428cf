"""`snakemake --profile slurm` on a real SLURM: every stage, the order on a GPU, all that ends a job, two nodes."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import yaml
from cluster_runs import SCRIPT, Cluster, Job, Run, site, wait_for

from support.running import ROOT


def configured(checkout: Path, name: str, change: Callable[[dict], None]) -> str:
    """Write the test configuration with a change; its path."""
    settings = yaml.safe_load((checkout / "config/test.yaml").read_text())
    change(settings["systems"])
    path = checkout / "config" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path.relative_to(checkout))


def forget(checkout: Path, *names: str) -> None:
    for name in names:
        (checkout / "results" / name).unlink()


def same(checkout: Path, other: Path, *names: str) -> bool:
    return all((checkout / "results" / name).read_bytes() == (other / "results" / name).read_bytes() for name in names)


def span(job: Job) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(job.StartTime), datetime.fromisoformat(job.EndTime)


def test_all_runs_through_slurm(undisturbed: tuple[Path, Run]) -> None:
    checkout, run = undisturbed
    jobs = {job.did: job for job in run.jobs()}
    assert sorted(jobs) == sorted(
        [
            "prepare_corpus",
            "features_extract_features",
            "shards_transcribe",
            "merge_transcripts",
            "analyse",
            "report",
            "label_zero_shot t1",
        ]
        + [f"{rule} {system}" for rule in ("train", "predict") for system in ("baseline", "s1", "s1_probe")]
        + [f"score {name}" for name in ("baseline", "s1", "s1_probe", "t1", "vote")]
        + ["vote vote"]
    )
    assert {job.JobState for job in jobs.values()} == {"COMPLETED"}
    assert {job.Partition for job in jobs.values()} == {"cpu"}  # no job requests a GPU
    requested = {did: (job.TimeLimit, job.MinMemoryNode, job.NumCPUs) for did, job in jobs.items()}
    assert requested["train s1"] == ("00:05:00", "2000M", "2")
    assert requested["shards_transcribe"] == ("00:20:00", "2000M", "2")  # two shards, one after the other
    assert requested["vote vote"] == ("00:30:00", "4000M", "1")
    assert (checkout / "results/report/report.html").stat().st_size
    logs = {path.relative_to(checkout / "logs/slurm").parts[0] for path in (checkout / "logs/slurm").rglob("*.log")}
    assert {"rule_train", "group_shards_transcribe", "rule_label_zero_shot", "rule_report"} <= logs


def test_a_single_target_runs_again_alone(cluster: Cluster, undisturbed: tuple[Path, Run], checkout: Path) -> None:
    forget(checkout, "s1/preds.csv")
    run = cluster.snakemake(checkout, "results/s1/preds.csv")
    assert run.process.returncode == 0, run.text
    assert [job.did for job in run.jobs()] == ["predict s1"]
    assert same(checkout, undisturbed[0], "s1/preds.csv")


def test_jobs_on_one_gpu_run_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    """Two jobs and three shards, which share one job and run in turn there."""
    for part in ("config", "profiles", "workflow_scripts"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "slurm").symlink_to("profiles/slurm")
    site(tmp_path, 'gpu_model: ""', "gpu_model: fake")
    site(tmp_path, 'setup: ""', "setup: export SITE=here")
    shutil.copy(Path(__file__).with_name("gpu_jobs.smk"), tmp_path)
    run = cluster.snakemake(tmp_path, "--snakefile", "gpu_jobs.smk")
    assert run.process.returncode == 0, run.text
    jobs = sorted(run.jobs(), key=lambda job: job.StartTime)
    assert sorted(job.did for job in jobs) == ["shards_transcribe", "train one", "train two"]
    assert {job.Partition for job in jobs} == {"gpu"} and {job.TresPerJob for job in jobs} == {"gres:gpu:fake:1"}
    assert all(span(first)[1] <= span(second)[0] for first, second in pairwise(jobs))
    noted = sorted(path.read_text().split() for path in [*tmp_path.glob("train.*"), *tmp_path.glob("transcribe.*")])
    assert [(gpu, site) for _, gpu, site, _ in noted] == [("0", "here")] * 5
    assert all(float(first[-1]) <= float(second[0]) for first, second in pairwise(noted))
    assert {job.did: job.TimeLimit for job in jobs} == {
        "shards_transcribe": "00:03:00",
        "train one": "00:05:00",
        "train two": "00:05:00",
    }


def test_a_failed_jobs_log_is_named_and_kept(cluster: Cluster, checkout: Path) -> None:
    """There is a GPU for SLURM but none for torch."""
    forget(checkout, "s1/preds.csv")
    config = configured(checkout, "gpu", lambda systems: systems["s1"]["resources"].update(gpu=1))
    run = cluster.snakemake(checkout, "results/s1/preds.csv", "--configfile", config, "--retries", "0")
    assert run.process.returncode == 1
    (job,) = run.jobs()
    assert (job.did, job.Partition, job.JobState) == ("predict s1", "gpu", "FAILED")
    log = checkout / "logs/slurm/rule_predict/s1" / f"{job.JobId}.log"
    assert str(log) in run.text
    for kept in (log.read_text(), (checkout / "logs/predict/s1.log").read_text(), run.text):
        assert "resources.gpu: 1 requested, 0 visible" in kept


def test_a_job_too_big_for_every_node_is_refused_at_once(cluster: Cluster, checkout: Path) -> None:
    forget(checkout, "s1/preds.csv")
    config = configured(checkout, "big", lambda systems: systems["s1"]["resources"].update(mem_mb=8001))
    run = cluster.start(checkout, "results/s1/preds.csv", "--configfile", config)
    assert run.wait(60) == 1
    assert {(job.JobState, job.Reason) for job in run.jobs()} == {("FAILED", "BadConstraints")}
    assert "Memory specification can not be satisfied" in run.text and " --mem 8001 " in run.text


def test_a_job_that_someone_cancels_is_noticed(cluster: Cluster, checkout: Path) -> None:
    forget(checkout, "s1/preds.csv")
    run = cluster.start(checkout, "results/s1/preds.csv", "--retries", "0")
    run.until(lambda: [job.JobState for job in run.jobs()] == ["RUNNING"])
    (job,) = run.jobs()
    cluster("scancel", job.JobId)
    assert run.wait(120) == 1
    assert f"SLURM-job '{job.JobId}' failed, SLURM status is: 'CANCELLED'" in run.text
    wait_for(lambda: not working_in(checkout))
    assert not (checkout / "results/s1/preds.csv").exists()


def test_preflight_comes_first(cluster: Cluster, checkout: Path) -> None:
    forget(checkout, "s1/preds.csv")
    run = cluster.snakemake(checkout, "results/s1/preds.csv", ABHINAYA_PREFLIGHT="on")
    assert run.process.returncode == 0, run.text
    assert [job.did for job in run.jobs()] == ["predict s1"]
    assert run.text.index("--mem 2000 ") < run.text.index("has been submitted")


def test_nothing_is_submitted_while_preflight_finds_something_wrong(cluster: Cluster, checkout: Path) -> None:
    forget(checkout, "s1/preds.csv")
    config = configured(checkout, "big", lambda systems: systems["s1"]["resources"].update(mem_mb=8001))
    run = cluster.snakemake(checkout, "results/s1/preds.csv", "--configfile", config, ABHINAYA_PREFLIGHT="on")
    assert run.process.returncode == 1
    (line,) = (line for line in run.text.splitlines() if "rejected" in line)
    assert "predict s1" in line and "--mem 8001 " in line and "lower its `resources`" in line
    assert run.jobs() == []


def trainer(checkout: Path) -> psutil.Process | None:
    """The process that trains in `checkout`."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(checkout) and len(words) > 1 and words[1].endswith("/train.py"):
            return process
    return None


def working_in(checkout: Path) -> list[str]:
    """What the processes in a checkout do."""
    processes = psutil.process_iter(["cmdline", "cwd"])
    return [" ".join(each.info["cmdline"] or []) for each in processes if each.info["cwd"] == str(checkout)]


def crash(cluster: Cluster, node: str, checkout: Path) -> None:
    """End the SLURM of a node, and all that its jobs run in `checkout`, as a loss of power would."""
    daemon = psutil.Process(int((cluster.folder / f"run/slurmd.{node}.pid").read_text()))
    daemon.kill()
    for process in psutil.process_iter(["cmdline"]):
        if "slurmstepd: " in " ".join(process.info["cmdline"] or []):
            children = process.children(recursive=True)
            if any(child.cwd() == str(checkout) for child in children):
                for each in (process, *children):
                    with suppress(psutil.NoSuchProcess):  # some end with those that started them
                        each.kill()
    wait_for(lambda: trainer(checkout) is None and not daemon.is_running())


def heeds_signals(process: psutil.Process) -> bool:
    """Whether it has a handler for SIGTERM by now."""
    caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)[1]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def checkpoints(checkout: Path) -> list[Path]:
    return list(checkout.glob("results/baseline/checkpoints/checkpoint-*"))


def resumed_from(checkout: Path) -> int:
    """The step from which the last attempt went on; three make an epoch."""
    return int(
        re.search(r"resuming from .*-(\d+)$", (checkout / "logs/train/baseline.log").read_text(), re.MULTILINE)[1]
    )


@pytest.fixture
def untrained(checkout: Path) -> Path:
    """A checkout whose baseline is to be trained anew."""
    forget(checkout, *(f"baseline/{name}" for name in ("preds.csv", "model/metrics.json", "model/model.safetensors")))
    return checkout


MODEL = "baseline/model/model.safetensors"


@pytest.fixture
def training(cluster: Cluster, untrained: Path) -> Run:
    """A run whose trainer stands still in its second epoch; what ends its job wakes it."""
    run = cluster.start(untrained, f"results/{MODEL}")
    run.until(lambda: checkpoints(untrained))
    trainer(untrained).send_signal(signal.SIGSTOP)
    return run


def test_a_preempted_job_saves_a_checkpoint_and_resumes(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path, training: Run
) -> None:
    (job,) = training.jobs()
    cluster("scontrol", "requeue", job.JobId)  # as SLURM does with PreemptMode=REQUEUE
    assert training.wait(180) == 0, training.text
    assert [(job.JobState, job.Restarts) for job in training.jobs()] == [("COMPLETED", "1")]
    assert resumed_from(untrained) in (4, 5)
    assert same(untrained, undisturbed[0], MODEL)


def test_a_job_goes_on_after_its_node_failed(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path, training: Run
) -> None:
    """No signal is sent and nothing is left behind; SLURM queues the job again, and the node comes back."""
    crash(cluster, "cpu", untrained)
    cluster("scontrol", "update", "nodename=cpu", "state=down", "reason=test")  # as SLURM notes after SlurmdTimeout
    assert [job.JobState for job in training.jobs()] == ["PENDING"]
    cluster("slurmd", "-N", "cpu")
    assert training.wait(180) == 0, training.text
    wait_for(lambda: not working_in(untrained))
    assert [(job.JobState, job.Restarts) for job in training.jobs()] == [("COMPLETED", "1")]
    assert resumed_from(untrained) == 3
    assert same(untrained, undisturbed[0], MODEL)


def test_a_training_is_told_before_its_time_is_up(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path
) -> None:
    """Two minutes before; until then it stands still here, and the signal wakes it."""
    config = configured(untrained, "brief", lambda systems: systems["baseline"]["resources"].update(runtime=3))
    run = cluster.start(untrained, f"results/{MODEL}", "--configfile", config)
    run.until(lambda: (process := trainer(untrained)) and heeds_signals(process))
    trainer(untrained).send_signal(signal.SIGSTOP)
    assert run.wait(180) == 0, run.text
    assert [(job.JobState, job.ExitCode, job.TimeLimit) for job in run.jobs()] == [
        ("FAILED", "1:0", "00:03:00"),
        ("COMPLETED", "0:0", "00:06:00"),
    ]
    assert resumed_from(untrained) == 1
    assert same(untrained, undisturbed[0], MODEL)


def test_a_job_out_of_time_gets_more_and_resumes(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path
) -> None:
    site(untrained, "--signal=TERM@120", "")
    config = configured(untrained, "brief", lambda systems: systems["baseline"]["resources"].update(runtime=1))
    run = cluster.start(untrained, f"results/{MODEL}", "--configfile", config)
    run.until(lambda: checkpoints(untrained))
    trainer(untrained).send_signal(signal.SIGSTOP)  # it hangs
    assert run.wait(300) == 0, run.text
    assert [(job.did, job.JobState, job.TimeLimit, job.MinMemoryNode) for job in run.jobs()] == [
        ("train baseline", "TIMEOUT", "00:01:00", "2000M"),
        ("train baseline", "COMPLETED", "00:02:00", "4000M"),
    ]
    assert resumed_from(untrained)
    assert same(untrained, undisturbed[0], MODEL)


def test_snakemake_interrupted_and_run_again_ends_alike(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path, training: Run
) -> None:
    training.process.send_signal(signal.SIGINT)
    assert training.wait(60) == 1
    wait_for(lambda: [job.JobState for job in training.jobs()] == ["CANCELLED"])
    wait_for(lambda: not working_in(untrained))
    assert not list((untrained / "results/baseline").glob("model/*"))
    assert not list(untrained.glob(".snakemake/locks/*"))
    again = cluster.snakemake(untrained, f"results/{MODEL}")
    assert again.process.returncode == 0, again.text
    assert resumed_from(untrained) in (4, 5)
    assert same(untrained, undisturbed[0], MODEL)


def test_snakemake_killed_and_run_again_ends_alike(
    cluster: Cluster, undisturbed: tuple[Path, Run], untrained: Path
) -> None:
    """SIGKILL leaves its job running; the job goes first, then the lock, then everything goes on."""
    run = cluster.start(untrained, "results/baseline/preds.csv")
    run.until(lambda: checkpoints(untrained))
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    assert [job.JobState for job in run.jobs()] == ["RUNNING"]
    cluster("scancel", "--name", run.name)
    wait_for(lambda: [job.JobState for job in run.jobs()] == ["CANCELLED"])
    wait_for(lambda: not working_in(untrained))
    assert not (untrained / "results/baseline/preds.csv").exists()
    cluster("snakemake", "--unlock", cwd=untrained)
    again = cluster.snakemake(untrained, "results/baseline/preds.csv")
    assert again.process.returncode == 0, again.text
    assert resumed_from(untrained)
    assert same(untrained, undisturbed[0], MODEL, "baseline/preds.csv")


def test_a_training_on_two_nodes(cluster: Cluster, untrained: Path) -> None:
    def spread(systems: dict) -> None:
        systems["baseline"]["resources"].update(nodes=2)
        systems["baseline"]["training"].update(epochs=1)

    site(untrained, "  cpu: {}\n", "  both: {}\n")
    run = cluster.snakemake(untrained, f"results/{MODEL}", "--configfile", configured(untrained, "two", spread))
    assert run.process.returncode == 0, run.text
    assert [(job.JobState, job.Partition, job.NumNodes) for job in run.jobs()] == [("COMPLETED", "both", "2")]
    assert (untrained / "results" / MODEL).stat().st_size
    assert json.loads((untrained / "results/baseline/model/metrics.json").read_text())["processes"] == 2


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a test may bring up a cluster of its own."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-")) / "own"
    yield folder
    slurm("down", folder)
    shutil.rmtree(folder.parent)


def slurm(action: str, folder: Path) -> str:
    return subprocess.run(["sh", SCRIPT, action, str(folder)], check=True, capture_output=True, text=True).stdout


def processes_of(folder: Path) -> list[int]:
    found = psutil.process_iter(["cmdline", "environ"])
    return [process.pid for process in found if str(folder) in str(process.info)]


def test_a_cluster_comes_up_once_and_goes_with_all_its_jobs(folder: Path) -> None:
    slurm("up", folder)
    daemons = processes_of(folder)
    assert len(daemons) == 6
    slurm("up", folder)
    assert processes_of(folder) == daemons
    os.kill(daemons[-1], signal.SIGKILL)
    slurm("up", folder)  # half a cluster is made anew
    assert len(processes_of(folder)) == 6 and daemons[-1] not in processes_of(folder)
    Cluster(folder)("sbatch", "--output=/dev/null", "--wrap=sleep 600")
    wait_for(lambda: len(processes_of(folder)) > 6)
    slurm("down", folder)
    assert processes_of(folder) == []
    assert [path.name for path in folder.iterdir()] == ["log"]
    slurm("down", folder)
