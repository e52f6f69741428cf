"""The synthetic corpus: emotional speech made by eSpeak NG, for testing the system without any download.

Words and prosody each carry a part of the emotion. Of the utterances of a class, the share `text_carries` has words
that fit the emotion (the others are neutral), and the share `prosody_carries` has its prosody (the others that of
another emotion). As in real corpora, speakers are disjoint over the splits, training is imbalanced, and validation and
test are balanced.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import cycle
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
import soundfile
from pydantic import Field, model_validator
from tqdm import tqdm

from abhinaya.config.corpus import Corpus
from abhinaya.config.messages import WrongKey
from abhinaya.data.corpora import espeak, sentences
from abhinaya.data.corpora.espeak import Prosody
from abhinaya.data.schemas import KEY
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.runtime.files import atomic

PARTS = ("train", "development", "test")

# Prosody of each emotion, following Juslin & Laukka (2003): anger is fast, loud and varied, sadness slow, soft and
# monotone, fear fast, soft and high, and so on.
PROFILES: dict[str, Prosody] = {
    "A": Prosody(pitch=50, range=80, rate=178, volume=100, word_gap=1),
    "C": Prosody(pitch=26, range=45, rate=138, volume=62, word_gap=3),
    "D": Prosody(pitch=20, range=70, rate=150, volume=80, word_gap=4),
    "F": Prosody(pitch=68, range=25, rate=182, volume=52, word_gap=1),
    "H": Prosody(pitch=62, range=82, rate=168, volume=88, word_gap=2),
    "N": Prosody(pitch=42, range=45, rate=158, volume=72, word_gap=2),
    "S": Prosody(pitch=32, range=15, rate=130, volume=42, word_gap=6),
    "U": Prosody(pitch=78, range=92, rate=152, volume=82, word_gap=2),
}
WITHIN = Prosody(pitch=7, range=10, rate=8, volume=8, word_gap=1)  # standard deviation over the utterances of a speaker
BETWEEN = Prosody(pitch=5, range=5, rate=6, volume=5, word_gap=0)  # standard deviation over speakers
LOWEST = Prosody(pitch=0, range=0, rate=120, volume=25, word_gap=0)
HIGHEST = Prosody(pitch=99, range=99, rate=195, volume=110, word_gap=9)

# The accents and variants of eSpeak NG that Whisper's smallest model recognises best.
ACCENTS = ("en-us", "en", "en-gb-x-rp")
VARIANTS = {
    "Female": ("f1", "f2", "f3", "f4", "f5", "steph2"),
    "Male": ("m1", "m2", "m3", "m6", "m7", "sandro"),
}


@dataclass(frozen=True)
class Speaker:
    """A voice; `offset` is added to the profile of every emotion, in the order of `Prosody`'s fields."""

    name: str
    gender: str
    voice: str
    offset: np.ndarray


@dataclass(frozen=True)
class Utterance:
    """A planned utterance: text, speaker, prosody and emotion."""

    name: str
    part: str
    emotion: str
    speaker: Speaker
    text: str
    prosody: Prosody


class Synthetic(Corpus):
    """Synthetic emotional speech from eSpeak NG; for testing the system, not for research."""

    assigned_by: ClassVar[str] = "corpus.train"

    kind: Literal["synthetic"]
    train: dict[Literal[CLASSES], Annotated[int, Field(ge=1)]] = Field(
        {"A": 60, "C": 32, "D": 26, "F": 24, "H": 90, "N": 120, "S": 60, "U": 36},
        description="training utterances of each class; each of `classes` needs a count, other classes are ignored",
    )
    validation_per_class: int = Field(12, ge=1, description="validation utterances of each class")
    test_per_class: int = Field(12, ge=1, description="test utterances of each class")
    speakers: int = Field(24, ge=16, description="number of voices; disjoint over the splits")
    text_carries: float = Field(
        0.7,
        ge=0,
        le=1,
        description="share of utterances whose words fit the emotion; the others are neutral",
    )
    prosody_carries: float = Field(
        0.8,
        ge=0,
        le=1,
        description="share of utterances whose pitch, rate and loudness fit the emotion; the others use those of a "
        "random other emotion",
    )

    @model_validator(mode="after")
    def _classes_counted(self) -> "Synthetic":
        for letter in self.classes:
            if letter not in self.train:
                raise WrongKey("train", f"count for {letter} is missing; add it, or remove {letter} from `classes`")
        return self

    def rows(self, seed: int, folder: Path, texts: bool = True) -> pd.DataFrame:
        return read(self, seed, folder)


def read(corpus: Synthetic, seed: int, folder: Path) -> pd.DataFrame:
    """Synthesise the corpus into `folder`, as 16-bit WAV.

    Returns:
        one row per utterance: `FileName`, `path`, `Split_Set`, `role` (train, development, test), `EmoClass`,
        `SpkrID`, `Gender` and `text`. The same seed gives the same table and the same bytes of audio.

    Raises:
        UserError: eSpeak NG cannot be loaded.
    """
    utterances = plan(corpus, seed)
    requests = [espeak.Request(each.text, each.speaker.voice, each.prosody) for each in utterances]
    spoken = tqdm(espeak.speak(requests), total=len(requests), desc="synthesising", unit="utterance")
    for utterance, (waveform, rate) in zip(utterances, spoken, strict=True):
        with atomic(folder / utterance.name) as temporary:
            soundfile.write(temporary, waveform, rate, subtype="PCM_16")
    return pd.DataFrame([_row(each, folder) for each in utterances])


def plan(corpus: Synthetic, seed: int) -> list[Utterance]:
    """Plan all utterances of the corpus from `seed`, without synthesising them."""
    counts = {
        "train": corpus.train,
        "development": dict.fromkeys(corpus.classes, corpus.validation_per_class),
        "test": dict.fromkeys(corpus.classes, corpus.test_per_class),
    }
    speakers = assign_speakers(make_speakers(corpus.speakers, seed))
    return [
        utterance
        for part in PARTS
        for letter in corpus.classes
        for utterance in _plan_class(corpus, seed, part, letter, counts[part][letter], speakers[part])
    ]


def make_speakers(count: int, seed: int) -> list[Speaker]:
    """`count` speakers, alternating female and male; beyond 36, voices repeat with another offset."""
    rng = np.random.default_rng([seed, 0])
    voices = {gender: cycle(_voices(rng.permutation(variants))) for gender, variants in VARIANTS.items()}
    offsets = rng.normal(0, astuple(BETWEEN), size=(count, len(astuple(BETWEEN))))
    return [
        Speaker(f"speaker_{number:02d}", gender, next(voices[gender]), offset)
        for number, (gender, offset) in enumerate(zip(cycle(VARIANTS), offsets), start=1)
    ]


def assign_speakers(speakers: Sequence[Speaker]) -> dict[str, Sequence[Speaker]]:
    """Assign a sixth of the speakers, at least three, to development and to test each, the others to training."""
    held_out = max(3, len(speakers) // 6)
    return {
        "test": speakers[:held_out],
        "development": speakers[held_out : 2 * held_out],
        "train": speakers[2 * held_out :],
    }


def _voices(variants: Sequence[str]) -> list[str]:
    """Each variant in each accent; a variant repeats only after all others."""
    return [
        f"{ACCENTS[(index + turn) % len(ACCENTS)]}+{variant}"
        for turn in range(len(ACCENTS))
        for index, variant in enumerate(variants)
    ]


def _plan_class(
    corpus: Synthetic, seed: int, part: str, letter: str, count: int, speakers: Sequence[Speaker]
) -> list[Utterance]:
    """`count` utterances of one emotion, from a separate generator: independent of the other classes' counts."""
    class_index = CLASSES.index(letter)
    rng = np.random.default_rng([seed, 1, PARTS.index(part), class_index])
    text_fits = _random_share(rng, count, corpus.text_carries)
    prosody_fits = _random_share(rng, count, corpus.prosody_carries)
    others = [other for other in CLASSES if other != letter]
    utterances = []
    for index in range(count):
        speaker = speakers[(index + class_index) % len(speakers)]
        pool = sentences.emotional(letter, part) if text_fits[index] else sentences.plain(part)
        prosody_of = letter if prosody_fits[index] else str(rng.choice(others))
        utterances.append(
            Utterance(
                name=f"{part}_{EMOTIONS[letter]}_{index + 1:04d}.wav",
                part=part,
                emotion=letter,
                speaker=speaker,
                text=str(rng.choice(pool)),
                prosody=_sample_prosody(rng, prosody_of, speaker),
            )
        )
    return utterances


def _random_share(rng: np.random.Generator, count: int, share: float) -> np.ndarray:
    """(count,) bool; exactly the share `share`, rounded, is true."""
    return rng.permutation(count) < round(share * count)


def _sample_prosody(rng: np.random.Generator, letter: str, speaker: Speaker) -> Prosody:
    values = rng.normal(np.add(astuple(PROFILES[letter]), speaker.offset), astuple(WITHIN))
    return Prosody(*np.clip(values.round().astype(int), astuple(LOWEST), astuple(HIGHEST)).tolist())


def _row(utterance: Utterance, folder: Path) -> dict[str, str]:
    return {
        KEY: utterance.name,
        "path": str(folder / utterance.name),
        "Split_Set": utterance.part.capitalize(),
        "role": utterance.part,
        "EmoClass": utterance.emotion,
        "SpkrID": utterance.speaker.name,
        "Gender": utterance.speaker.gender,
        "text": utterance.text,
    }
