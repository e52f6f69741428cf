"""The real workflow at tiny scale: every stage, reruns, single targets, bad audio on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from abhinaya.config import features, runs, validate
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from support.running import ROOT, TEST_CONFIG, planned, snakemake
from support.small_salmonn import SMALL_SALMONN

TRAINED = ("baseline", "s1", "t2")
SYSTEMS = ("baseline", "s1", "t1", "t2")
GPU_JOBS = ("transcribe.py", "train.py", "predict.py", "label_zero_shot.py")


def test_every_output_file_exists_and_is_well_formed(finished: Path) -> None:
    results = finished / "results"
    manifest = schemas.read_manifest(results / "corpus/manifest.parquet")
    assert manifest["split"].value_counts().to_dict() == {"train": 34, "validation": 16, "test": 16}
    transcripts = schemas.read_transcripts(results / "corpus/transcripts.parquet")
    assert transcripts["FileName"].tolist() == manifest["FileName"].tolist()
    scored = manifest[manifest["split"].isin(("validation", "test"))]
    for name in (*SYSTEMS, "s1_probe", "vote"):
        predictions = schemas.read_predictions(results / name / "preds.csv")
        assert predictions["FileName"].tolist() == sorted(scored["FileName"])
        assert (predictions["EmoClass"].isin(CLASSES)).all()
        scores = json.loads((results / name / "scores.json").read_text())
        assert scores["validation"]["n"] == scores["test"]["n"] == 16
    for name in TRAINED:
        model = results / name / "model"
        assert {path.name for path in model.iterdir()} == {"model.safetensors", "config.json", "metrics.json"}
        assert not (results / name / "checkpoints").exists()
    answers = pd.read_parquet(results / "t1/responses.parquet").set_index("FileName")
    assert sorted(answers.index) == sorted(scored["FileName"])
    labelling = json.loads((results / "t1/labelling.json").read_text())
    assert sum(labelling["counts"].values()) == 32 and labelling["counts"]["labelled"] >= 30
    assert labelling["backend"]["kind"] == "vllm"
    submission = pd.read_csv(results / "vote/submission.csv")
    assert submission.columns.tolist() == ["FileName", "EmoClass"]
    assert submission["FileName"].tolist() == sorted(manifest[manifest["split"] == "test"]["FileName"])
    for name in ("report.html", "scores.csv", "scores.md", "per_class.csv", "per_class.md"):
        assert (results / "report" / name).stat().st_size
    # No folder that only the tables need.
    assert {path.name for path in results.iterdir() if path.is_dir()} == {
        *SYSTEMS,
        *("s1_probe", "vote", "two"),
        *("corpus", "features", "analysis", "tables", "report"),
    }


def test_transcripts_are_what_was_said(finished: Path) -> None:
    """Whisper on synthetic speech: with greedy decoding at least half of the words are right."""
    import jiwer

    corpus = finished / "results/corpus"
    said = pd.read_parquet(corpus / "references.parquet").set_index("FileName")["text"]
    written = schemas.read_transcripts(corpus / "transcripts.parquet").set_index("FileName")["text"]
    simple = [text.str.lower().str.replace(r"[^a-z' ]", "", regex=True) for text in (said, written[said.index])]
    assert jiwer.wer(simple[0].tolist(), simple[1].tolist()) < 0.5


def test_nothing_runs_again_and_only_what_a_change_needs(finished: Path, tmp_path: Path) -> None:
    assert planned(snakemake(finished, "-n")) == {}
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    settings["systems"]["s1"]["resources"]["mem_mb"] = 2500
    unchanged = tmp_path / "unchanged.yaml"
    unchanged.write_text(yaml.safe_dump(settings))  # its keys in another order, too
    assert planned(snakemake(finished, "-n", configfile=unchanged)) == {}
    settings["systems"]["s1"]["description"] = "another description"
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(yaml.safe_dump(settings))
    assert planned(snakemake(finished, "-n", configfile=renamed)) == {"report": 1, "all": 1, "total": 2}
    settings["systems"]["s1"]["loss"]["gamma"] = 1.0
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(settings))
    assert planned(snakemake(finished, "-n", configfile=changed)) == {
        "train": 1,
        "predict": 1,
        "vote": 2,  # one of them Table 4's
        "score": 3,
        "analyse": 1,
        "paper_table": 4,
        "paper_figure": 1,
        "report": 1,
        "all": 1,
        "total": 15,
    }


@pytest.mark.parametrize("lost", ["000.bin", "001.bin", "001.parquet"])
def test_a_missing_file_of_the_cache_is_extracted_again(lost: str, tmp_path: Path) -> None:
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    salmonn = {"family": "salmonn", "encoder": SMALL_SALMONN, "loss": {"name": "wfl"}}
    settings |= {"systems": {"s2": salmonn}, "ensembles": {}, "tables": {}}
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(settings))
    (key,) = features.extractions(validate(settings))
    cache = [f"features/{key}/00{shard}.{end}" for shard in range(2) for end in ("parquet", "bin")]
    digests = [f"corpus/digests/{part}.sha256" for part in ("used_audio", "training", "evaluation")]
    for made in ("corpus/manifest.parquet", *digests, *cache):
        file = tmp_path / "results" / made
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(made)
    plan = ("results/s2/preds.csv", "-n", "--rerun-triggers", "mtime")
    assert planned(snakemake(tmp_path, *plan, configfile=changed)) == {"train": 1, "predict": 1, "total": 2}
    (tmp_path / "results" / "features" / key / lost).unlink()
    assert planned(snakemake(tmp_path, *plan, configfile=changed)) == {
        "extract_features": 1,
        "train": 1,
        "predict": 1,
        "total": 3,
    }


def test_losses_seeds_and_systems_share_the_features_of_a_frozen_encoder(tmp_path: Path) -> None:
    """With two losses and two seeds each, features are extracted once; a text encoder's after the transcripts."""
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    systems = {name: settings["systems"][name] for name in ("s1", "t2")}
    systems["t2"]["encoder"] |= {"freeze": "all", "feature_shards": 2}
    systems["s1_again"] = systems["s1"] | {"head": {"hidden": 16}}
    losses = {"systems": ["s1", "t2"], "losses": [{"name": "wce"}, {"name": "wfl"}]}
    settings |= {"systems": systems, "ensembles": {}, "seeds": [7, 8], "tables": {"losses": losses}}
    config = tmp_path / "frozen.yaml"
    config.write_text(yaml.safe_dump(settings))
    jobs = planned(snakemake(tmp_path, "-n", "table2", "seeds", "results/s1_again/preds.csv", configfile=config))
    assert (jobs["train"], jobs["predict"]) == (9, 9)  # s1 and t2 by two losses, with wfl, and all with seed 8
    assert jobs["extract_features"] == 1 + 2
    s1 = planned(snakemake(tmp_path, "-n", "results/s1/preds.csv", "results/s1_seed8/preds.csv", configfile=config))
    assert s1 == {"prepare_corpus": 1, "extract_features": 1, "train": 2, "predict": 2, "total": 6}
    t2 = planned(snakemake(tmp_path, "-n", "results/t2/preds.csv", configfile=config))
    transcribed = {"prepare_corpus": 1, "transcribe": 2, "merge_transcripts": 1}
    assert t2 == {**transcribed, "extract_features": 2, "train": 1, "predict": 1, "total": 8}


def test_a_single_target_plans_only_what_it_needs(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "-n", "results/s1/preds.csv")
    assert planned(run) == {"prepare_corpus": 1, "extract_features": 1, "train": 1, "predict": 1, "total": 4}
    transcribed = {"prepare_corpus": 1, "transcribe": 2, "merge_transcripts": 1}
    run = snakemake(tmp_path, "-n", "results/t2/preds.csv")
    assert planned(run) == {**transcribed, "train": 1, "predict": 1, "total": 6}
    run = snakemake(tmp_path, "-n", "results/t1/preds.csv")
    assert planned(run) == {**transcribed, "label_zero_shot": 1, "total": 5}


def test_the_papers_text_systems_request_their_resources(tmp_path: Path) -> None:
    """Snakemake prints the resources of a job only if its rule has no message."""
    for part in ("rules", "workflow_scripts", "envs", "profiles"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for rules in (tmp_path / "rules").glob("*.smk"):
        rules.write_text(re.sub(r"\n    message:\n        .*", "", rules.read_text()))
    targets = ("results/t1/preds.csv", "results/t2/preds.csv")
    # Without the profile for one machine, which limits the memory of a job to its own.
    options = ("--snakefile", str(tmp_path / "Snakefile"), "--workflow-profile", "none", "--cores", "1")
    run = snakemake(tmp_path / "run", "-n", *targets, *options, configfile=ROOT / "config/paper.yaml")
    assert planned(run)["label_zero_shot"] == planned(run)["train"] == planned(run)["predict"] == 1
    jobs = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)$", run.stdout + run.stderr, re.MULTILINE)
    requested = {rule: dict(pair.split("=") for pair in resources.split(", ")) for rule, resources in jobs}
    keys = ("gpu", "mem_mb", "runtime")
    assert [requested["label_zero_shot"][key] for key in keys] == ["4", "200000", "240"]
    assert [requested["train"][key] for key in keys] == ["1", "64000", "1440"]
    assert [requested["predict"][key] for key in keys] == ["1", "64000", "60"]


def test_vote_and_score_scripts_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    results = finished / "results"
    out, scores = tmp_path / "out.csv", tmp_path / "scores.json"
    script = [sys.executable, str(ROOT / "workflow_scripts/vote.py"), "--members", *SYSTEMS, "--tie-break", "s1"]
    script += ["--tie-rule", "probabilities", "--output", str(out), "--preds"]
    subprocess.run([*script, *(str(results / name / "preds.csv") for name in SYSTEMS)], check=True, capture_output=True)
    assert out.read_bytes() == (results / "vote/preds.csv").read_bytes()
    script = [sys.executable, str(ROOT / "workflow_scripts/score.py"), "--preds", str(out), "--output", str(scores)]
    script += ["--manifest", str(results / "corpus/manifest.parquet"), "--bootstrap", "100", "--seed", "7"]
    subprocess.run(script, check=True, capture_output=True)
    assert scores.read_bytes() == (results / "vote/scores.json").read_bytes()


def test_predicting_again_gives_the_same_bytes(finished: Path) -> None:
    target = finished / "results/s1/preds.csv"
    before = target.read_bytes()
    target.unlink()
    run = snakemake(finished, "results/s1/preds.csv")
    assert run.returncode == 0, run.stderr
    assert target.read_bytes() == before


def test_snakemakes_report_contains_tables_and_report(finished: Path) -> None:
    run = snakemake(finished, "--report", "workflow-report.html")
    assert run.returncode == 0, run.stdout + run.stderr
    page = (finished / "workflow-report.html").read_text()
    categories = json.loads(re.search(r"var categories = (.*?);?\n", page)[1])
    contained = {category: sorted(Path(path).name for path in paths["Other"]) for category, paths in categories.items()}
    assert contained == {
        "Report": ["report.html"],
        "Tables": ["per_class.csv", "scores.csv"],
        "Analysis": sorted(path.name for path in (finished / "results/analysis").iterdir()),
        "The paper's tables": sorted(
            path.name for kind in ("csv", "svg") for path in (finished / "results/tables").glob(f"*.{kind}")
        ),
    }
    for caption in (ROOT / "rules/captions").glob("*.rst"):
        assert " ".join(caption.read_text().split()[:3]) in page


def test_a_killed_training_job_resumes_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    """SIGKILL to Snakemake's job after its first checkpoint; the rerun ends with the undisturbed run's bytes."""
    shutil.copytree(finished, tmp_path / "run")
    model = tmp_path / "run/results/baseline/model/model.safetensors"
    undisturbed = model.read_bytes()
    model.unlink()
    (tmp_path / "run/results/baseline/preds.csv").unlink()
    command = [sys.executable, "-m", "snakemake", "results/baseline/preds.csv", "--nolock", "--cores", "2"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path / "run")]
    command += ["--configfile", str(TEST_CONFIG)]
    checkpoints = tmp_path / "run/results/baseline/checkpoints"
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not model.exists()
    run = snakemake(tmp_path / "run", "results/baseline/preds.csv", "--nolock")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "resuming from" in run.stdout + run.stderr
    assert model.read_bytes() == undisturbed
    assert not checkpoints.exists()


@pytest.fixture
def own_corpus(tmp_path: Path) -> tuple[Path, Path]:
    """A user's table with unusual file names, other sampling rates and one unreadable file, and its configuration."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "data"
    (folder / "sub folder").mkdir(parents=True)
    names = ["a b.wav", "o'clock.wav", 'quo"te.wav', "sub folder/日本.wav", "$HOME;x.wav", "48k stereo.wav"]
    rows = []
    for split, repeats in (("train", 4), ("validation", 2), ("test", 2)):
        for index in range(repeats * len(names)):
            name = names[index % len(names)].replace(".wav", f" {split} {index}.wav")
            stereo = name.startswith("48k")
            rate = 48_000 if stereo else 16_000
            soundfile.write(folder / name, generator.normal(0, 0.1, (rate, 2) if stereo else rate), rate)
            rows.append({"path": name, "EmoClass": "AHN"[index % 3], "split": split, "text": f"sentence {index}"})
    (folder / "corrupt.wav").write_bytes(b"RIFF not audio at all")
    rows.append({"path": "corrupt.wav", "EmoClass": "A", "split": "train", "text": "never read"})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    settings["corpus"] = {
        "kind": "csv",
        "table": str(folder / "table.csv"),
        "classes": ["A", "H", "N"],
        "max_rejected": 0.1,
    }
    settings["transcripts"] = {"source": "corpus", "utterances": "used"}
    settings["systems"] = {"baseline": settings["systems"]["baseline"]}
    settings["ensembles"] = {"vote": {"members": ["baseline"], "tie_break": "baseline"}}
    settings["tables"] = {}
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(settings))
    return tmp_path / "run", config


def test_a_corpus_of_ones_own_runs_and_bad_audio_is_quarantined(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    run = snakemake(directory, configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    results = directory / "results"
    rejected = pd.read_csv(results / "corpus/rejected.csv")
    assert rejected["FileName"].tolist() == ["corrupt.wav"]
    predictions = schemas.read_predictions(results / "vote/preds.csv")
    assert len(predictions) == 24
    assert (predictions[["p_C", "p_D", "p_F", "p_S", "p_U"]] == 0).all(axis=None)  # training had none of these
    assert "Never predicts" in (results / "report/report.html").read_text()


def test_too_much_bad_audio_stops_the_run_in_one_line(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    settings = yaml.safe_load(config.read_text())
    settings["corpus"]["max_rejected"] = 0.0
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(directory, "results/corpus/manifest.parquet", configfile=config)
    output = run.stdout + run.stderr
    assert run.returncode != 0
    assert "rejected.csv" in output
    assert "max_rejected" in output
    assert "Traceback" not in output
    assert (directory / "results/corpus/rejected.csv").is_file()
    assert not (directory / "results/corpus/manifest.parquet").exists()


@pytest.mark.parametrize("name", ["config.yaml", "config/paper.yaml", "config/ravdess.yaml"])
def test_the_configurations_that_come_along_can_be_planned(name: str, tmp_path: Path) -> None:
    jobs = planned(snakemake(tmp_path, "-n", configfile=ROOT / name))
    settings = yaml.safe_load((ROOT / name).read_text())
    families = [system["family"] for system in settings["systems"].values()]
    zero_shot = families.count("zero_shot") + families.count("salmonn_zero_shot")
    probes = {*runs.probes(validate(settings)).values()} - {*settings["systems"]}
    assert jobs["train"] == jobs["predict"] == len(families) - zero_shot + len(probes)
    assert jobs.get("label_zero_shot", 0) == zero_shot
    assert jobs["transcribe"] == settings["transcripts"].get("shards", 1)
    assert jobs["report"] == 1


def test_planning_looks_at_no_model(tmp_path: Path) -> None:
    """Each job parses the Snakefile again, and models take seconds to read."""
    code = "import sys; from snakemake.cli import main\n"
    code += "try: main()\nfinally: print('models:', 'abhinaya.pretrained.hub' in sys.modules)"
    words = ["-n", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(TEST_CONFIG)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--directory", str(tmp_path)], capture_output=True, text=True
    )
    assert planned(done)["train"]
    assert "models: False" in done.stdout


def test_the_workflow_is_lint_free_and_formatted() -> None:
    lint = subprocess.run([sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr
    binaries = Path(sys.executable).parent
    for command in (["snakefmt", "--check", "Snakefile", "rules"], ["ruff", "check"], ["ruff", "format", "--check"]):
        done = subprocess.run([str(binaries / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


HELP = """
import contextlib, io, json, runpy, sys
found = {}
for script in sys.argv[1:]:
    sys.argv, shown = [script, "--help"], io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    found[script] = [shown.getvalue(), sorted({"torch", "transformers", "whisperx", "vllm"} & sys.modules.keys())]
print(json.dumps(found))
"""


def test_every_script_prints_its_help_without_heavy_imports() -> None:
    """torch or WhisperX take many seconds to import. One process: what one script imports, all after it have."""
    scripts = sorted(map(str, (ROOT / "workflow_scripts").glob("*.py")))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts")}
    done = subprocess.run([sys.executable, "-c", HELP, *scripts], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == scripts and len(scripts) > 10
    names = {"init_corpus.py": "abhinaya init"}
    for script, (shown, _) in found.items():
        assert shown.startswith(f"usage: {names.get(Path(script).name, Path(script).name)} ")
    assert {script: heavy for script, (_, heavy) in found.items() if heavy} == {}


def test_a_changed_table_prepares_the_corpus_again(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    target = "results/corpus/manifest.parquet"
    assert snakemake(directory, target, configfile=config).returncode == 0
    assert planned(snakemake(directory, "-n", target, configfile=config)) == {}
    table = config.parent / "data/table.csv"
    table.write_text(table.read_text().replace("sentence 0", "another sentence"))
    assert planned(snakemake(directory, "-n", target, configfile=config)) == {"prepare_corpus": 1, "total": 1}


def test_a_missing_table_is_reported_in_one_line(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    (config.parent / "data/table.csv").unlink()
    run = snakemake(directory, "results/corpus/manifest.parquet", configfile=config)
    assert run.returncode != 0
    assert f"error: {config.parent / 'data/table.csv'}: file not found; create it or correct the path\n" in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_braces_and_shell_characters_in_the_configuration_are_harmless(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    data = config.parent / "data"
    data.rename(config.parent / "{my} $(touch harm) 'data'")
    settings = yaml.safe_load(config.read_text())
    settings["corpus"]["table"] = str(config.parent / "{my} $(touch harm) 'data'" / "table.csv")
    settings["systems"]["baseline"]["description"] = "tiny {WavLM} `touch harm`"
    settings["report"] = {"title": '--The {demo} of "S1" $(touch harm)', "bootstrap": 100}
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(directory, configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    page = (directory / "results/report/report.html").read_text()
    assert "--The {demo} of &#34;S1&#34; $(touch harm)" in page
    assert "tiny {WavLM} `touch harm`" in page
    assert not list(config.parent.rglob("harm"))


def test_a_clone_in_a_folder_with_a_space_works(own_corpus: tuple[Path, Path], tmp_path: Path) -> None:
    directory, config = own_corpus
    clone = tmp_path / "my clone"
    for part in ("rules", "workflow_scripts", "envs", "profiles"):
        shutil.copytree(ROOT / part, clone / part)
    shutil.copy(ROOT / "Snakefile", clone)
    target = "results/corpus/manifest.parquet"
    run = snakemake(directory, target, "--snakefile", str(clone / "Snakefile"), configfile=config)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (directory / target).is_file()


def test_missing_transcripts_are_reported_in_one_line(own_corpus: tuple[Path, Path]) -> None:
    directory, config = own_corpus
    settings = yaml.safe_load(config.read_text())
    settings["transcripts"] = {"source": "parquet", "path": "none.parquet"}
    config.write_text(yaml.safe_dump(settings))
    run = snakemake(directory, "-n", configfile=config)
    assert run.returncode != 0
    assert "error: `transcripts.path`: no file none.parquet" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def gpu_settings(folder: Path) -> Path:
    """The test configuration with GPUs: four for each system, one for the transcription."""
    settings = yaml.safe_load(TEST_CONFIG.read_text())
    settings["transcripts"]["resources"]["gpu"] = 1
    for system in settings["systems"].values():
        if "training" in system:
            system["training"] |= {"effective_batch": 32, "batch_size": 8}
        system["resources"]["gpu"] = 4
    config = folder / "gpus.yaml"
    config.write_text(yaml.safe_dump(settings))
    return config


def test_a_machines_limit_on_gpus_does_not_change_what_a_job_uses(tmp_path: Path) -> None:
    """Snakemake lowers the resource `gpu` of a job to the limit, so commands use another."""
    run = snakemake(tmp_path, "-n", "--printshellcmds", "--resources", "gpu=2", configfile=gpu_settings(tmp_path))
    assert run.returncode == 0, run.stderr
    commands = [line for line in (run.stdout + run.stderr).splitlines() if " --gpus " in line]
    requested = {
        script: sorted(line.split(" --gpus ")[1].split()[0] for line in commands if script in line)
        for script in GPU_JOBS
    }
    # The probe of s1 needs no GPU.
    expected = {"transcribe.py": ["1"] * 2, "train.py": ["0", *["4"] * 3], "predict.py": ["0", *["1"] * 3]}
    assert requested == {**expected, "label_zero_shot.py": ["4"]}


def test_a_job_with_more_gpus_than_the_machine_stops_the_run_at_its_start(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "--resources", "gpu=2", configfile=gpu_settings(tmp_path))
    assert run.returncode == 1
    assert re.search(r"\w+ \w+: resources.gpu: 4 requested, this machine has 2; lower it", run.stdout + run.stderr)
    assert not (tmp_path / "results").exists()
