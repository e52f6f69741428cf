"""Fixtures that several packages use. They import torch only when they are used."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small LLaMA with its tokenizer."""
    from support import text_corpus

    folder = tmp_path_factory.mktemp("llama")
    text_corpus.save_llama(folder)
    return folder


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `salmonn_parts.save` writes."""
    from support import salmonn_parts

    folder = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(folder)
    return folder


@pytest.fixture(scope="session")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small WavLM with its feature extractor."""
    import torch
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    from support.speech_corpus import WAVLM

    folder = tmp_path_factory.mktemp("wavlm")
    torch.manual_seed(3)
    WavLMModel(WavLMConfig(**WAVLM)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder
