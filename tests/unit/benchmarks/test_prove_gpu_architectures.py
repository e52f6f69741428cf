"""The model configurations of `make prove-gpu` have the published sizes, and our code can build them."""

from pathlib import Path

import pytest
import torch
from prove_gpu import systems
from prove_gpu.architectures import TOKENS, architectures, config, folder_of, random_weights, tokenizer
from transformers import AutoModel

from abhinaya.labels import CLASSES
from abhinaya.modeling import checkpoint
from abhinaya.modeling.encoders.salmonn.beats import Beats

META = torch.device("meta")
PARAMETERS = {  # millions, without output layers
    "microsoft/wavlm-large": 315.5,
    "openai/whisper-large-v2": 1543.3,
    "meta-llama/Llama-3.1-8B": 7504.9,  # 8,030 with the output layer
    "lmsys/vicuna-7b-v1.5": 6607.3,  # 6,738
    "lmsys/vicuna-13b-v1.1": 12852.0,  # 13,016
    "large-v3": 1543.5,
}


def millions(model: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_real_models_have_their_published_size(name: str) -> None:
    with META:
        model = AutoModel.from_config(config(name, "real"))
    assert millions(model) == pytest.approx(PARAMETERS[name], abs=0.06)
    if name == "openai/whisper-large-v2":
        assert millions(model.encoder) == pytest.approx(636.8, abs=0.06)
    if config(name, "real").model_type == "llama":
        settings = config(name, "real")
        with_output = millions(model) + settings.vocab_size * settings.hidden_size / 1e6
        assert with_output == pytest.approx({4096: 8030.3, 5120: 13015.9}[settings.hidden_size], abs=0.1) or (
            with_output == pytest.approx(6738.4, abs=0.1)
        )


def test_beats_has_its_published_size() -> None:
    with META:
        assert millions(Beats(architectures("real")["beats"])) == pytest.approx(90.3, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.NAMES)
def test_the_papers_systems_are_built_on_the_meta_device(tmp_path: Path, name: str) -> None:
    settings = systems.with_architecture(systems.paper_systems()[name], "real", tmp_path)
    with random_weights(META), META:
        classifier, _ = checkpoint.build(settings, [1] * len(CLASSES), 0, META)
    least = {"s1": 0.3e9, "t2": 7.5e9, "st1": 7.2e9, "s2": 13.5e9}[name]
    assert least < sum(parameter.numel() for parameter in classifier.parameters()) < 1.1 * least


def test_both_shapes_have_the_models_of_the_papers_configuration() -> None:
    assert architectures("real").keys() == architectures("tiny").keys()
    used = {source for settings in systems.paper_systems().values() for source in settings.encoder.sources}
    files = {source for source in used if Path(source).suffix in (".pt", ".pth")}  # BEATs, SALMONN
    assert used - files <= architectures("real").keys()


def test_the_tokenizer_fits_the_smallest_model(tmp_path: Path) -> None:
    made = tokenizer()
    assert len(made) <= TOKENS < config("lmsys/vicuna-7b-v1.5", "tiny").vocab_size
    text = "USER: <Speech>the café is open"
    assert made.decode(made(text)["input_ids"]) == text
    assert (folder_of("lmsys/vicuna-7b-v1.5", "tiny", tmp_path) / "tokenizer.json").is_file()


def test_random_weights_are_the_same_in_each_type() -> None:
    settings = config("lmsys/vicuna-7b-v1.5", "tiny")
    with random_weights(torch.device("cpu"), torch.float32):
        exact, _ = AutoModel.from_pretrained("unused", config=settings)
        half, report = AutoModel.from_pretrained("unused", config=settings, dtype=torch.bfloat16)
    assert report == {"missing_keys": [], "mismatched_keys": []}
    assert half.norm.weight.dtype == torch.bfloat16
    for (name, one), two in zip(exact.named_parameters(), half.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), two), name
