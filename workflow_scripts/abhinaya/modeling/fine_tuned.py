"""The authors' fine-tuned systems: their checkpoints as model folders, without training.

Their code saves the state dict of its classifier without frozen weights (S2, ST1, T2), or the whole model (S1, of which
the state dict is needed). The head has the same names here.
"""

from pathlib import Path

from torch import Tensor

from abhinaya.config.system import SalmonnSystem, SpeechSystem, TrainedSystem
from abhinaya.modeling.checkpoint import check_replaceable, save_model
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import pretrained_weights
from abhinaya.pretrained.hub import check_access, is_local, source_digest
from abhinaya.pretrained.loading import check_finite, check_weights, read_weights
from abhinaya.runtime.errors import UserError

COUNTS = [6728, 2495, 1432, 1120, 16712, 29239, 6303, 2948]  # the challenge's training utterances, in class order
ENCODER = "encoder."
WAVLM = {"wavlm_model.": ENCODER + "model."}  # in S1: here
# peft around LlamaForCausalLM in T2's checkpoint; around LlamaModel here.
LLAMA = {"llama.base_model.model.model.": ENCODER + "model.base_model.model."}
# A weight with weight norm, as torch before 2.0 names its two parts.
WEIGHT_NORM = {f".{part}": f".parametrizations.weight.original{i}" for i, part in enumerate(("weight_g", "weight_v"))}


def convert(name: str, settings: TrainedSystem, path: Path, classifier: Classifier, seed: int, output: Path) -> None:
    """Write the model folder `output` of system `name` from the authors' checkpoint `path`.

    Args:
        classifier: of `settings`, on the meta device.
        seed: of random parts of the encoder, which are not in a checkpoint.

    Raises:
        UserError: as `load` and `check_replaceable`, or a pretrained model is not available.
    """
    check_replaceable(output)
    classifier.load_state_dict(load(path, settings, classifier), strict=False, assign=True)
    classifier.encoder.revisions = _revisions(settings)
    if isinstance(settings, SalmonnSystem):  # whatever the configuration starts from is replaced
        encoder = settings.encoder.model_copy(update={"checkpoint": str(path), "qformer": {}})
        settings = settings.model_copy(update={"encoder": encoder})
    origin = {"epochs": [], "converted_from": str(path), "sha256": source_digest(str(path))}
    remark = f"Not trained here: converted from {path.name}."
    save_model(name, settings, classifier, COUNTS, seed, origin, [remark], output)


def load(path: Path, settings: TrainedSystem, classifier: Classifier) -> dict[str, Tensor]:
    """The weights in the authors' checkpoint `path`, in float32, under the names of `classifier.saved()`.

    Raises:
        UserError: the file is missing, not a checkpoint or of another system, or has weights that are not finite.
    """
    expected = classifier.saved()
    if isinstance(settings, SalmonnSystem):
        trained = {name.removeprefix(ENCODER): value for name, value in expected.items() if name.startswith(ENCODER)}
        encoder, head = pretrained_weights.load(path, trained)
        if not head:
            raise UserError(
                f"{path}: SALMONN's own checkpoint, not fine-tuned; use it as `encoder.checkpoint`, or give "
                "`fine_tuned` the authors' file"
            )
        weights = {ENCODER + name: value for name, value in encoder.items()} | head
    else:
        prefixes = WAVLM if isinstance(settings, SpeechSystem) else LLAMA
        weights = {_renamed(name, prefixes): value for name, value in read_weights(path).items()}
        if not any(name.startswith(ENCODER) for name in weights):
            raise UserError(
                f"{path}: not a checkpoint of {min(prefixes)}… (it contains {min(weights, default='nothing')}); "
                "use the authors' file for this system"
            )
        frozen = classifier.state_dict().keys() - expected.keys()  # as in the published model
        weights = {name: value for name, value in weights.items() if name not in frozen}
    check_weights(path, weights, expected, "use the file and the settings (`encoder`, `head`) of the same system")
    check_finite(path, weights)
    return {name: value.float() for name, value in weights.items()}


def _renamed(name: str, prefixes: dict[str, str]) -> str:
    """The name used here for a checkpoint's `name`; unknown names are unchanged."""
    for theirs, ours in prefixes.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            for old, new in WEIGHT_NORM.items():
                name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


def _revisions(settings: TrainedSystem) -> dict[str, object]:
    """The commits of the published models, as encoders record them."""

    def commit(name: str, revision: str | None) -> str | None:
        return None if is_local(name) else check_access(name, revision)

    encoder = settings.encoder
    if not isinstance(settings, SalmonnSystem):
        return {} if encoder.random_parts else {"revision": commit(encoder.model, encoder.revision)}
    audio = encoder.audio_encoder
    recorded = audio.model_dump(mode="json") | {"revision": commit(audio.whisper, audio.revision)}
    return {"revision": commit(encoder.language_model, encoder.revision), "audio_encoder": recorded}
