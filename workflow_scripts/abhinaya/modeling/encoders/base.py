"""What the speech and text encoders share."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PretrainedConfig

from abhinaya.runtime.errors import UserError


class PretrainedEncoder(nn.Module):
    """A transformers model as an encoder; a completely frozen one stays in evaluation mode."""

    random_parts: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, width: int, frozen: bool) -> None:
        super().__init__()
        self.model = model
        self.width = width
        self.frozen = frozen
        self.revisions: dict[str, str | None] = {}  # commits of published models, by configuration key

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        return super().train(mode and not self.frozen)


def check_layer(name: str, layer: int | None, layers: int) -> None:
    """Raise a `UserError` if the setting `layer` exceeds the number of `layers` of the model `name`."""
    if layer is not None and layer > layers:
        raise UserError(f"encoder {name!r}: `layer` is {layer}, but the model has {layers} layers; lower it")


def new_model(
    where: str, default: PretrainedConfig, settings: dict[str, Any], create: Callable[[Any], nn.Module]
) -> nn.Module:
    """A model with random weights.

    Args:
        where: the key of the configuration that holds `settings`, for messages.
        default: configuration of the architecture.
        settings: keys of the configuration that differ from `default`.
        create: makes the model from a configuration.

    Raises:
        UserError: `settings` has unknown keys or invalid values.
    """
    known = {*default.to_dict(), *default.attribute_map}
    for key in settings.keys() - known:
        close = get_close_matches(key, known, n=1)
        fix = f"did you mean {close[0]}?" if close else f"see transformers' {type(default).__name__}"
        raise UserError(f"{where}: unknown key {key}; {fix}")
    try:
        return create(type(default)(**settings))
    except (ArithmeticError, LookupError, RuntimeError, StrictDataclassError, TypeError, ValueError) as error:
        raise UserError(f"{where}: invalid architecture ({' '.join(str(error).split())}); correct it") from None
