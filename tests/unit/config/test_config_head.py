"""The section `head`: its defaults by what is trained, and invalid combinations of its keys."""

from pathlib import Path

import pytest

from abhinaya import config
from abhinaya.config.system import SpeechSystem, Trained, TrainedSystem
from abhinaya.runtime.errors import UserError

ROOT = Path(__file__).parents[3]
PLAIN = {"pooling": "mean_std", "standardise": True, "input_dropout": 0.5}


def system(freeze: str, head: dict | None = None, **keys: object) -> SpeechSystem:
    encoder = {"model": "some/wavlm", "freeze": freeze}
    values = {"family": "speech", "encoder": encoder, "loss": {"name": "wce"}, **keys}
    return config.parse(Trained, values if head is None else values | {"head": head})


@pytest.mark.parametrize("head", [None, {}, {"hidden": 1024}, {"pooling": "mean_std"}])
def test_a_frozen_encoder_has_plain_pooling_standardised_and_regularised(head: dict | None) -> None:
    found = system("all", head)
    assert found.head.model_dump(include={*PLAIN}) == PLAIN
    assert (found.training.weight_decay, found.training.label_smoothing) == (1.0, 0.1)


@pytest.mark.parametrize(("freeze", "head"), [("convolutions", None), ("all", {"pooling": "attentive"})])
def test_a_trained_encoder_and_attention_have_the_papers_recipe(freeze: str, head: dict | None) -> None:
    found = system(freeze, head)
    assert found.head.model_dump(include={*PLAIN}) == {"pooling": "attentive", "standardise": False, "input_dropout": 0}
    assert (found.training.weight_decay, found.training.label_smoothing) == (0, 0)


def test_given_keys_win_over_the_defaults_of_a_frozen_encoder() -> None:
    found = system("all", {"standardise": False, "input_dropout": 0.0}, training={"weight_decay": 0.0})
    assert (found.head.pooling, found.head.standardise, found.head.input_dropout) == ("mean_std", False, 0)
    assert (found.training.weight_decay, found.training.label_smoothing) == (0, 0.1)


@pytest.mark.parametrize("freeze", ["all", "convolutions"])
def test_a_stored_configuration_stays_as_it_is(freeze: str) -> None:
    found = system(freeze)
    assert config.parse(Trained, found.model_dump(mode="json")) == found


def test_the_papers_systems_keep_its_head_and_optimiser() -> None:
    systems = config.load(ROOT / "config/paper.yaml").systems
    trained = [each for each in systems.values() if isinstance(each, TrainedSystem)]
    assert len(trained) == 6
    for each in trained:
        head = each.head.model_dump(exclude={"norm"})
        assert head == {
            "kind": "mlp",
            "pooling": "attentive",
            "standardise": False,
            "input_dropout": 0.0,
            "hidden": 1024,
            "dropout": 0.5,
            "attention_init": 1.0,
        }
        assert (each.training.weight_decay, each.training.label_smoothing) == (0, 0)


@pytest.mark.parametrize(
    ("head", "training", "key"),
    [
        ({"attention_init": 0.1}, {}, "head.attention_init"),
        ({"pooling": "median"}, {}, "head.pooling"),
        ({"input_dropout": 1.0}, {}, "head.input_dropout"),
        ({}, {"label_smoothing": -0.1}, "training.label_smoothing"),
        ("wide", {}, "head"),
        ({}, "long", "training"),
    ],
)
def test_an_invalid_key_is_named(head: object, training: object, key: str) -> None:
    with pytest.raises(UserError) as caught:
        system("all", head, training=training)
    assert f"`{key}`" in str(caught.value)


def test_shards_cannot_be_standardised() -> None:
    values = {
        "family": "text",
        "encoder": {"model": "some/llama"},
        "head": {"standardise": True},
        "loss": {"name": "vs"},
        "training": {"fsdp": True, "batch_size": 4},
        "resources": {"gpu": 2},
    }
    with pytest.raises(UserError, match=r"training\.fsdp"):
        config.parse(Trained, values)


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_a_probe_needs_neither_loss_nor_training(kind: str) -> None:
    found = system("all", {"kind": kind}, loss=None)
    assert (found.is_probe, found.head.pooling, found.head.standardise) == (True, "mean_std", True)
    assert config.parse(Trained, found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("freeze", "keys", "key"),
    [
        ("convolutions", {"head": {"kind": "svm", "pooling": "mean", "standardise": True}}, "head.kind"),
        ("all", {"head": {"kind": "svm"}, "loss": {"name": "wce"}}, "loss"),
        ("all", {"head": {"kind": "svm", "hidden": 64}}, "head.hidden"),
        ("all", {"head": {"kind": "logistic", "pooling": "attentive"}}, "head.pooling"),
        ("all", {"head": {"kind": "logistic", "standardise": False}}, "head.standardise"),
        ("all", {"head": {"kind": "logistic"}, "training": {"epochs": 3}}, "training"),
        ("all", {"head": {"kind": "logistic"}, "resources": {"gpu": 2}}, "resources"),
        ("all", {"head": {"kind": "forest"}}, "head.kind"),
        ("all", {"head": {}, "loss": None}, "loss"),
    ],
)
def test_an_invalid_combination_of_a_probe_is_named(freeze: str, keys: dict, key: str) -> None:
    with pytest.raises(UserError) as caught:
        system(freeze, **({"loss": None} | keys))
    assert f"`{key}`" in str(caught.value)


@pytest.mark.parametrize("freeze", ["all", "convolutions"])
def test_pooling_of_speech_gets_its_levels(freeze: str) -> None:
    found = system(freeze, {"pooling": "mean_std_speech"})
    assert found.encoder.levels and found.head.standardise == (freeze == "all")
    assert config.parse(Trained, found.model_dump(mode="json")) == found
    assert not system(freeze).encoder.levels


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"encoder": {"model": "m", "levels": True}}, "encoder.levels"),
        ({"encoder": {"model": "m", "levels": False}, "head": {"pooling": "mean_std_speech"}}, "encoder.levels"),
        ({"encoder": {"model": "m"}, "head": {"pooling": "mean_std_speech", "norm": "frames"}}, "head.norm"),
        ({"family": "text", "encoder": {"model": "m"}, "head": {"pooling": "mean_std_speech"}}, "head.pooling"),
    ],
)
def test_levels_and_their_pooling_belong_together(values: dict, key: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(Trained, {"family": "speech", "loss": {"name": "wce"}} | values)
    assert f"`{key}`" in str(caught.value)
