"""The paper's configuration on clusters with the rules of different sites: what each job requests, and preflight."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from cluster_runs import PROBES, Cluster, Job, Run, site

from abhinaya import config
from abhinaya.config.base import Resources
from abhinaya.preflight import plan, slurm
from abhinaya.runtime.errors import UserError
from support.running import ROOT

PAPER = "config/paper.yaml"
MODEL = "a100-80gb"  # of the large nodes' GPUs
SITE = {"gpu_model": MODEL, "gpu_constraint": "a100", "extra": "--nice=10 --mail-type=NONE"}
RECORDER = """#!/bin/sh
printf '%s\\n' "$(printf "'%s' " "$@" | tr '\\n' ' ')" >>"$CALLS"
exec {sbatch} "$@"
"""
LABELLING = ("results/s1/preds.csv", "results/t1/preds.csv")  # these need a job of each kind


def settle(checkout: Path, partitions: dict[str, dict], **settings: str) -> None:
    """Fill in the profile's settings of the site."""
    for key, value in settings.items():
        site(checkout, f"{key}: gpus" if key == "gpu_request" else f'{key}: ""', f'{key}: "{value}"')
    site(checkout, "  cpu: {}\n", "")
    lines = [f"  {name}: {{{', '.join(f'{key}: {limit}' for key, limit in limits.items())}}}\n"
             for name, limits in partitions.items()]  # fmt: skip
    text = (checkout / "profiles/slurm/config.v9+.yaml").read_text()
    (old,) = re.findall(r"^  gpu: \{max_gpu: 8\}.*\n", text, re.MULTILINE)
    site(checkout, old, "".join(lines))


def requested(job: Job, keys: Iterable[str]) -> dict[str, str]:
    """What SLURM notes of a job; memory in MB, which SLURM prints as M or G."""
    fields = {key: job.fields.get(key, "") for key in keys}
    number, unit = fields["MinMemoryNode"][:-1], fields["MinMemoryNode"][-1]
    return fields | {"MinMemoryNode": f"{float(number) * {'M': 1, 'G': 1024}[unit]:.0f}"}


def expected(did: str, settings: config.Config) -> dict[str, str]:
    """What a job is to be granted, by the configuration alone."""
    rule, _, system = did.partition(" ")
    if rule in ("train", "predict", "label_zero_shot"):
        resources = settings.systems[system].resources
    else:
        sections = {"prepare_corpus": settings.corpus, "shards_transcribe": settings.transcripts}
        resources = sections[rule].resources if rule in sections else Resources(cpus=1, mem_mb=4000, runtime=30)
    gpus = min(resources.gpu, 1) if rule in ("predict", "shards_transcribe") else resources.gpu
    minutes = resources.predict_runtime if rule == "predict" else resources.runtime
    minutes *= 4 if rule == "shards_transcribe" else 1  # one after another
    days, hours = divmod(minutes // 60, 24)
    return {
        "NumCPUs": str(resources.cpus),
        "MinMemoryNode": str(resources.mem_mb),
        "TimeLimit": f"{f'{days}-' if days else ''}{hours:02}:{minutes % 60:02}:00",
        "NumNodes": "1",
        "Partition": "large" if gpus else "large_cpu",
        "TresPerJob": f"gres:gpu:{MODEL}:{gpus}" if gpus else "",
        "Features": "a100" if gpus else "(null)",
        "Nice": "10",
    }


def options(command: Iterable[str]) -> tuple[str, ...]:
    """The words of an sbatch command that say what it requests."""
    words = list(command)
    for name in ("--job-name", "--output", "--comment", "-D"):
        if name in words:
            del words[words.index(name) : words.index(name) + 2]
    return tuple(word for word in words if not word.startswith(("--wrap=", "--test-only")))


@pytest.fixture
def planned(cluster: Cluster, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The sbatch commands of preflight for targets of a configuration, in a checkout."""
    monkeypatch.chdir(fresh)
    monkeypatch.setenv("PATH", cluster.environment["PATH"])
    monkeypatch.setattr(sys, "argv", ["snakemake", "--profile=slurm"])  # the profile for one machine reads it

    def commands(*targets: str, configuration: str = PAPER) -> list[tuple[str, list[str]]]:
        made = plan.dry_run(fresh / configuration, fresh, "profiles/slurm", targets)
        slurm.accounting(made.jobs[0])
        return list(slurm.commands(made.jobs, made.slurm))

    return commands


def rejected(commands: list[tuple[str, list[str]]]) -> dict[str, str]:
    """The jobs that SLURM rejects, with its reason."""
    reasons = {}
    for name, command in commands:
        try:
            slurm.test_only(command)
        except UserError as error:
            reasons[name] = str(error).split(" (requested: ")[0].removeprefix("rejected: ")
    return reasons


def test_every_job_of_the_paper_requests_what_its_configuration_says(
    cluster: Cluster, fresh: Path, planned: object, tmp_path: Path
) -> None:
    """All jobs are submitted by Snakemake and run as probes; preflight tests them with the same options."""
    settle(fresh, {"large_cpu": {}, "large": {"max_gpu": 8}}, **SITE)
    recorder = tmp_path / "bin" / "sbatch"
    recorder.parent.mkdir()
    recorder.write_text(RECORDER.format(sbatch=cluster.folder / "bin" / "sbatch"))
    recorder.chmod(0o755)
    variables = {"PATH": f"{recorder.parent}:{cluster.environment['PATH']}", "CALLS": str(tmp_path / "calls")}
    run = cluster.snakemake(fresh, "all", "--configfile", PAPER, "--retries", "0", program=PROBES, **variables)
    assert run.process.returncode == 0, run.text
    settings = config.load(fresh / PAPER)
    jobs = {job.did: job for job in run.jobs()}
    wanted = {did: expected(did, settings) for did in jobs}
    assert {did: requested(job, wanted[did]) for did, job in jobs.items()} == wanted
    assert {job.JobState for job in jobs.values()} == {"COMPLETED"}
    trained = [name for name, system in settings.systems.items() if hasattr(system, "training")]
    assert {f"train {name}" for name in trained} | {f"predict {name}" for name in trained} <= {*jobs}
    assert {"prepare_corpus", "merge_transcripts", "analyse", "report", "vote abhinaya"} <= {*jobs}
    assert {did for did in jobs if did.startswith("label")} == {
        "label_zero_shot t1",
        "label_zero_shot salmonn_zero_shot",
    }
    assert sum(job.did == "shards_transcribe" for job in run.jobs()) * 4 == settings.transcripts.shards
    assert granted(fresh, run)["label_zero_shot t1"] == 4 and granted(fresh, run)["train s1"] == 1
    submitted = {options(shlex.split(line)) for line in (tmp_path / "calls").read_text().splitlines()}
    shutil.rmtree(fresh / "results")
    assert {options(command[1:]) for _, command in planned("all")} == submitted
    assert all("--requeue" in command and "--nice=10" in command for command in submitted)
    assert sum("--signal=TERM@120" in command for command in submitted) > 1


def granted(checkout: Path, run: Run) -> dict[str, int]:
    """The number of GPUs that each job saw."""
    seen = {job.did: (checkout / "probes" / job.JobId).read_text().strip() for job in run.jobs()}
    return {did: len(gpus.split(",")) if gpus else 0 for did, gpus in seen.items()}


def test_a_site_without_gpus_option(fresh: Path, planned: object) -> None:
    settle(fresh, {"large_cpu": {}, "gres": {"max_gpu": 8}}, gpu_model=MODEL)
    reasons = rejected(planned(*LABELLING))
    assert {*reasons} == {"shards_transcribe", "train s1", "predict s1", "label_zero_shot t1"}
    assert {*reasons.values()} == {"use --gres=gpu:N, not --gpus; Unspecified error"}
    site(fresh, "gpu_request: gpus", "gpu_request: gres")
    commands = dict(planned(*LABELLING))
    assert rejected(list(commands.items())) == {}
    assert f"--gres=gpu:{MODEL}:4" in commands["label_zero_shot t1"]


def test_a_site_that_requires_an_account(cluster: Cluster, fresh: Path, planned: object) -> None:
    settle(fresh, {"account": {"max_gpu": 8}})
    assert {*rejected(planned(*LABELLING)).values()} == {"an account is required; Unspecified error"}
    site(fresh, 'account: ""', "account: lab")
    sacctmgr = cluster.folder / "bin" / "sacctmgr"  # this SLURM has no database
    real = sacctmgr.read_text()
    try:
        sacctmgr.write_text("#!/bin/sh\necho lab\n")
        commands = planned(*LABELLING)
        assert rejected(commands) == {}
        sacctmgr.write_text("#!/bin/sh\necho speech\n")
        with pytest.raises(UserError, match=r"^account lab: .*Available accounts: speech; correct the profile$"):
            planned(*LABELLING)
    finally:
        sacctmgr.write_text(real)


def test_a_site_that_requires_constraints(fresh: Path, planned: object) -> None:
    settle(fresh, {"constraint": {"max_gpu": 8}}, gpu_constraint="nvlink")
    missing = rejected(planned(*LABELLING))
    assert {*missing} == {"prepare_corpus", "merge_transcripts"}
    assert {*missing.values()} == {"a constraint is required; Unspecified error"}
    site(fresh, 'cpu_constraint: ""', 'cpu_constraint: "a100"')
    assert rejected(planned(*LABELLING)) == {}
    site(fresh, 'gpu_constraint: "nvlink"', "gpu_constraint: h100")
    assert {*rejected(planned(*LABELLING)).values()} == {"Invalid feature specification"}


def test_the_limits_of_partitions(fresh: Path, planned: object) -> None:
    """Without limits in the profile all jobs go to the first partition that has GPUs or none."""
    settle(fresh, {"large_cpu": {}, "limits": {"max_gpu": 8}})
    reasons = rejected(planned(*LABELLING))
    assert reasons == {"label_zero_shot t1": "Memory required by task is not available"}
    site(fresh, "limits: {max_gpu: 8}", "limits: {max_gpu: 8, max_mem_mb: 64000}\n  large: {max_gpu: 8}")
    commands = dict(planned(*LABELLING))
    assert rejected(list(commands.items())) == {}
    assert {name: command[command.index("-p") + 1] for name, command in commands.items()} == {
        "prepare_corpus": "large_cpu",
        "merge_transcripts": "large_cpu",
        "shards_transcribe": "limits",
        "train s1": "limits",
        "predict s1": "limits",
        "label_zero_shot t1": "large",
    }
    site(fresh, "\n  large: {max_gpu: 8}", "")
    with pytest.raises(UserError, match=r"^label_zero_shot t1: its cpus: 16, gpu: 4, mem_mb: 200000, .* fit no parti"):
        planned(*LABELLING)


@pytest.mark.parametrize("request_by", ["gpus", "gres"])
def test_gpus_of_two_nodes(request_by: str, fresh: Path, planned: object) -> None:
    settings = yaml.safe_load((ROOT / PAPER).read_text())
    settings["systems"]["s1"]["training"]["batch_size"] = 4
    settings["systems"]["s1"]["resources"] |= {"gpu": 4, "nodes": 2}
    (fresh / "config/two.yaml").write_text(yaml.safe_dump(settings))
    settle(
        fresh, {"large_cpu": {}, "large": {"max_gpu": 8}}, gpu_model=MODEL, gpu_request=request_by, extra="--nice=10"
    )
    commands = dict(planned("results/s1/preds.csv", configuration="config/two.yaml"))
    assert rejected(list(commands.items())) == {}
    per_node = {"gpus": [f"--gpus-per-node={MODEL}:4", f"--gpus={MODEL}:8"], "gres": [f"--gres=gpu:{MODEL}:4"]}
    assert {*per_node[request_by], "--nodes=2", "--nice=10", "--signal=TERM@120"} <= {*commands["train s1"]}


def test_a_job_sees_the_gpu_that_gres_gave_it(cluster: Cluster, fresh: Path) -> None:
    settle(fresh, {"gres": {"max_gpu": 8}}, gpu_model=MODEL, gpu_request="gres", setup="export SITE=here")
    shutil.copy(Path(__file__).with_name("gpu_jobs.smk"), fresh)
    run = cluster.snakemake(fresh, "--snakefile", "gpu_jobs.smk", "train.one", "--retries", "0")
    assert run.process.returncode == 0, run.text
    assert [(job.Partition, job.TresPerNode) for job in run.jobs()] == [("gres", f"gres:gpu:{MODEL}:1")]
    assert (fresh / "train.one").read_text().split()[1] == "0"
