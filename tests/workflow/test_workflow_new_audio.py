"""New recordings, labelled by one system and by an ensemble of a finished run."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from abhinaya.data.corpora.espeak import Prosody, Request, speak
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.labels import EMOTIONS
from support.running import ROOT

COLUMNS = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES]
LONGEST = 10.0  # seconds that the systems of the test configuration encode
SAID = {
    "clip.wav": "The elephant forgot my birthday again.",
    "folder/music.flac": "Nobody plays the violin as badly as you.",
    "folder/deeper/call.ogg": "Please bring seven lemons to the library.",
}
TALK = ("My neighbour keeps bees on the roof.", "Yesterday they followed him to the dentist.") * 3


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of other rates and formats, a talk longer than the systems' limit, a file that is not audio."""
    place = tmp_path_factory.mktemp("recordings")
    (place / "folder/deeper").mkdir(parents=True)
    voice = Prosody(pitch=50, range=50, rate=140, volume=80, word_gap=2)
    spoken, rates = zip(*speak([Request(text, "en-us+m7", voice) for text in (*SAID.values(), *TALK)]), strict=True)
    rate = rates[0]  # 22.05 kHz; the models want 16
    for name, wave in zip(SAID, spoken, strict=False):
        soundfile.write(place / name, wave, rate)
    soundfile.write(place / "talk.wav", np.concatenate(spoken[len(SAID) :]), rate)
    (place / "folder/broken.wav").write_bytes(b"RIFF, but no audio")
    pd.DataFrame({"path": ["talk.wav"], "note": "of any kind"}).to_csv(place / "list.csv", index=False)
    return place


def label(script: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "workflow_scripts" / script, *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def by_s1(finished: Path, recordings: Path) -> tuple[pd.DataFrame, subprocess.CompletedProcess[str]]:
    """All recordings, given as a clip, a folder and a list; predict.py's table and messages."""
    output = recordings / "out" / "s1.csv"
    named = [recordings / name for name in ("clip.wav", "folder", "list.csv")]
    done = label("predict.py", "--model", finished / "results/s1/model", "--audio", *named, "--output", output)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(output), done


@pytest.fixture(scope="module")
def by_vote(finished: Path, recordings: Path) -> tuple[pd.DataFrame, subprocess.CompletedProcess[str]]:
    """A clip and the talk, labelled by four members, one of them served by vLLM."""
    output = recordings / "out" / "vote.csv"
    named = [recordings / name for name in ("clip.wav", "talk.wav")]
    done = label("predict_ensemble.py", "--ensemble", finished / "results/vote", "--audio", *named, "--output", output)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(output), done


def test_the_recordings_are_not_in_the_corpus(finished: Path, recordings: Path) -> None:
    said = pd.read_parquet(finished / "results/corpus/references.parquet")["text"].str.lower()
    assert len(said) == 66 and not said.isin([text.lower().strip(".") for text in (*SAID.values(), *TALK)]).any()
    prepared = {
        path.name for path in (finished / "results").rglob("*.wav")
    }  # other tests put recordings beside the results
    assert len(prepared) == 66 and not prepared & {path.name for path in recordings.rglob("*")}


def test_a_system_labels_a_clip_a_folder_and_a_list(by_s1, recordings: Path) -> None:
    found, done = by_s1
    assert found.columns.tolist() == COLUMNS
    expected = [recordings / name for name in ("clip.wav", "folder/deeper/call.ogg", "folder/music.flac", "talk.wav")]
    assert sorted(found["path"].unique()) == sorted(map(str, expected))
    assert found["emotion"].tolist() == [EMOTIONS[letter] for letter in found["EmoClass"]]
    np.testing.assert_allclose(found[list(PROBABILITIES)].sum(axis=1), 1)
    likeliest = found[list(PROBABILITIES)].idxmax(axis=1).str.removeprefix("p_")
    assert found["EmoClass"].tolist() == likeliest.tolist()
    for row in found.itertuples():
        assert f"{row.emotion} {getattr(row, f'p_{row.EmoClass}'):.2f}" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_long_recording_is_cut_into_segments_with_times(by_s1, recordings: Path) -> None:
    found = by_s1[0].groupby("path")
    seconds = {path: soundfile.info(path).duration for path in found.groups}
    segments = found.get_group(str(recordings / "talk.wav"))
    assert seconds[str(recordings / "talk.wav")] > LONGEST and len(segments) > 1
    assert segments["start"].iloc[1:].tolist() == segments["end"].iloc[:-1].tolist()
    assert ((segments["end"] - segments["start"]) <= LONGEST).all()
    for path, rows in found:
        assert rows["start"].iloc[0] == 0
        assert rows["end"].iloc[-1] == pytest.approx(seconds[path], abs=1e-3)
        assert path.endswith("talk.wav") or len(rows) == 1


def test_an_unreadable_file_is_reported_and_listed(by_s1, by_vote, recordings: Path) -> None:
    broken = str(recordings / "folder/broken.wav")
    rejected = pd.read_csv(recordings / "out/s1.rejected.csv")
    assert rejected["path"].tolist() == [broken]
    assert f"rejected: {broken}: {rejected['reason'].item()}\n" in by_s1[1].stderr
    assert pd.read_csv(recordings / "out/vote.rejected.csv").empty  # that file was not among its inputs


def test_an_ensemble_predicts_and_votes(by_vote, by_s1, recordings: Path) -> None:
    found, done = by_vote
    members = ["baseline", "s1", "t1", "t2"]
    assert found.columns.tolist() == [*COLUMNS, "text", *[f"vote_{name}" for name in members], "tie"]
    same = by_s1[0][by_s1[0]["path"].isin(found["path"])].reset_index(drop=True)
    assert found[["path", "start", "end"]].equals(same[["path", "start", "end"]])
    assert found["vote_s1"].tolist() == same["EmoClass"].tolist()
    for row, s1 in zip(found.to_dict("records"), same.to_dict("records"), strict=True):
        votes = Counter(row[f"vote_{name}"] for name in members)
        most = {letter for letter, count in votes.items() if count == max(votes.values())}
        assert row["EmoClass"] in most and row["tie"] == (len(most) > 1)
        if row["tie"]:  # the configuration's rule: the tied label that the tie-breaker gives the highest probability
            assert row["EmoClass"] == max(most, key=lambda letter: s1[f"p_{letter}"])
        probability = row[f"p_{row['EmoClass']}"]
        assert f"{row['emotion']} {probability:.2f}" in done.stdout
    np.testing.assert_allclose(found[list(PROBABILITIES)].sum(axis=1), 1)


def test_recordings_are_transcribed(by_vote, recordings: Path) -> None:
    texts = by_vote[0].groupby("path")["text"].agg(" ".join).str.lower()
    assert "birthday" in texts[str(recordings / "clip.wav")]
    assert "roof" in texts[str(recordings / "talk.wav")] and "dentist" in texts[str(recordings / "talk.wav")]


def test_no_other_files_remain(by_s1, by_vote, recordings: Path) -> None:
    """No segments of audio beside the recordings, no log of a server that succeeded."""
    left = {path.name for path in (recordings / "out").iterdir()}
    assert left == {"s1.csv", "s1.rejected.csv", "vote.csv", "vote.rejected.csv"}
    assert len(list(recordings.rglob("*.wav"))) == 3
