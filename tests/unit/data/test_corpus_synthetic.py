"""The synthetic corpus: sentences, prosody, speakers, and reproducible audio."""

import ctypes
import hashlib
from collections import Counter
from dataclasses import astuple
from pathlib import Path

import espeakng_loader
import numpy as np
import pandas as pd
import pytest
import soundfile
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from abhinaya import config
from abhinaya.data.corpora import espeak, sentences
from abhinaya.data.corpora.espeak import Prosody, Request
from abhinaya.data.corpora.kinds import synthetic
from abhinaya.data.corpora.kinds.synthetic import Synthetic
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError

USUAL = Prosody(pitch=50, range=50, rate=160, volume=80, word_gap=2)
SMALL = {"train": dict.fromkeys(CLASSES, 2), "validation_per_class": 1, "test_per_class": 1, "speakers": 16}


def corpus(**settings) -> Synthetic:
    return config.parse(Synthetic, {"kind": "synthetic", **settings})


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def utterances() -> list[synthetic.Utterance]:
    return synthetic.plan(corpus(), seed=7)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[pd.DataFrame, Path]:
    folder = tmp_path_factory.mktemp("speech") / "wav"
    return synthetic.read(corpus(**SMALL), 7, folder), folder


# --- the plan


def test_counts_are_as_configured(utterances):
    counted = Counter((each.part, each.emotion) for each in utterances)
    expected = {("train", letter): count for letter, count in corpus().train.items()}
    expected |= {(part, letter): 12 for part in ("development", "test") for letter in CLASSES}
    assert counted == expected
    assert len({each.name for each in utterances}) == len(utterances)


def test_only_configured_classes_are_generated():
    assert {each.emotion for each in synthetic.plan(corpus(classes=["H", "S"]), seed=7)} == {"H", "S"}


def test_classes_are_independent_of_each_other(utterances):
    train = corpus().train | {"A": 3}
    changed = synthetic.plan(corpus(train=train), seed=7)
    others = [each for each in utterances if (each.part, each.emotion) != ("train", "A")]
    kept = [each for each in changed if (each.part, each.emotion) != ("train", "A")]
    assert [(each.name, each.text, each.prosody) for each in kept] == [
        (each.name, each.text, each.prosody) for each in others
    ]


def test_seed_changes_the_corpus(utterances):
    other = synthetic.plan(corpus(), seed=8)
    assert [each.text for each in other] != [each.text for each in utterances]
    assert [each.speaker.voice for each in other] != [each.speaker.voice for each in utterances]


@pytest.mark.parametrize("count", [16, 17, 24, 50])
def test_speakers_are_disjoint_and_of_both_genders(count):
    planned = synthetic.plan(corpus(speakers=count), seed=7)
    speakers = {part: {e.speaker.name for e in planned if e.part == part} for part in synthetic.PARTS}
    assert len(set.union(*speakers.values())) == sum(map(len, speakers.values())) == count
    for part in synthetic.PARTS:
        assert len(speakers[part]) >= 3
        assert {each.speaker.gender for each in planned if each.part == part} == {"Female", "Male"}


def test_voices_are_unique_while_available():
    available = len(synthetic.ACCENTS) * sum(map(len, synthetic.VARIANTS.values()))
    speakers = synthetic.make_speakers(available + 2, seed=7)
    assert len({speaker.voice for speaker in speakers[:available]}) == available
    assert speakers[available].voice == speakers[0].voice
    assert not np.array_equal(speakers[available].offset, speakers[0].offset)


# --- sentences


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_text_carries_is_the_share_of_fitting_texts(share):
    planned = synthetic.plan(corpus(text_carries=share), seed=7)
    fitting = Counter(
        (each.part, each.emotion) for each in planned if each.text in sentences.emotional(each.emotion, each.part)
    )
    plain = sum(each.text in sentences.plain(each.part) for each in planned)
    for key, count in Counter((each.part, each.emotion) for each in planned).items():
        assert fitting[key] == round(share * count)
    assert plain + sum(fitting.values()) == len(planned)


def test_no_sentence_is_in_two_pools():
    pools = [sentences.emotional(letter, part) for letter in CLASSES for part in synthetic.PARTS]
    pools += [sentences.plain(part) for part in synthetic.PARTS]
    everything = [sentence for pool in pools for sentence in pool]
    assert len(set(everything)) == len(everything)
    assert min(map(len, pools)) >= 12


def test_sentences_are_short_and_simple():
    everything = [s for letter in CLASSES for part in synthetic.PARTS for s in sentences.emotional(letter, part)]
    everything += [s for part in synthetic.PARTS for s in sentences.plain(part)]
    for sentence in everything:
        assert 4 <= len(sentence.split()) <= 9
        assert sentence[0].isupper() and sentence.endswith(".")
        assert set(sentence[:-1].lower()) <= set("abcdefghijklmnopqrstuvwxyz ,")


def test_every_template_occurs_in_every_part():
    def stems(part: str) -> set[str]:
        found = set()
        for sentence in sentences.emotional("A", part):
            for filler in sum(sentences.FILLERS.values(), ()):
                sentence = sentence.replace(filler, "_").replace(filler[0].upper() + filler[1:], "_")
            found.add(sentence)
        return found

    assert stems("train") == stems("development") == stems("test")
    assert len(stems("train")) == len(sentences.EMOTIONAL["A"])


# --- how well words and prosody predict the emotion of unseen speakers


def test_text_and_prosody_each_predict_a_part(utterances):
    parts = np.array([each.part for each in utterances])
    emotions = np.array([each.emotion for each in utterances])
    train, held_out = parts == "train", parts != "train"

    def score(model, inputs: np.ndarray) -> float:
        model.fit(inputs[train], emotions[train])
        return f1_score(emotions[held_out], model.predict(inputs[held_out]), average="macro")

    classifier = LogisticRegression(class_weight="balanced", max_iter=1000)
    text = score(make_pipeline(CountVectorizer(), classifier), np.array([each.text for each in utterances]))
    prosody = score(
        make_pipeline(StandardScaler(), classifier), np.array([astuple(each.prosody) for each in utterances])
    )
    assert 0.4 < text < 0.85  # chance is 0.125
    assert 0.4 < prosody < 0.85


def test_prosody_carries_zero_gives_wrong_prosody():
    planned = synthetic.plan(corpus(prosody_carries=0.0), seed=7)
    profiles = np.array([astuple(synthetic.PROFILES[letter]) for letter in CLASSES])
    spread = astuple(synthetic.WITHIN)
    nearest = [CLASSES[(((profiles - astuple(u.prosody)) / spread) ** 2).sum(1).argmin()] for u in planned]
    assert np.mean([guess == each.emotion for guess, each in zip(nearest, planned, strict=True)]) < 0.125


def test_prosody_stays_within_its_limits(utterances):
    values = np.array([astuple(each.prosody) for each in utterances])
    assert (values >= astuple(synthetic.LOWEST)).all() and (values <= astuple(synthetic.HIGHEST)).all()
    assert len({each.prosody for each in utterances}) > 0.95 * len(utterances)


# --- audio


def test_read_generates_the_listed_files(small):
    table, folder = small
    assert list(table) == ["FileName", "path", "Split_Set", "role", "EmoClass", "SpkrID", "Gender", "text"]
    assert table["role"].value_counts().to_dict() == {"train": 16, "development": 8, "test": 8}
    assert set(zip(table["role"], table["Split_Set"], strict=True)) == {
        ("train", "Train"),
        ("development", "Development"),
        ("test", "Test"),
    }
    assert sorted(path.name for path in folder.iterdir()) == sorted(table["FileName"])
    for path, text in zip(table["path"], table["text"], strict=True):
        info = soundfile.info(path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("WAV", "PCM_16", 22050, 1)
        assert 0.15 < info.duration / len(text.split()) < 0.9  # seconds per word
        assert np.abs(soundfile.read(path)[0]).max() > 0.05


def test_the_same_seed_gives_the_same_bytes(small, tmp_path):
    table, folder = small
    again = synthetic.read(corpus(**SMALL), 7, tmp_path)
    assert digests(tmp_path) == digests(folder)
    pd.testing.assert_frame_equal(again.drop(columns="path"), table.drop(columns="path"))


def test_espeak_applies_voice_and_prosody():
    text = "Nothing will bring back my uncle."
    requests = [
        Request(text, "en-us+m3", USUAL),
        Request(text, "en-us+m3", Prosody(50, 50, 120, 80, 2)),
        Request(text, "en-us+m3", Prosody(50, 50, 160, 40, 2)),
        Request(text, "en-us+m3", Prosody(50, 50, 160, 80, 9)),
        Request(text, "en-us+m3", Prosody(95, 50, 160, 80, 2)),
        Request(text, "en-us+m3", Prosody(50, 0, 160, 80, 2)),
        Request(text, "en-us+m3", Prosody(50, 99, 160, 80, 2)),
        Request(text, "en-us+f3", USUAL),
    ]
    usual, slow, soft, gaps, high, flat, varied, female = (
        waveform.astype(float) for waveform, _ in espeak.speak(requests)
    )
    assert len(slow) > 1.2 * len(usual)
    assert len(gaps) > 1.1 * len(usual)
    assert soft.std() < 0.7 * usual.std()
    assert np.median(_pitch(high)) > 1.3 * np.median(_pitch(usual))
    assert np.median(_pitch(female)) > 1.3 * np.median(_pitch(usual))
    assert np.ptp(np.quantile(_pitch(varied), [0.1, 0.9])) > 2 * np.ptp(np.quantile(_pitch(flat), [0.1, 0.9]))


def _pitch(waveform: np.ndarray, rate: int = 22050) -> np.ndarray:
    """Fundamental frequency in Hz of the louder frames, by autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 1024)[::512]
    frames = frames[frames.std(1) > np.median(frames.std(1))]
    power = np.abs(np.fft.rfft(frames, 2048)) ** 2
    shortest, longest = rate // 400, rate // 60
    lags = shortest + np.fft.irfft(power)[:, shortest:longest].argmax(1)
    return rate / lags


def test_all_variants_are_installed():
    # eSpeak NG silently speaks in the plain voice when it lacks a variant.
    shipped = {path.name for path in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir()}
    assert {variant for variants in synthetic.VARIANTS.values() for variant in variants} <= shipped


# --- errors


def test_unknown_voice_is_reported():
    with pytest.raises(UserError, match=r"'xx-nowhere'.*espeakng-loader") as caught:
        list(espeak.speak([Request("Hello.", "xx-nowhere", USUAL)]))
    assert "\n" not in str(caught.value)


def test_library_that_cannot_be_loaded_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "libespeak-ng.so"))
    with pytest.raises(UserError, match=r"libespeak-ng\.so.*espeakng-loader") as caught:
        espeak._load()
    assert "\n" not in str(caught.value)


def test_missing_voices_are_reported(monkeypatch, tmp_path):
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    monkeypatch.setattr(espeak, "_load", lambda: (library, str(tmp_path)))
    with pytest.raises(UserError, match=r"voices.*espeakng-loader"):
        espeak._Engine()
