"""UniSpeech-SAT: a clip has the same vectors alone and in a padded batch."""

import pytest
import torch

from abhinaya.config.system import SpeechEncoder
from abhinaya.modeling.encoders import speech
from support.speech_corpus import NOT_RANDOM, WAVLM


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_clip_has_the_same_vectors_alone_and_in_a_batch(norm: str) -> None:
    config = {**WAVLM, **NOT_RANDOM, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
    settings = SpeechEncoder(model="random:unispeech-sat", config=config, min_seconds=0.3)
    encoder = speech.build(settings, seed=1)[1].eval()
    clip = torch.randn(6000)
    batch = torch.stack([torch.randn(9000), torch.nn.functional.pad(clip, (0, 3000))])
    vectors, lengths = encoder(batch, torch.tensor([9000, 6000]))
    alone, _ = encoder(clip[None], torch.tensor([6000]))
    assert lengths.tolist() == [27, 18]
    torch.testing.assert_close(vectors[1, :18], alone[0], atol=1e-5, rtol=1e-4)
