"""S1: WavLM.

- The convolutions are frozen by `requires_grad=False` alone, and gradients still flow through them to the waveform.
- The attention is that of transformers, which also computes the weights' mean over the heads.
- All layers' hidden states are kept, everything is float32.
"""

import argparse
import warnings

import numpy as np
import torch
from torch import Tensor, nn

from abhinaya.config.system import Head, SpeechEncoder, SpeechSystem, Wfl
from abhinaya.data.audio import RATE
from abhinaya.modeling import encoders
from abhinaya.modeling.classifier import Classifier
from plain import head
from plain.case import COUNTS, SEED, Case, Item, Way, generator, label

SHORTEST, LONGEST = 2.0, 10.0  # seconds
BATCH, PAPERS_BATCH = 32, 8


class PlainSpeech(nn.Module):
    """The weights of a `Classifier`, computed as the published code does."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        ours = classifier.encoder.model
        model = type(ours)(ours.config)  # with the attention of transformers
        model.load_state_dict(ours.state_dict())
        model.feature_extractor.requires_grad_(False)
        classifier.encoder.model = model
        self.classifier = classifier

    def forward(self, inputs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")  # of transformers' masks
        model = self.classifier.encoder.model
        model.feature_extractor._requires_grad = True  # what `freeze_feature_encoder` would have turned off
        mask = torch.arange(inputs.shape[1]) < lengths[:, None]
        output = model(inputs, attention_mask=mask, output_hidden_states=True)
        frames = model._get_feat_extract_output_lengths(lengths)
        return {"logits": head.logits(self.classifier, output.last_hidden_state, frames.tolist())}


def build(options: argparse.Namespace) -> Case:
    sizes = np.random.default_rng(SEED).uniform(SHORTEST, LONGEST, options.utterances)

    def item(index: int) -> Item:
        noise = generator(index).normal(0, 0.1, int(sizes[index] * RATE)).astype(np.float32)
        return {"inputs": torch.from_numpy(noise), "labels": label(index)}

    ours, plain = Way(_classifier(options), item, BATCH), Way(PlainSpeech(_classifier(options)), item, PAPERS_BATCH)
    return Case(ours, plain, sizes.tolist(), "lengths", compared=4)


def _classifier(options: argparse.Namespace) -> Classifier:
    """A random WavLM with the proportions and the options of the large one, under our pooling and head."""
    architecture = {
        "hidden_size": options.hidden,
        "intermediate_size": 4 * options.hidden,
        "num_hidden_layers": options.layers,
        "num_attention_heads": max(1, options.hidden // 64),
        "conv_dim": [options.hidden // 2] * 7,
        "feat_extract_norm": "layer",
        "conv_bias": False,
        "do_stable_layer_norm": True,
    }
    settings = SpeechSystem(
        family="speech",
        encoder=SpeechEncoder(model="random:wavlm", config=architecture, max_seconds=LONGEST),
        head=Head(hidden=options.hidden),
        loss=Wfl(name="wfl"),
    )
    _, encoder = encoders.build(settings, SEED, torch.device("cpu"))
    torch.manual_seed(SEED)
    return Classifier(encoder, settings.head, COUNTS)
