"""Recordings, trained models and an ensemble for the tests of new audio."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import label_zero_shot
import vote
from abhinaya.data import schemas
from abhinaya.data.audio import RATE
from abhinaya.data.schemas import KEY
from abhinaya.prediction import predict as prediction
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import shards
from support import salmonn_parts, speech_corpus, text_corpus
from support.chat_server import ChatServer, Reply
from support.new_audio_parts import SENTENCES, WHISPER, call_main, labelled, three_clips
from support.speech import spoken


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> Iterator[None]:
    """Exclude the imported objects from garbage collection, which new_audio.free_memory runs often."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings: three sentences, two of them with the same file name, and talk.flac with all, twice."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "sub").mkdir()
    waves = spoken(SENTENCES)
    for path, wave in zip(three_clips(folder), waves, strict=True):
        soundfile.write(path, wave, RATE)
    soundfile.write(folder / "talk.flac", np.concatenate(waves * 2), RATE)
    return folder


@pytest.fixture(scope="session")
def results(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `results` with a trained speech model s1, a trained text model t2, and transcripts of their corpus."""
    folder = tmp_path_factory.mktemp("run") / "results"
    corpus = tmp_path_factory.mktemp("corpus")
    settings = speech_corpus.system(encoder={"max_seconds": 4.0}, epochs=1)
    speech_corpus.run(settings, speech_corpus.make_manifest(corpus), folder / "s1")
    text_corpus.save_llama(folder.parent / "llama")
    settings = text_corpus.system(folder.parent / "llama", epochs=1)
    speech_corpus.run(settings, text_corpus.make_manifest(corpus), folder / "t2")
    transcripts = pd.DataFrame({KEY: ["a.wav"], "text": ["so"]})
    metadata = shards.describe(WHISPER, 7)
    files.write_parquet(transcripts, schemas.TRANSCRIPTS, folder / "corpus/transcripts.parquet", metadata)
    return folder


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Calls a script with arguments; returns the table that it wrote to out/preds.csv."""
    return lambda script, *arguments: labelled(script, tmp_path / "out" / "preds.csv", *arguments)


@pytest.fixture
def error_of(call: Callable[..., pd.DataFrame]) -> Callable[..., str]:
    """Calls a script with arguments; returns the message of its `UserError`."""

    def message(script, *arguments: object) -> str:
        with pytest.raises(UserError) as caught:
            call(script, *arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


def reply(request) -> Reply:
    text = request.text
    return Reply("happy" if "party" in text else "disgust" if "office" in text else "who knows")


@pytest.fixture(scope="session")
def chat() -> Iterator[ChatServer]:
    with ChatServer(reply) as server:
        yield server


@pytest.fixture(scope="session")
def ensemble(results: Path, chat: ChatServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/vote as written by the workflow: the trained s1 and t2 and the zero-shot t1 (text) and z (speech)."""
    parts = tmp_path_factory.mktemp("parts")
    salmonn_parts.save(parts)
    manifest = salmonn_parts.make_manifest(parts).drop(columns="text").query("split == 'test'").head(2)
    schemas.write_manifest(manifest, parts / "manifest.parquet")
    texts = manifest.assign(text=["party", "office"])
    files.write_parquet(texts, schemas.TRANSCRIPTS, parts / "transcripts.parquet")
    endpoint = {"url": chat.url, "structured_output": True}
    t1 = {"family": "zero_shot", "model": "tested", "endpoint": endpoint, "fallback": "S"}
    audio_encoder = {"whisper": str(parts / "whisper"), "beats": str(parts / "beats.pt")}
    audio_encoder |= {"speech_window": "clip", "window": "clip"}
    encoder = {"audio_encoder": audio_encoder, "language_model": str(parts / "llama")}
    z = {"family": "salmonn_zero_shot", "encoder": encoder, "fallback": "H"}
    z["decoding"] = {"beams": 1, "max_new_tokens": 3}
    label_with(results / "z", z, parts)
    label_with(results / "t1", t1, parts, "--transcripts", parts / "transcripts.parquet", "--server-log", parts / "log")
    predictions = prediction.predict(results / "s1/model", manifest, cpus=1)
    for name in ("s1", "t2"):
        schemas.write_predictions(predictions, results / name / "preds.csv")
    members = ("s1", "t1", "t2", "z")
    call_main(
        vote,
        *("--preds", *(results / member / "preds.csv" for member in members), "--members", *members),
        *("--tie-break", "t1", "--output", results / "vote/preds.csv"),
        *("--description", results / "vote/ensemble.json"),
    )
    return results / "vote"


def label_with(folder: Path, settings: dict, parts: Path, *options: object) -> None:
    """Label the manifest of `parts` with a zero-shot system; its files are written to `folder`."""
    call_main(
        label_zero_shot,
        *("--name", folder.name, "--settings", json.dumps(settings), "--manifest", parts / "manifest.parquet"),
        *("--classes", *"ADHNS", "--cpus", 1, "--output", folder / "preds.csv"),
        *("--responses", folder / "responses.parquet", "--summary", folder / "labelling.json"),
        *("--response-dir", folder / "responses", *options),
    )
