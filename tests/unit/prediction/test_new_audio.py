"""New recordings, labelled with one system: the same results as in a corpus, and the printed table."""

import argparse
import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import predict
from abhinaya.config.base import settings_json
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import audio
from abhinaya.data.audio import RATE
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.labels import CLASSES, EMOTIONS
from abhinaya.prediction import new_audio
from abhinaya.prediction import predict as prediction
from support.new_audio_parts import COLUMNS, WHISPER, as_manifest, labelled, probabilities, rows_of, three_clips


@pytest.fixture(scope="module")
def by_s1(results: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, list[str]]:
    """All recordings, labelled in one call by the speech model: the table, and the printed lines."""
    output = tmp_path_factory.mktemp("by_s1") / "preds.csv"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        table = labelled(predict, output, "--model", results / "s1/model", "--audio", clips)
    return table, printed.getvalue().splitlines()


# --- labels


def test_a_clip_has_the_same_label_as_in_a_corpus(by_s1, results: Path, clips: Path) -> None:
    paths = three_clips(clips)
    table = rows_of(by_s1[0], *paths)
    expected = prediction.predict(results / "s1/model", as_manifest(paths), cpus=1)
    assert list(table.columns) == COLUMNS
    assert table["path"].tolist() == [str(path) for path in paths]
    np.testing.assert_allclose(probabilities(table), probabilities(expected), rtol=0, atol=1e-12)
    assert table["EmoClass"].tolist() == expected["EmoClass"].tolist()
    assert table["emotion"].tolist() == [EMOTIONS[letter] for letter in table["EmoClass"]]
    assert table["start"].tolist() == [0, 0, 0]
    assert table["end"].tolist() == [round(audio.duration(path), 3) for path in paths]


def test_labels_do_not_depend_on_other_recordings_or_their_order(call, by_s1, results: Path, clips: Path) -> None:
    assert len(by_s1[0]) > 4  # talk.flac has several segments
    for paths in ([clips / "car.flac"], [clips / "talk.flac", clips / "party.wav"]):
        table = call(predict, "--model", results / "s1/model", "--audio", *paths)
        pd.testing.assert_frame_equal(table, rows_of(by_s1[0], *paths), rtol=0, atol=1e-6)


def test_segments_of_a_long_recording_are_labelled_like_separate_clips(
    by_s1, results: Path, clips: Path, tmp_path: Path
) -> None:
    table = rows_of(by_s1[0], clips / "talk.flac")
    seconds = audio.duration(clips / "talk.flac")
    assert table["start"].tolist() == [0.0, *table["end"][:-1]] and table["end"].iloc[-1] == round(seconds, 3)
    assert ((table["end"] - table["start"]) <= 4.0).all() and len(table) == np.ceil(seconds / 3.2)
    waveform, pieces = audio.read(clips / "talk.flac"), []
    for number, (start, end) in enumerate(zip(table["start"], table["end"], strict=True)):
        pieces.append(tmp_path / f"{number}.wav")
        soundfile.write(pieces[-1], waveform[round(start * RATE) : round(end * RATE)], RATE, subtype="FLOAT")
    expected = prediction.predict(results / "s1/model", as_manifest(pieces), cpus=1)
    np.testing.assert_allclose(probabilities(table), probabilities(expected), rtol=0, atol=1e-6)


def test_segment_seconds_sets_shorter_segments(call, results: Path, clips: Path) -> None:
    options = ("--audio", clips / "talk.flac", "--segment-seconds", "2.5")
    table = call(predict, "--model", results / "s1/model", *options)
    assert ((table["end"] - table["start"]) <= 2.5).all()


# --- transcripts


def test_a_text_system_uses_transcripts_of_whisper(call, results: Path, clips: Path, capsys) -> None:
    paths = three_clips(clips)
    table = call(predict, "--model", results / "t2/model", "--audio", *paths)
    assert list(table.columns) == [*COLUMNS, "text"]
    for text, word in zip(table["text"], ("party", "car", "office"), strict=True):
        assert word in text.lower()
    expected = prediction.predict(results / "t2/model", as_manifest(paths, table["text"].tolist()), cpus=1)
    np.testing.assert_allclose(probabilities(table), probabilities(expected), rtol=0, atol=1e-12)
    assert "party" in capsys.readouterr().out


def test_transcribe_like_adds_transcripts_for_a_speech_system(
    call, results: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def transcribe(rows: pd.DataFrame, settings: Transcripts, seed: int, *_: object) -> pd.DataFrame:
        used.append((settings, seed))
        return rows.assign(text="the car")

    monkeypatch.setattr(new_audio, "transcribe", transcribe)
    like = ("--transcribe-like", results / "corpus/transcripts.parquet")
    table = call(predict, "--model", results / "s1/model", "--audio", clips / "car.flac", *like)
    assert list(table.columns) == [*COLUMNS, "text"] and table["text"].tolist() == ["the car"]
    assert used == [(WHISPER.model_copy(update={"shards": 1}), 7)]


def test_settings_of_whisperx_come_from_an_option_or_from_transcripts(
    results: Path, clips: Path, tmp_path: Path
) -> None:
    def settings(json: str | None, like: Path | None, folder: Path) -> tuple[Transcripts, int]:
        args = argparse.Namespace(audio=[clips], output=tmp_path / "preds.csv")
        args.transcripts_settings, args.transcribe_like = json, like
        return new_audio.Job(args)._whisperx_settings(folder)

    recorded = results / "corpus/transcripts.parquet"
    expected = WHISPER.model_copy(update={"shards": 1})
    assert settings(None, None, results) == settings(None, recorded, Path("nowhere")) == (expected, 7)
    given = settings_json(WHISPER.model_copy(update={"shards": 9, "utterances": "used"}))
    assert settings(given, None, Path("nowhere")) == (expected, new_audio.SEED)


# --- rejected files and the printed table


def test_unreadable_files_are_reported_and_the_others_labelled(
    call, results: Path, clips: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/bad.wav").write_text("<html>")
    Path("in/new\nline \x1b[31m[red].wav").touch()
    shutil.copy(clips / "party.wav", "in/[bold]a\r<b>,\n.wav")
    table = call(predict, "--model", results / "s1/model", "--audio", "in", "absent.wav")
    assert table["path"].tolist() == ["in/[bold]a\r<b>,\n.wav"]
    rejected = pd.read_csv("out/preds.rejected.csv")
    assert rejected["path"].tolist() == ["in/bad.wav", "in/new\nline \x1b[31m[red].wav", "absent.wav"]
    assert rejected["reason"].tolist()[1:] == ["file is empty (0 bytes)", "audio file not found"]
    printed = capsys.readouterr()
    assert "\nrejected: in/new\\nline \\x1b[31m[red].wav: file is empty (0 bytes)\n" in printed.err
    assert "\n in/[bold]a\\r<b>,\\n.wav  " in printed.out
    assert "\x1b" not in printed.out + printed.err
    call(predict, "--model", results / "s1/model", "--audio", clips / "party.wav")
    assert pd.read_csv("out/preds.rejected.csv").empty  # the file of the first call is replaced


def test_printed_table_has_times_second_emotion_and_whole_recording(by_s1, clips: Path) -> None:
    table, lines = by_s1
    first = rows_of(table, clips / "talk.flac").iloc[0]
    ranked = sorted(CLASSES, key=lambda letter: -first[f"p_{letter}"])
    best, second = (f"{EMOTIONS[letter]} {first[f'p_{letter}']:.2f}" for letter in ranked[:2])
    (line,) = [line for line in lines if f"0.0–{first['end']:.1f}" in line and "talk" in line]
    assert line.index(best) < line.index(second)
    talk = table[table["path"].str.endswith("talk.flac")]
    mean = np.average(probabilities(talk), axis=0, weights=talk["end"] - talk["start"])
    (whole,) = [line for line in lines if "whole recording" in line]  # only for a recording of several segments
    assert f"{EMOTIONS[CLASSES[mean.argmax()]]} {mean.max():.2f}" in whole
    assert "weighted by their length" in lines[-2] and lines[-1].endswith("preds.csv")


def test_probabilities_of_a_recording_are_weighted_by_segment_length() -> None:
    table = pd.DataFrame(np.eye(8)[[0, 1]], columns=list(PROBABILITIES)).assign(start=[0.0, 3.0], end=[3.0, 4.0])
    assert new_audio.mean_probabilities(table).tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]


def test_only_the_first_segments_are_printed(capsys) -> None:
    rows = [{"path": f"{number}.wav", "start": 0.0, "end": 1.0, "EmoClass": "A"} for number in range(250)]
    new_audio.show(pd.DataFrame(rows).assign(**dict.fromkeys(PROBABILITIES, 0.125)))
    printed = capsys.readouterr().out
    assert "199.wav" in printed and "200.wav" not in printed and "250 segments" in printed
