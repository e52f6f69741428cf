"""The folder of a trained model: what `predict` needs, and what tells where it came from."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import set_seed

from abhinaya.config import parse
from abhinaya.config.base import result_settings
from abhinaya.config.system import SalmonnEncoder, SalmonnSystem, Trained, TrainedSystem
from abhinaya.data import dataset
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.modeling import encoders
from abhinaya.modeling.classifier import Classifier
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.versions import versions

WEIGHTS = "model.safetensors"
FILES = {WEIGHTS, "config.json", "metrics.json"}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pandas", "scikit-learn")


def build(
    settings: TrainedSystem, counts: Sequence[int], seed: int, device: torch.device, features: Sequence[Path] = ()
) -> tuple[Classifier, dataset.Loader]:
    """The untrained classifier of a system, to be moved to `device`, and the loader of its inputs."""
    loader, encoder = encoders.build(settings, seed, device, features)
    if settings.training.gradient_checkpointing and not settings.encoder.frozen:
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
    set_seed(seed)  # the head does not depend on how many numbers the encoder drew
    classifier = Classifier(encoder, settings.head, counts)
    load_head(classifier, getattr(encoder, "head", {}), settings)
    return classifier, loader


def load_head(classifier: Classifier, head: dict[str, torch.Tensor], settings: TrainedSystem) -> None:
    """Start from the `head` of a fine-tuned checkpoint, if there is one.

    Raises:
        UserError: it has other widths, or another order.
    """
    if head and settings.head.norm != "frames":
        raise UserError(f"{settings.encoder.checkpoint}: its head begins with a layer norm; set `head.norm: frames`")
    state = classifier.state_dict()
    for name, weight in head.items():
        if weight.shape != state[name].shape:
            raise UserError(
                f"{settings.encoder.checkpoint}: {name} of its head has shape {tuple(weight.shape)}, here it is "
                f"{tuple(state[name].shape)}; set `head.hidden` to {len(head['fc.weight'])}"
            )
    classifier.load_state_dict(head, strict=False)


def save_weights(classifier: Classifier, path: Path) -> None:
    with files.atomic(path) as temporary:
        save_file({name: value.contiguous() for name, value in classifier.saved().items()}, temporary)


def load_weights(classifier: Classifier, path: Path) -> None:
    """Load a weights file into `classifier`.

    Raises:
        UserError: absent, cut off, or of another model.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the model first")
    try:
        classifier.restore(load_file(path))
    except (SafetensorError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not the weights of this model ({reason}); train it again") from error


def check_replaceable(output: Path) -> None:
    """Raise a `UserError` when a model written to `output` would push out anything else than an older model."""
    others = {path.name for path in output.iterdir()} - FILES if output.is_dir() else set()
    if others or output.is_file():
        raise UserError(f"{output}: not a model folder (it holds {min(others, default='a file')}); name another one")


def save_model(
    name: str,
    settings: TrainedSystem,
    classifier: Classifier,
    counts: list[int],
    seed: int,
    metrics: dict,
    remarks: list[str],
    output: Path,
) -> None:
    """Write the model folder beside its place, then rename it; `remarks` on the data go into its notes."""
    beside = output.with_name(f".{output.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save_weights(classifier, beside / WEIGHTS)
    files.write_json(metrics, beside / "metrics.json")
    chosen = result_settings(settings)
    chosen["encoder"] |= classifier.encoder.revisions  # so that predict loads the same frozen weights
    config = {
        "name": name,
        "settings": chosen,
        "seed": seed,
        "source_digests": source_digests(settings.encoder.sources),
        "class_counts": dict(zip(CLASSES, counts, strict=True)),
        "parameters": parameters(classifier),
        "notes": [*notes(settings, counts), *remarks],
        "versions": versions(PACKAGES),
    }
    files.write_json(config, beside / "config.json")
    shutil.rmtree(output, ignore_errors=True)
    files.put_in_place(beside, output)


def load_model(
    folder: Path, device: torch.device, features: Sequence[Path] = ()
) -> tuple[Classifier, dataset.Loader, TrainedSystem]:
    """The classifier that `save_model` wrote to `folder`, on `device`, in evaluation mode.

    Args:
        features: as for `encoders.build`; without any they are computed on the fly, however it was trained.

    Raises:
        UserError: a file is absent, spoilt, or of another model.
    """
    settings, counts, seed = read_config(folder)
    if isinstance(settings, SalmonnSystem):
        settings = settings.model_copy(update={"encoder": with_cache(settings.encoder, cache=bool(features))})
    classifier, loader = build(settings, counts, seed, device, features)
    load_weights(classifier, folder / WEIGHTS)
    return classifier.to(device).eval(), loader, settings


def read_config(folder: Path) -> tuple[TrainedSystem, list[int], int]:
    """Settings, class counts of the training split and seed of the model in `folder`.

    Raises:
        UserError: absent, spoilt, or made from a local model or file that has changed since.
    """
    path = folder / "config.json"
    config = files.read_json(path)
    try:
        counts = [config["class_counts"][letter] for letter in CLASSES]
        stored, seed = config["settings"], config["seed"]
    except (KeyError, TypeError):
        raise UserError(f"{path}: not the configuration of a trained model; train it again") from None
    settings = parse(Trained, stored, where=str(path))
    for source, now in source_digests(settings.encoder.sources).items():
        if now != config.get("source_digests", {}).get(source):
            raise UserError(f"{path}: {source} has changed since it was trained on; train it again")
    return settings, counts, seed


def with_cache(settings: SalmonnEncoder, cache: bool) -> SalmonnEncoder:
    """A speech LLM that hears from a `cache` or on the fly, which is the same to it."""
    return settings.model_copy(update={"audio_encoder": settings.audio_encoder.model_copy(update={"cache": cache})})


def notes(settings: TrainedSystem, counts: list[int]) -> list[str]:
    """What a reader of the scores must know."""
    found = []
    if settings.encoder.random_parts:
        found.append(
            f"Starts from random weights, not pretrained ones: {' and '.join(settings.encoder.random_parts)}. It "
            "tests the software, not the model."
        )
    absent = [EMOTIONS[letter] for letter, count in zip(CLASSES, counts, strict=True) if not count]
    if absent:
        found.append(f"Never predicts {', '.join(absent)}: the training split has none.")
    return found


def parameters(classifier: Classifier) -> dict[str, int]:
    """How many numbers the weights are, `all` and `trained`; of 4-bit weights a number holds two."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in classifier.parameters()]
    return {"all": sum(size for size, _ in sizes), "trained": sum(size for size, trained in sizes if trained)}
