"""Errors of predict.py and predict_ensemble.py with new audio: inputs, outputs and options."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import predict
import predict_ensemble
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY
from abhinaya.prediction import systems
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.new_audio_parts import call_main, labelled
from support.running import ROOT

# --- audio


def test_without_readable_audio_nothing_is_labelled(error_of, results: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    message = error_of(predict, "--model", results / "s1/model", "--audio", tmp_path / "absent.wav", tmp_path / "empty")
    assert_names(message, f"{tmp_path}/out/preds.rejected.csv")
    assert len(pd.read_csv(tmp_path / "out/preds.rejected.csv")) == 2
    assert f"rejected: {tmp_path}/absent.wav: audio file not found\n" in capsys.readouterr().err
    assert not (tmp_path / "out/preds.csv").exists()


@pytest.mark.parametrize(
    ("seconds", "names"),
    [
        ("0.5", ("--segment-seconds 0.5: ", "at least 1")),
        ("nan", ("--segment-seconds nan: ",)),
        ("4.5", ("--segment-seconds 4.5: the model", "at most 4 s")),
    ],
)
def test_invalid_segment_lengths_are_reported(
    seconds: str, names: tuple[str, ...], error_of, results: Path, clips: Path
) -> None:
    options = ("--model", results / "s1/model", "--audio", clips, "--segment-seconds", seconds)
    assert_names(error_of(predict, *options), *names)


def test_transcripts_without_settings_are_reported(error_of, results: Path, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "t2", tmp_path / "results/t2")
    options = ("--model", tmp_path / "results/t2/model", "--audio", clips / "car.flac")
    default = tmp_path / "results/corpus/transcripts.parquet"
    fix = ("--transcribe-like", "--transcripts-settings")
    assert_names(error_of(predict, *options), f"{default}: file not found", *fix)
    transcripts = pd.DataFrame({KEY: ["a.wav"], "text": ["so"]})
    files.write_parquet(transcripts, schemas.TRANSCRIPTS, default, {"model": "typed by hand"})
    assert_names(error_of(predict, *options), f"{default}: not transcribed by this workflow", *fix)
    other = tmp_path / "nowhere.parquet"
    assert_names(error_of(predict, *options, "--transcribe-like", other), f"{other}: file not found")
    for settings, key in (('{"source": "corpus"}', "source"), ('{"modle": "x"}', "modle")):
        message = error_of(predict, *options, "--transcripts-settings", settings)
        assert_names(message, "--transcripts-settings", key)


# --- output


def test_output_replaces_no_input(error_of, results: Path, clips: Path, tmp_path: Path) -> None:
    for name in ("preds.csv", "preds.rejected.csv"):
        source = tmp_path / "out" / name
        files.write_csv(pd.DataFrame({"path": [clips / "car.flac"]}), source)
        assert_names(error_of(predict, "--model", results / "s1/model", "--audio", source), name, "is also an input")
        source.unlink()
    (tmp_path / "out/preds.csv").mkdir()
    assert_names(error_of(predict, "--model", results / "s1/model", "--audio", clips), "preds.csv", "is a folder")


@pytest.mark.parametrize("output", [".", "", "model/config.json", "clips/car.flac"])
def test_invalid_output_is_reported_and_no_file_changed(
    output: str, results: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model")
    shutil.copytree(clips, tmp_path / "clips")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"is a folder|is also an input|a CSV file is written"):
        call_main(predict, "--model", "model", "--audio", "clips", "--output", output)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_output_may_be_in_the_model_folder(results: Path, clips: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model")
    options = ("--model", tmp_path / "model", "--audio", clips / "car.flac")
    for _ in range(2):
        assert len(labelled(predict, tmp_path / "model/labels.csv", *options)) == 1


def test_a_failed_run_replaces_no_file(error_of, results: Path, clips: Path, tmp_path: Path, monkeypatch) -> None:
    rejected = tmp_path / "out/preds.rejected.csv"
    files.write_csv(pd.DataFrame({"path": ["of an earlier run"], "reason": ["r"]}), rejected)

    def fail(*_: object) -> pd.DataFrame:
        raise UserError("label failed")

    monkeypatch.setattr(systems.Model, "label", fail)
    assert error_of(predict, "--model", results / "s1/model", "--audio", clips / "car.flac") == "label failed"
    assert pd.read_csv(rejected)["path"].tolist() == ["of an earlier run"]
    assert [path.name for path in rejected.parent.iterdir()] == [rejected.name]


# --- the order of the checks


@pytest.mark.parametrize("script", [predict, predict_ensemble], ids=lambda script: script.__name__)
def test_audio_and_output_are_checked_before_the_models(
    script, error_of, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("read_model", "read_ensemble"):
        monkeypatch.setattr(systems, name, lambda folder: pytest.fail("model read"))
    (tmp_path / "empty.txt").touch()
    (tmp_path / "empty").mkdir()
    options = ("--model" if script is predict else "--ensemble", "absent", "--audio")
    assert_names(error_of(script, *options, tmp_path / "empty.txt"), "empty.txt: ")
    assert_names(error_of(script, *options, tmp_path / "empty"), "preds.rejected.csv")
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").touch()
    assert_names(error_of(script, *options, clips), f"{tmp_path}/out/preds.csv: ")


@pytest.mark.slow
@pytest.mark.parametrize(("script", "option"), [("predict", "--model"), ("predict_ensemble", "--ensemble")])
def test_user_error_is_reported_before_torch_is_imported(script: str, option: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    code = (
        f"import sys, {script}; from abhinaya.runtime import errors\n"
        f"try: errors.run({script}.main)\n"
        "finally: print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    options = [option, tmp_path, "--audio", tmp_path / "empty.txt", "--output", tmp_path / "preds.csv"]
    command = [sys.executable, "-c", code, *options]
    done = subprocess.run(command, cwd=ROOT / "workflow_scripts", capture_output=True, text=True)
    assert done.stderr == f"error: {tmp_path}/empty.txt: contains no file names; add some\n"
    assert done.returncode == 1 and done.stdout == "[]\n"


def test_missing_weights_are_reported_before_the_audio_is_read(
    error_of, results: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(results / "s1/model", tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr("abhinaya.prediction.recordings.cut", lambda *_: pytest.fail("audio read"))
    assert_names(error_of(predict, "--model", tmp_path / "model", "--audio", clips), "model.safetensors: ")


# --- models and options


def test_invalid_model_and_missing_gpu_are_reported(error_of, results: Path, clips: Path, monkeypatch) -> None:
    assert_names(error_of(predict, "--model", results / "s1", "--audio", clips), f"{results}/s1/model")
    assert_names(error_of(predict, "--model", results / "nowhere", "--audio", clips), "nowhere/config.json: ")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    options = ("--model", results / "t2/model", "--audio", clips, "--gpus", "1")  # reported before Whisper is loaded
    assert_names(error_of(predict, *options), "1 requested, 0 visible")


@pytest.mark.parametrize("folder", ["t1", "t1/model"])
def test_zero_shot_system_has_no_model_folder(folder: str, error_of, ensemble: Path, clips: Path) -> None:
    message = error_of(predict, "--model", ensemble.parent / folder, "--audio", clips)
    assert_names(message, f"{folder}: ", "zero-shot", "predict_ensemble.py")


@pytest.mark.parametrize(("option", "value"), [("--gpus", "-1"), ("--cpus", "0")])
def test_invalid_numbers_of_cpus_and_gpus_are_reported(option: str, value: str, results: Path, clips: Path, tmp_path):
    options = ("--model", results / "s1/model", "--audio", clips, "--output", tmp_path / "o.csv", option, value)
    with pytest.raises(UserError, match="--cpus >= 1"):
        call_main(predict, *options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--audio", "a.wav", "--transcripts", "t.parquet"], "--transcripts: needs --manifest"),
        (["--audio", "a.wav", "--features", "h.parquet"], "--features: needs --manifest"),
        (["--manifest", "m.parquet", "--transcribe-like", "t.parquet"], "--transcribe-like: needs --audio"),
        (["--manifest", "m.parquet", "--segment-seconds", "3"], "--segment-seconds: needs --audio"),
        (["--manifest", "m.parquet", "--audio", "a.wav"], "not allowed with"),
        ([], "one of the arguments --manifest --audio is required"),
        (["--audio", "a.wav", "--transcribe-like", "t.parquet", "--transcripts-settings", "{}"], "not allowed with"),
    ],
)
def test_incompatible_options_are_reported(options: list[str], words: str, call, capsys) -> None:
    with pytest.raises(SystemExit):
        call(predict, "--model", "model", *options)
    assert words in capsys.readouterr().err
