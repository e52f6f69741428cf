"""Checkpoint files of torch: objects beside the weights, and files that would run code."""

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from abhinaya.pretrained.loading import Unread, read_checkpoint, read_weights
from abhinaya.runtime.errors import UserError
from support.messages import assert_names

omegaconf = pytest.importorskip("omegaconf")  # of WhisperX, in both lock files

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.float16)}


def optimizer_state() -> dict:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_and_scores_beside_the_weights_are_skipped(zipped: bool, tmp_path: Path) -> None:
    config = omegaconf.OmegaConf.create({"lr": 1e-5, "parts": [1, None, True, {"again": "${lr}"}], "later": "???"})
    beside = {
        "args": argparse.Namespace(lr=1e-5, parts=["a"]),
        "config": config,
        "list": omegaconf.OmegaConf.create([1, 2]),
        "score": np.float64(0.5),
        "optimizer": optimizer_state(),
        "epoch": 3,
    }
    path = tmp_path / "file.pth"
    torch.save({"model": WEIGHTS} | beside, path, _use_new_zipfile_serialization=zipped)
    content = read_checkpoint(path)
    assert content["args"] == beside["args"] and content["epoch"] == 3
    assert {type(content[key]) for key in ("config", "list", "score")} == {Unread}
    actual = read_weights(path)
    assert actual.keys() == WEIGHTS.keys()
    assert all(torch.equal(actual[name], weight) for name, weight in WEIGHTS.items())


def test_the_list_of_harmless_classes_is_not_changed_for_others(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"model": WEIGHTS, "args": argparse.Namespace()}, tmp_path / "file.pth")
    read_checkpoint(tmp_path / "file.pth")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("state", [WEIGHTS, {"model": WEIGHTS}])
def test_the_prefix_of_several_gpus_is_removed(state: dict, tmp_path: Path) -> None:
    inner = {f"module.{name}": value for name, value in WEIGHTS.items()}
    torch.save({"model": inner} if "model" in state else inner, tmp_path / "file.pth")
    assert read_weights(tmp_path / "file.pth").keys() == WEIGHTS.keys()
    # A part that has this name is not a prefix.
    torch.save(WEIGHTS | {"module.weight": torch.ones(1)}, tmp_path / "file.pth")
    assert read_weights(tmp_path / "file.pth").keys() == {*WEIGHTS, "module.weight"}


class Call:
    """Unpickling calls `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def payloads() -> dict[str, Any]:
    """Objects that create the file `created` when they are unpickled without protection."""
    code = "open('created', 'w').close()"
    return {
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "system": Call(os.system, "touch created"),
        "method": Call(Path.touch, Path("created")),
        "inside": argparse.Namespace(lr=Call(exec, code)),
    }


@pytest.mark.parametrize("name", payloads())
def test_a_payload_works_without_protection(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next test could not fail."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(payloads()[name], protocol=2))
    assert Path("created").exists()


@pytest.mark.parametrize("name", payloads())
@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_no_code_in_a_file_is_run(name: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": WEIGHTS, "args": payloads()[name]}
    if form == "pickle":
        Path("file.pth").write_bytes(pickle.dumps(payloads()[name], protocol=2))
    else:
        torch.save(content, "file.pth", _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "file.pth")
    assert not Path("created").exists()
    expected = {"system": "posix.system", "method": "getattr", "inside": "exec"}
    assert_names(str(caught.value), f"{tmp_path}/file.pth: ", expected.get(name, name), "state_dict()")


class EmotionClassifier(nn.Module):
    """A whole model in a file, as the authors' S1 saves it."""


def test_a_whole_model_is_named_with_the_fix(tmp_path: Path) -> None:
    torch.save(EmotionClassifier(), tmp_path / "wavlm_model.pth")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "wavlm_model.pth")
    assert_names(str(caught.value), "wavlm_model.pth: ", "test_loading.EmotionClassifier", "state_dict()")


@pytest.mark.parametrize(
    ("content", "words"),
    [({"epoch": 3, "step": 4}, "a dict of epoch, step"), ([1], "a list"), ({"model": [1]}, "a dict of model")],
)
def test_a_file_without_weights_is_reported(content: object, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "file.pth")
    assert_names(str(caught.value), "file.pth: ", words, "state_dict()")
