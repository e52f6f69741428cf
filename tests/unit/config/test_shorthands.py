"""Short forms of a configuration."""

import pytest

from abhinaya import config
from abhinaya.config import shorthands
from abhinaya.runtime.errors import UserError
from support.messages import assert_names


def test_minimal_configuration_equals_the_written_out_one() -> None:
    short = {"corpus": "my.csv", "systems": {"wavlm": "microsoft/wavlm-base-plus"}}
    whole = {
        "corpus": {"kind": "csv", "table": "my.csv"},
        "systems": {
            "wavlm": {
                "family": "speech",
                "encoder": {"model": "microsoft/wavlm-base-plus"},
                "loss": {"name": "wfl"},
            }
        },
    }
    assert config.validate(short) == config.validate(whole)
    assert short["systems"] == {"wavlm": "microsoft/wavlm-base-plus"}  # not changed


def test_encoder_and_loss_have_short_forms() -> None:
    system = {"family": "text", "encoder": "FacebookAI/roberta-base", "loss": "vs"}
    expanded = config.validate({"corpus": "my.csv", "systems": {"t": system}}).systems["t"]
    assert expanded.encoder.model == "FacebookAI/roberta-base" and expanded.loss.name == "vs"


def test_a_head_without_training_gets_no_loss() -> None:
    encoder = {"model": "m", "freeze": "all"}
    system = {"family": "speech", "encoder": encoder, "head": {"kind": "logistic"}}
    assert config.validate({"corpus": "my.csv", "systems": {"p": system}}).systems["p"].loss is None


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"corpus": 3, "systems": {"w": "m"}}, "corpus"),
        ({"corpus": "my.csv", "systems": {"w": ""}}, "systems.w.encoder.model"),
        (
            {"corpus": "my.csv", "systems": {"w": {"family": "speech", "encoder": "m", "loss": "x"}}},
            "systems.w.loss.name",
        ),
        ({"corpus": "my.csv", "systems": ["m"]}, "systems"),
    ],
)
def test_wrong_short_forms_are_reported_at_their_key(values: dict, key: str) -> None:
    with pytest.raises(UserError) as caught:
        config.validate(values)
    assert_names(str(caught.value), f"`{key}`: ")


@pytest.mark.parametrize("values", [None, [], 3, {}, {"systems": None}, {"corpus": None, "systems": {"a": None}}])
def test_other_values_stay_as_they_are(values: object) -> None:
    assert shorthands.expand(values) == values
