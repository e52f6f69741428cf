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
