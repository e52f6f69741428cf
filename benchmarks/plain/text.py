"""T2: LLaMA with LoRA on the transcript.

- The output layer is computed and not used. (LLaMA-3.1-8B's 128,256 logits are 7.5 % of its operations; so they are
  here.)
- All layers' hidden states are kept.
"""

import argparse

import torch
from torch import Tensor, nn

from abhinaya.config.system import FramesHead
from abhinaya.modeling.classifier import Classifier
from plain import head, llama
from plain.case import COUNTS, SEED, Case, Item, Way, generator, label

BATCH, PAPERS_BATCH = 32, 8
OUTPUT_SHARE = 0.075


class PlainText(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, inputs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        mask = (torch.arange(inputs.shape[1]) < lengths[:, None]).long()
        output = self.classifier.encoder.causal(input_ids=inputs, attention_mask=mask, output_hidden_states=True)
        return {"logits": head.logits(self.classifier, output.hidden_states[-1], lengths.tolist())}


def build(options: argparse.Namespace) -> Case:
    ours, plain = _classifier(options), _classifier(options)
    sizes = llama.transcript_lengths(options.utterances)
    vocabulary = ours.encoder.causal.config.vocab_size

    def item(index: int) -> Item:
        tokens = torch.from_numpy(generator(index).integers(0, vocabulary, sizes[index]))
        return {"inputs": tokens, "labels": label(index)}

    ways = Way(ours, item, BATCH), Way(PlainText(plain), item, PAPERS_BATCH)
    return Case(*ways, sizes.tolist(), "lengths", compared=4)


def _classifier(options: argparse.Namespace) -> Classifier:
    encoder = llama.build(options, OUTPUT_SHARE)
    torch.manual_seed(SEED)
    return Classifier(encoder, FramesHead(hidden=options.hidden, attention_init=0.1), COUNTS)
