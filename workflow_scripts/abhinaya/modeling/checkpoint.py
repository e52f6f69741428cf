"""The model folder of a trained system: its weights, settings and origin."""

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
from abhinaya.modeling import encoders, probe
from abhinaya.modeling.classifier import PooledClassifier
from abhinaya.pretrained.hub import source_digests
from abhinaya.pretrained.loading import check_weights
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError, first_line
from abhinaya.runtime.versions import versions

WEIGHTS = "model.safetensors"
FILES = {WEIGHTS, "config.json", "metrics.json"}
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "pandas", "scikit-learn")


def build(
    settings: TrainedSystem, counts: Sequence[int], seed: int, device: torch.device, features: Sequence[Path] = ()
) -> tuple[PooledClassifier, dataset.Loader]:
    """The untrained classifier of a system, still to be moved to `device`, and the loader of its inputs."""
    loader, encoder = encoders.build(settings, seed, device, features)
    if settings.training.gradient_checkpointing and not settings.encoder.frozen:
        encoder.model.gradient_checkpointing_enable({"use_reentrant": False})
    set_seed(seed)  # the head does not depend on how many random numbers the encoder used
    classifier = probe.build(encoder, settings.head, counts)
    load_head(classifier, getattr(encoder, "head", {}), settings)
    return classifier, loader


def load_head(classifier: PooledClassifier, head: dict[str, torch.Tensor], settings: TrainedSystem) -> None:
    """Initialise the head with that of a fine-tuned checkpoint; an empty `head` changes nothing.

    Raises:
        UserError: it has other shapes, another order of layers or another pooling.
    """
    if not head:
        return
    if settings.head.pooling != "attentive" or settings.head.standardise:
        raise UserError(
            f"{settings.encoder.checkpoint}: its head has attentive pooling without standardisation; set "
            "`head.pooling: attentive` and `head.standardise: false`"
        )
    if settings.head.norm != "frames":
        raise UserError(f"{settings.encoder.checkpoint}: its head starts with a layer norm; set `head.norm: frames`")
    state, fix = classifier.state_dict(), f"set `head.hidden` to {len(head['fc.weight'])}"
    check_weights(settings.encoder.checkpoint, head, {name: state[name] for name in head}, fix)
    classifier.load_state_dict(head, strict=False)


def save_weights(classifier: PooledClassifier, path: Path) -> None:
    with files.atomic(path) as temporary:
        save_file({name: value.contiguous() for name, value in classifier.saved().items()}, temporary)


def load_weights(classifier: PooledClassifier, path: Path) -> None:
    """Load a file of `save_weights` into `classifier`.

    Raises:
        UserError: the file is missing, truncated, or of another model.
    """
    try:
        weights = load_file(files.existing(path))
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable weights file ({first_line(error)}); train the model again") from None
    check_weights(path, weights, classifier.saved(), "train the model again")
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(f"{path}: {broken[0]} has NaN or infinite weights; train the model again")
    classifier.load_state_dict(weights, strict=False)


def check_replaceable(output: Path) -> None:
    """Raise a `UserError` if `output` is a file, or a folder with other files than a model's."""
    others = {path.name for path in output.iterdir()} - FILES if output.is_dir() else set()
    if others or output.is_file():
        raise UserError(f"{output}: not a model folder (contains {min(others, default='a file')}); use another folder")


def save_model(
    name: str,
    settings: TrainedSystem,
    classifier: PooledClassifier,
    counts: list[int],
    seed: int,
    metrics: dict,
    remarks: list[str],
    output: Path,
) -> None:
    """Write the model folder to a temporary folder, then rename it. `remarks` about the data are added to its notes."""
    temporary = output.with_name(f".{output.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_weights(classifier, temporary / WEIGHTS)
    files.write_json(metrics, temporary / "metrics.json")
    stored = result_settings(settings)
    stored["encoder"] |= classifier.encoder.revisions  # so that prediction loads the same pretrained weights
    config = {
        "name": name,
        "settings": stored,
        "seed": seed,
        "source_digests": source_digests(settings.encoder.sources),
        "class_counts": dict(zip(CLASSES, counts, strict=True)),
        "parameters": parameters(classifier),
        "notes": [*notes(settings, counts), *remarks],
        "versions": versions(PACKAGES),
    }
    files.write_json(config, temporary / "config.json")
    shutil.rmtree(output, ignore_errors=True)
    files.put_in_place(temporary, output)


def load_model(
    folder: Path, device: torch.device, features: Sequence[Path] = ()
) -> tuple[PooledClassifier, dataset.Loader, TrainedSystem]:
    """The classifier in the model folder `folder`, on `device`, in evaluation mode.

    Args:
        features: as for `encoders.build`; if empty, features are computed on the fly, even if training used a cache.

    Raises:
        UserError: a file is missing, invalid, or of another model.
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
        UserError: the file is missing or invalid, or a local model or file that the training used has changed.
    """
    path = folder / "config.json"
    config = files.read_json(path)
    try:
        counts = [config["class_counts"][letter] for letter in CLASSES]
        stored, seed = config["settings"], config["seed"]
    except (KeyError, TypeError):
        raise UserError(f"{path}: not the configuration of a trained model; train it again") from None
    wrong = [letter for letter, count in zip(CLASSES, counts, strict=True) if type(count) is not int or count < 0]
    if wrong or not any(counts):
        reason = f"{wrong[0]} is {config['class_counts'][wrong[0]]!r}" if wrong else "all are 0"
        raise UserError(f"{path}: class_counts: {reason}, not a number of utterances; train the model again")
    if type(seed) is not int:
        raise UserError(f"{path}: seed {seed!r} is not a whole number; train the model again")
    settings = parse(Trained, stored, where=str(path))
    for source, digest in source_digests(settings.encoder.sources).items():
        if digest != config.get("source_digests", {}).get(source):
            raise UserError(f"{path}: {source} has changed since the training; train the model again")
    return settings, counts, seed


def with_cache(settings: SalmonnEncoder, cache: bool) -> SalmonnEncoder:
    """`settings` with another value of `audio_encoder.cache`, which does not affect predictions."""
    return settings.model_copy(update={"audio_encoder": settings.audio_encoder.model_copy(update={"cache": cache})})


def notes(settings: TrainedSystem, counts: list[int]) -> list[str]:
    """Notes for the report about the interpretation of the scores."""
    lines = []
    if settings.encoder.random_parts:
        lines.append(
            f"Starts from random weights, not pretrained ones: {' and '.join(settings.encoder.random_parts)}. It "
            "tests the software, not the model."
        )
    absent = [EMOTIONS[letter] for letter, count in zip(CLASSES, counts, strict=True) if not count]
    if absent:
        lines.append(f"Never predicts {', '.join(absent)}: the training split has none.")
    return lines


def parameters(classifier: PooledClassifier) -> dict[str, int]:
    """The number of parameters, `all` and `trained`; two 4-bit weights count as one."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in classifier.parameters()]
    return {"all": sum(size for size, _ in sizes), "trained": sum(size for size, trained in sizes if trained)}
