"""ST1 and S2: SALMONN. Ours reads cached features (`audio_encoder.cache`), in both ways Whisper's window is 30 s.

- Whisper and BEATs run in every epoch. (Together they have 1.2 times the operations of LLaMA-7B's forward pass; about
  that here.)
- The output layer and the loss of the language model are computed and not used (Vicuna: 2 %).
- All layers' hidden states are kept and stacked.
- The attention is computed without fused kernels.
- Pooling includes the padding; so logits are compared for one utterance, which has none.

Left out: the original's filter bank walks over the samples in float64.
"""

import argparse
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig, set_seed
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from abhinaya.config.system import AudioEncoder, FramesHead, SalmonnEncoder
from abhinaya.data.audio import RATE
from abhinaya.data.dataset import collate
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.encoders.salmonn import beats
from abhinaya.modeling.encoders.salmonn.audio_encoders import DualAudioEncoder
from abhinaya.modeling.encoders.salmonn.speech_llm import SpeechLlm
from abhinaya.modeling.encoders.speech import WhisperSpeechEncoder
from plain import head, llama
from plain.case import COUNTS, SEED, Case, Item, Way, generator, label

BATCH, PAPERS_BATCH = 16, 4
OUTPUT_SHARE = 0.02
SHORTEST, LONGEST = 2.0, 10.0  # seconds
BEFORE, QUESTION, FIXED_ANSWER = 6, 20, 14  # tokens, about SALMONN's
FRAMES, MELS = 3000, 80


class PlainSpeechLlm(nn.Module):
    def __init__(self, classifier: Classifier, audio_encoder: DualAudioEncoder) -> None:
        super().__init__()
        self.classifier, self.audio_encoder = classifier, audio_encoder
        for model in (classifier.encoder.causal, audio_encoder.whisper.model):
            model.set_attn_implementation("eager")

    def forward(self, after: Tensor, after_lengths: Tensor, **audio: Tensor) -> dict[str, Tensor]:
        encoder = self.classifier.encoder
        features = self.audio_encoder(**audio)
        speech, _ = encoder.speech(features["speech"], features["audio"], features["audio_lengths"])
        embedding = encoder.model.get_input_embeddings()
        inputs = torch.cat([embedding(encoder.before.expand(len(after), -1)), speech, embedding(after)], dim=1)
        start = inputs.shape[1] - after.shape[1]
        mask = torch.arange(inputs.shape[1]) < (start + after_lengths)[:, None]
        ignored = torch.full((len(after), start), -100)
        labels = torch.cat([ignored, after], dim=1).masked_fill(~mask, -100)
        output = encoder.causal(
            inputs_embeds=inputs, attention_mask=mask.long(), labels=labels, output_hidden_states=True
        )
        vectors = torch.stack(output.hidden_states)[-1]
        return {"logits": head.logits(self.classifier, vectors, [vectors.shape[1]] * len(vectors))}


def build(options: argparse.Namespace) -> Case:
    audio_encoder = _audio_encoder()
    ours = _classifier(options, audio_encoder.widths)
    plain = _classifier(options, audio_encoder.widths)
    seconds = np.random.default_rng(SEED + 1).uniform(SHORTEST, LONGEST, options.utterances)
    transcripts = llama.transcript_lengths(options.utterances)
    vocabulary = ours.encoder.causal.config.vocab_size

    def from_audio(index: int) -> Item:
        rng = generator(index)
        tokens = rng.integers(0, vocabulary, QUESTION + FIXED_ANSWER + transcripts[index])
        return {
            "waveform": torch.from_numpy(rng.normal(0, 0.1, int(seconds[index] * RATE)).astype(np.float32)),
            "mels": torch.from_numpy(rng.normal(0, 1, (FRAMES, MELS)).astype(np.float32)),
            "after": torch.from_numpy(tokens),
            "labels": label(index),
        }

    @cache  # the cache of features
    def cached(index: int) -> Item:
        item = from_audio(index)
        audio = collate([{name: item[name] for name in ("waveform", "mels", "labels")}])
        audio.pop("labels")
        features = audio_encoder(**audio)
        vectors = {name: features[name][0, : int(features[f"{name}_lengths"][0])] for name in ("speech", "audio")}
        return vectors | {"after": item["after"], "labels": item["labels"]}

    ways = Way(ours, cached, BATCH), Way(PlainSpeechLlm(plain, _audio_encoder()), from_audio, PAPERS_BATCH)
    return Case(*ways, (BEFORE + 88 + QUESTION + FIXED_ANSWER + transcripts).tolist(), "after_lengths", compared=1)


def _audio_encoder() -> DualAudioEncoder:
    """Small random encoders of real inputs: 1,500 frames of Whisper."""
    set_seed(SEED)
    settings = AudioEncoder(whisper="none", beats="random:beats")
    config = WhisperConfig(d_model=64, encoder_layers=2, encoder_attention_heads=1, encoder_ffn_dim=256)
    whisper = WhisperSpeechEncoder(WhisperEncoder(config), settings.speech_encoder)
    small = {"encoder_layers": 1, "embed_dim": 32, "encoder_embed_dim": 64, "encoder_ffn_embed_dim": 128}
    flags = {"deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True}
    found = beats.random(small | flags | {"encoder_attention_heads": 1, "conv_pos_groups": 4}, SEED)
    return DualAudioEncoder(whisper, found, settings).eval()


def _classifier(options: argparse.Namespace, widths: dict[str, int]) -> Classifier:
    language_model = llama.build(options, OUTPUT_SHARE)
    settings = SalmonnEncoder(
        audio_encoder=AudioEncoder(whisper="none", beats="random:beats"),
        language_model="none",
        qformer={"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256},
    )
    set_seed(SEED)
    encoder = SpeechLlm(None, widths, language_model, list(range(BEFORE)), settings)
    encoder.causal = language_model.causal
    torch.manual_seed(SEED)
    return Classifier(encoder, FramesHead(hidden=options.hidden, attention_init=0.1), COUNTS)
