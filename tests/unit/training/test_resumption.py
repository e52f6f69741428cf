"""Training: resumption after a kill, and the checkpoints."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from abhinaya.modeling import checkpoint
from abhinaya.prediction import predict
from abhinaya.runtime import files
from abhinaya.training import resume
from abhinaya.training import train as training
from abhinaya.training.loop import Loop
from support import running
from support.speech_corpus import Stop, assert_same, command, epochs, run, system, weights

SETTINGS = system()
STEPS = 3  # per epoch: 12 utterances, 4 per step


@pytest.fixture(scope="module")
def interrupted(manifest: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended at the start of its third epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        train_epoch = Loop.train_epoch

        def stop(self: Loop, epoch: int) -> None:
            if epoch == 2:
                raise Stop
            train_epoch(self, epoch)

        patch.setattr(Loop, "train_epoch", stop)
        with pytest.raises(Stop):
            run(SETTINGS, manifest, folder)
    return folder


@pytest.fixture
def to_resume(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of `interrupted`, to be resumed."""
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path / "run"


def test_a_resumed_run_has_the_same_result(
    finished: Path, to_resume: Path, manifest: pd.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    resumed = run(SETTINGS, manifest, to_resume)
    assert_same(resumed, finished)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{2 * STEPS}"
    assert f"resuming from {to_resume}/checkpoints/checkpoint-{2 * STEPS}" in capfd.readouterr().err
    pd.testing.assert_frame_equal(
        predict.predict(resumed, manifest, cpus=1), predict.predict(finished, manifest, cpus=1)
    )


@pytest.mark.slow
def test_a_killed_process_is_resumed(finished: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    running.train_killed(*command(SETTINGS, manifest, tmp_path), epochs=1)
    assert (tmp_path / "checkpoints" / f"checkpoint-{STEPS}").is_dir()
    assert not (tmp_path / "model").exists()
    resumed = run(SETTINGS, manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{STEPS}"
    assert_same(resumed, finished)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", [resume.OPTIMIZER, checkpoint.WEIGHTS, resume.STATE, resume.CHECKSUMS])
def test_the_checkpoint_before_a_damaged_one_is_used(
    name: str, damage: Callable[[Path], None], to_resume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`state.json` is small and is read completely, so only its end matters."""
    folder = to_resume / "checkpoints"
    task = files.read_json(folder / resume.FINGERPRINT)
    last, earlier = (folder / f"checkpoint-{number * STEPS}" for number in (2, 1))
    if not earlier.exists():  # the best one may be the last
        shutil.copytree(last, earlier)
    for each in (last, earlier):
        files.write_json(files.read_json(each / resume.STATE) | {"best_step": STEPS}, each / resume.STATE)
    if damage is flip and name == resume.STATE:
        damage = cut
    damage(last / name)
    assert resume.checkpoint_of(task, folder) == earlier
    assert f"{last}: damaged ({name}" in capsys.readouterr().err or name == resume.CHECKSUMS
    assert not last.exists() and (folder / f".damaged-{last.name}").is_dir()
    assert resume.checkpoint_of(task, folder) == earlier
    damage(earlier / checkpoint.WEIGHTS)
    assert resume.checkpoint_of(task, folder) is None


def test_a_checkpoint_without_the_best_one_is_not_used(to_resume: Path) -> None:
    folder = to_resume / "checkpoints"
    last = folder / f"checkpoint-{2 * STEPS}"
    files.write_json(files.read_json(last / resume.STATE) | {"best_step": STEPS}, last / resume.STATE)
    shutil.rmtree(folder / f"checkpoint-{STEPS}", ignore_errors=True)
    assert resume.checkpoint_of(files.read_json(folder / resume.FINGERPRINT), folder) is None


def test_a_damaged_fingerprint_is_written_again(to_resume: Path) -> None:
    folder = to_resume / "checkpoints"
    record = folder / resume.FINGERPRINT
    task = files.read_json(record)
    cut(record)
    assert resume.checkpoint_of(task, folder) == folder / f"checkpoint-{2 * STEPS}"
    cut(record)
    assert resume.checkpoint_of(task | {"seed": "other"}, folder) is None


@pytest.mark.parametrize("state", [None, "", '{"epoch": 2.0, "best_'])
def test_an_incomplete_checkpoint_is_ignored(state: str | None, to_resume: Path) -> None:
    last = to_resume / "checkpoints" / f"checkpoint-{2 * STEPS}"
    incomplete = last.with_name(f"checkpoint-{3 * STEPS}")
    incomplete.mkdir()
    (incomplete / checkpoint.WEIGHTS).write_bytes((last / checkpoint.WEIGHTS).read_bytes()[:100])
    if state is not None:
        (incomplete / resume.STATE).write_text(state)
    task = files.read_json(to_resume / "checkpoints" / resume.FINGERPRINT)
    assert resume.checkpoint_of(task, to_resume / "checkpoints") == last
    assert not incomplete.exists()


@pytest.mark.parametrize(
    ("module", "write", "step", "last"),
    [
        (resume, "save_weights", 2, 1),
        (files, "write_json", 2, 1),  # weights and optimiser state are written
        (files, "put_in_place", 2, 1),  # everything is written, but not renamed
        (resume, "remove_others", 2, 2),
        (files, "write_json", STEPS, STEPS),  # the results of an evaluation are added to a checkpoint
        (resume, "remove_others", STEPS, STEPS),
    ],
)
def test_a_run_killed_while_it_writes_a_checkpoint(
    module: ModuleType,
    write: str,
    step: int,
    last: int,
    finished: Path,
    manifest: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An incomplete folder never has the name of a checkpoint; the run resumes from the previous one."""
    save, original = resume.save, getattr(module, write)

    def killed(folder: Path, *rest: object) -> None:
        def stop(*arguments: object) -> None:
            if write != "put_in_place" or arguments[-1] == folder:
                raise Stop
            original(*arguments)

        if folder.name == f"checkpoint-{step}" and (step < STEPS or folder.is_dir()):
            patch.setattr(module, write, stop)
        save(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save", killed)
        with pytest.raises(Stop):
            run(system(save_steps=1), manifest, tmp_path)
    resumed = run(SETTINGS, manifest, tmp_path)
    assert files.read_json(resumed / "metrics.json")["resumed_from"] == f"checkpoint-{last}"
    assert_same(resumed, finished)


def test_a_run_killed_before_its_model_is_written(
    finished: Path, manifest: pd.DataFrame, to_resume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_model", stop)
        with pytest.raises(Stop):
            run(SETTINGS, manifest, to_resume)
    assert not (to_resume / "model").exists()
    resumed = run(SETTINGS, manifest, to_resume)
    assert_same(resumed, finished)


def test_checkpoints_of_another_task_are_removed(
    finished: Path, to_resume: Path, manifest: pd.DataFrame, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS.model_copy(update={"training": SETTINGS.training.model_copy(update={"epochs": 1})})
    model = run(settings, manifest, to_resume, seed=8)
    log = capfd.readouterr().err
    assert f"{to_resume}/checkpoints: checkpoints of other settings or data are removed" in log
    assert "resuming" not in log
    assert files.read_json(model / "metrics.json")["resumed_from"] is None
    assert len(epochs(model)) == 1
    assert not torch.equal(weights(model)["fc.weight"], weights(finished)["fc.weight"])


def test_seed_settings_and_data_define_a_task(manifest: pd.DataFrame) -> None:
    tasks = [
        resume.fingerprint(settings, {"train": rows}, seed)
        for settings, rows, seed in (
            (SETTINGS, manifest, 1),
            (SETTINGS, manifest, 2),
            (system(loss={"name": "wfl"}), manifest, 1),
            (system(epochs=4), manifest, 1),
            (SETTINGS, manifest[1:], 1),
            (SETTINGS, manifest.assign(EmoClass="A"), 1),
        )
    ]
    assert all(one != other for index, one in enumerate(tasks) for other in tasks[:index])


def test_resources_and_descriptions_do_not_define_a_task(manifest: pd.DataFrame) -> None:
    rows = {"train": manifest}
    plain = resume.fingerprint(SETTINGS, rows, 1)
    resources = SETTINGS.resources.model_copy(update={"cpus": 7})
    assert (
        resume.fingerprint(SETTINGS.model_copy(update={"description": "x", "resources": resources}), rows, 1) == plain
    )


def test_a_checkpoint_contains_only_the_trained_weights(interrupted: Path, finished: Path) -> None:
    """All weights of a random encoder, since they cannot be loaded."""
    stored = load_file(interrupted / "checkpoints" / f"checkpoint-{2 * STEPS}" / checkpoint.WEIGHTS)
    classifier, _ = checkpoint.build(SETTINGS, [1] * 8, 7, torch.device("cpu"))
    assert stored.keys() == dict(classifier.named_parameters()).keys() == weights(finished).keys()
    assert len(list((interrupted / "checkpoints").glob("checkpoint-*"))) <= 2


def test_a_smaller_batch_resumes_after_running_out_of_memory(manifest: pd.DataFrame) -> None:
    rows = {"train": manifest, "validation": manifest}
    smaller = {"batch_size": 1, "eval_batch_size": 1, "gradient_checkpointing": True, "fsdp": True}
    settings = SETTINGS.model_copy(update={"training": SETTINGS.training.model_copy(update=smaller)})
    assert resume.fingerprint(settings, rows, 7) == resume.fingerprint(SETTINGS, rows, 7)
