"""The probe of each trained system: a logistic regression on the vectors of the same frozen encoder."""

from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.wording import listing


def probes(inputs: Inputs) -> dict[str, str]:
    """{system: probe} for each system with trained layers on a frozen encoder whose probe is in the report."""
    of_vectors = {
        _vectors(config): name for name, config in reversed(inputs.configs.items()) if _kind(config) == "logistic"
    }
    return {
        name: of_vectors[_vectors(config)]
        for name, config in inputs.configs.items()
        if _kind(config) == "mlp" and _is_frozen(config) and _vectors(config) in of_vectors
    }


def without_probe(inputs: Inputs) -> str:
    """A sentence on the systems that have no probe; empty if there are none."""
    names = [name for name, config in inputs.configs.items() if _kind(config) == "mlp" and not _is_frozen(config)]
    if not names:
        return ""
    if len(names) == 1:
        return f"{names[0]} has no probe: its encoder is trained, so its vectors change with the training."
    return f"{listing(names)} have no probe: their encoders are trained, so their vectors change with the training."


def _kind(config: dict) -> str | None:
    return config.get("settings", {}).get("head", {}).get("kind")


def _is_frozen(config: dict) -> bool:
    return config["settings"]["encoder"].get("freeze") == "all"


def _vectors(config: dict) -> str:
    """What determines the pooled vectors of an encoder, as `runs.probes` compares them."""
    settings = config["settings"]
    pooling = settings["head"].get("pooling", "").replace("attentive", "mean_std")
    return repr((settings["encoder"], settings["training"]["precision"], pooling))
