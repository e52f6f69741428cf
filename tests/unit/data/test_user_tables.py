"""Tables as people have them: formats, names of columns, words, votes, parts of longer files, videos."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data import audio, segments
from abhinaya.data.corpora import prepare, user_tables, votes
from abhinaya.data.corpora.kinds import csv
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise

ROWS = [
    {"path": f"{split} ä.wav", "EmoClass": "happy", "split": split, "SpkrID": number, "EmoVal": 2.5}
    for number, split in enumerate(("train", "dev", "test"), 1)
]


def corpus(table: Path, **settings) -> csv.Csv:
    return config.parse(AnyCorpus, {"kind": "csv", "table": str(table), **settings})


def read(folder: Path, text: str, **settings) -> pd.DataFrame:
    (folder / "corpus.csv").write_text(text, encoding="utf-8")
    return csv.read(corpus(folder / "corpus.csv", **settings))


def as_text(separator: str, encoding: str) -> Callable[[pd.DataFrame, Path], None]:
    return lambda table, path: table.to_csv(path, sep=separator, index=False, encoding=encoding)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.csv", as_text(",", "utf-8")),
        ("t.csv", as_text(";", "utf-8-sig")),
        ("t.csv", as_text("\t", "utf-16")),  # Excel's "Unicode text"
        ("t.txt", as_text("\t", "utf-8")),
        ("t.tsv", as_text("\t", "utf-8-sig")),
        ("t.parquet", lambda table, path: table.to_parquet(path)),
        ("t.jsonl", lambda table, path: table.to_json(path, orient="records", lines=True)),
        ("t.json", lambda table, path: table.to_json(path, orient="records")),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, write) -> None:
    write(pd.DataFrame(ROWS), tmp_path / name)
    rows = csv.read(corpus(tmp_path / name))
    assert rows["FileName"].tolist() == [row["path"] for row in ROWS]
    assert rows["path"].tolist() == [str(tmp_path / row["path"]) for row in ROWS]
    assert rows["SpkrID"].tolist() == ["1", "2", "3"] and rows["EmoVal"].tolist() == [2.5] * 3
    assert rows["EmoClass"].tolist() == ["H"] * 3 and rows["role"].tolist() == ["train", "development", "test"]


def test_numbers_of_parquet_with_nulls_stay_whole(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"path": ["a.wav", "b.wav"], "speaker": pd.array([3, None], "Int64"), "vector": [[1.0], [2.0]]}
    )
    table.to_parquet(tmp_path / "t.parquet")
    read = user_tables.read(tmp_path / "t.parquet")
    assert read["speaker"].tolist()[0] == "3" and read["speaker"].isna().tolist() == [False, True]
    assert "vector" not in read


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("t.jsonl", '{"path": "a.wav"}\n{"path": ', ["row 2"]),
        ("t.jsonl", '{"path": "a.wav"}\n3', ["row 2"]),
        ("t.parquet", "no", ["Parquet"]),
        ("t.csv", "path;emotion\nä;A", ["t.csv", "UTF-8"]),
    ],
)
def test_unreadable_table_is_reported(tmp_path: Path, name: str, content: str, parts: list[str]) -> None:
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        csv.read(corpus(tmp_path / name))
    assert_names(str(caught.value), str(tmp_path / name), *parts)


def test_columns_of_other_tables_are_recognised(tmp_path: Path) -> None:
    audiofolder = read(tmp_path, "file_name,label,split,speaker_id,transcription\na.wav,sad,train,7,Oh\n")
    assert audiofolder.loc[0, ["FileName", "EmoClass", "SpkrID", "text"]].tolist() == ["a.wav", "S", "7", "Oh"]
    emobox = {"key": "x-1", "wav": "downloads/x/1.wav", "emo": "fearful", "split": "test"}
    (tmp_path / "t.jsonl").write_text(json.dumps(emobox))
    rows = csv.read(corpus(tmp_path / "t.jsonl"))
    assert rows.loc[0, ["FileName", "path", "EmoClass"]].tolist() == ["x-1", str(tmp_path / emobox["wav"]), "F"]


def test_our_names_precede_and_columns_can_be_named(tmp_path: Path) -> None:
    text = "path,EmoClass,emotion,mood,split\na.wav,A,H,S,train\n"
    assert read(tmp_path, text)["EmoClass"].tolist() == ["A"]
    assert read(tmp_path, text, columns={"EmoClass": "mood"})["EmoClass"].tolist() == ["S"]
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, columns={"EmoClass": "feeling"})
    assert_names(str(caught.value), "'feeling'", "corpus.columns", "mood")
    with pytest.raises(UserError) as caught:
        read(tmp_path, "path,label,emotion,split\na.wav,A,H,train\n")
    assert_names(str(caught.value), "'label'", "'emotion'", "corpus.columns")


# --- words


def test_labels_map_and_leave_out(tmp_path: Path) -> None:
    for name in "abcd":
        write_noise(tmp_path / f"{name}.wav", 0.2 + ord(name) / 1000)
    table = "path,EmoClass,split\na.wav,Excited,train\nb.wav,boredom,train\nc.wav,excited,dev\nd.wav,excited,test\n"
    (tmp_path / "corpus.csv").write_text(table)
    labels = {"excited": "H", "BOREDOM": None}
    prepared = prepare(corpus(tmp_path / "corpus.csv", labels=labels), 1, tmp_path)
    assert prepared.manifest["EmoClass"].tolist() == ["H"] * 3
    assert prepared.summary["left_out"] == {"boredom": 1} and prepared.rejected.empty


def test_all_unknown_words_are_listed_at_once(tmp_path: Path) -> None:
    table = "path,EmoClass,split\na.wav,excited,train\nb.wav,boredom,train\nc.wav,excited,dev\nd.wav,A,test\n"
    with pytest.raises(UserError) as caught:
        read(tmp_path, table)
    assert_names(str(caught.value), "corpus.csv", "'excited' of a.wav", "'boredom' of b.wav", "corpus.labels")


def test_known_word_can_be_mapped_to_another_letter(tmp_path: Path) -> None:
    table = "path,EmoClass,split\na.wav,joy,train\nb.wav,Other,train\n"
    assert read(tmp_path, table, labels={"joy": "U"})["EmoClass"].tolist() == ["U", "O"]


def test_classes_are_those_of_the_training_split(tmp_path: Path) -> None:
    for index, letter in enumerate("AHAHAS"):
        write_noise(tmp_path / f"{index}{letter}.wav", 0.2 + index / 100)
    splits = ("train", "train", "dev", "dev", "test", "test")
    pairs = enumerate(zip("AHAHAS", splits, strict=True))
    lines = [f"{index}{letter}.wav,{letter},{split}" for index, (letter, split) in pairs]
    (tmp_path / "corpus.csv").write_text("\n".join(["path,EmoClass,split", *lines]))
    manifest = prepare(corpus(tmp_path / "corpus.csv"), 1, tmp_path).manifest.set_index("FileName")
    assert manifest["split"].isna().to_dict() == {name: name == "5S.wav" for name in manifest.index}


# --- votes


def test_votes_are_columns_of_counts_of_words_or_of_shares(tmp_path: Path) -> None:
    letters = read(tmp_path, "path,split,votes_A,votes_H\na.wav,train,2,1\nb.wav,test,1,1\nc.wav,test,,\n")
    assert letters["EmoClass"].tolist()[:2] == ["A", "X"] and pd.isna(letters["EmoClass"][2])
    assert letters["votes_A"].tolist()[:2] == [2, 1]
    words = "path,split,angry,sad,happy,excited\na.wav,train,0.25,0,0.25,0.5\n"
    shares = read(tmp_path, words, labels={"excited": "H"})
    assert shares.loc[0, ["votes_A", "votes_H", "votes_S", "EmoClass"]].tolist() == [1, 3, 0, "H"]


def test_label_files_of_emo_superb(tmp_path: Path) -> None:
    table = (
        "FileName,Angry,Sad,Happy,Frustrated,EmoAct,SpkrID,Gender,Split_Set\n"
        "a.wav,0.33333,0.64583,0.0125,0.0125,3.5,1,Male,Train\n"  # one and two of three votes, smoothed by 0.05
        "b.wav,0.0125,0.0125,0.0125,0.9625,2,2,Female,Development\n"
    )
    rows = read(tmp_path, table)
    assert rows.loc[0, ["votes_A", "votes_S", "votes_H", "EmoClass"]].tolist() == [1, 2, 0, "S"]
    assert rows.loc[1, ["votes_A", "votes_S", "votes_H"]].tolist() == [0, 0, 0] and pd.isna(rows["EmoClass"][1])
    assert rows["role"].tolist() == ["train", "development"] and rows["SpkrID"].tolist() == ["1", "2"]


def test_two_columns_with_names_of_emotions_are_no_votes(tmp_path: Path) -> None:
    assert "votes_A" not in read(tmp_path, "path,EmoClass,split,angry,sad\na.wav,A,train,no,yes\n")


@given(st.lists(st.integers(0, 12), min_size=3, max_size=8).filter(lambda counts: 0 in counts and any(counts)))
def test_a_smoothed_distribution_gives_back_the_ratio_of_its_votes(counts: list[int]) -> None:
    shares = 0.95 * np.array(counts) / sum(counts) + 0.05 / len(counts)
    table = pd.DataFrame([shares.round(5).astype(str)], columns=votes.VOTES[: len(counts)]).assign(FileName="a")
    found = votes.read(table, {}, Path("t.csv")).iloc[0].to_numpy(float)
    np.testing.assert_allclose(found / found.sum(), np.array(counts) / sum(counts), atol=0.02)
    if sum(counts) <= 20:
        assert [Fraction(int(vote), int(found.sum())) for vote in found] == [Fraction(n, sum(counts)) for n in counts]


def test_vote_that_is_no_number_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, "path,EmoClass,split,angry,sad,happy\na.wav,A,train,no,1,2\n")
    assert_names(str(caught.value), "angry 'no' of a.wav")


# --- parts of longer files, videos, pointers


def test_part_of_a_longer_file_has_exactly_its_samples(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (8000, 2)).astype(np.int16)
    soundfile.write(tmp_path / "talk.wav", samples, 8000)
    (tmp_path / "corpus.csv").write_text(
        "path,EmoClass,split,start,end\ntalk.wav,A,train,0,0.25\ntalk.wav,A,dev,0.25,0.5\ntalk.wav,A,test,0.5,\n"
    )
    manifest = prepare(corpus(tmp_path / "corpus.csv"), 1, tmp_path / "audio").manifest.set_index("FileName")
    assert manifest["duration"].tolist() == [0.25, 0.25, 0.5]
    written, rate = soundfile.read(manifest.loc["talk.wav#0.25-0.5", "path"], dtype="int16")
    assert rate == 8000 and (written == samples[2000:4000]).all()


@pytest.mark.parametrize(("bounds", "reason"), [("0.4,0.2", "start < end"), ("0.1,3", "after the end")])
def test_part_outside_its_file_is_rejected(tmp_path: Path, bounds: str, reason: str) -> None:
    for index, name in enumerate("abcd"):
        write_noise(tmp_path / f"{name}.wav", 0.5 + index / 10)
    (tmp_path / "corpus.csv").write_text(
        f"path,EmoClass,split,start,end\na.wav,A,train,{bounds}\nb.wav,A,train,,\nc.wav,A,dev,,\nd.wav,A,test,,\n"
    )
    rejected = prepare(corpus(tmp_path / "corpus.csv", max_rejected=0.5), 1, tmp_path / "audio").rejected
    assert rejected["path"].tolist() == [str(tmp_path / "a.wav")] and reason in rejected["reason"].iloc[0]


def test_negative_start_is_reported(tmp_path: Path) -> None:
    table = tmp_path / "corpus.csv"
    table.write_text("path,EmoClass,split,start,end\na.wav,A,train,-1,0.2\n")
    with pytest.raises(UserError) as caught:
        csv.read(corpus(table))
    assert_names(str(caught.value), str(table), "start '-1'", "a.wav")


def write_video(path: Path, samples: np.ndarray, rate: int) -> None:
    """An MP4 with a picture track and stereo AAC sound."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]).astype(np.float32), "fltp", "stereo")
        frame.sample_rate = rate
        for packet in (*sound.encode(frame), *sound.encode(None)):
            container.mux(packet)


def test_sound_of_a_video_is_extracted(tmp_path: Path) -> None:
    rate = 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    write_video(tmp_path / "clip.mp4", tone, rate)
    segments.extract(tmp_path / "clip.mp4", tmp_path / "clip.wav")
    waveform = audio.read(tmp_path / "clip.wav")
    assert len(waveform) == pytest.approx(audio.RATE, abs=2100)  # AAC adds a frame
    spectrum = np.abs(np.fft.rfft(waveform[:16_000]))
    assert np.argmax(spectrum) == 440 and np.abs(waveform).max() == pytest.approx(0.5, abs=0.05)


def test_video_that_cannot_be_decoded_is_reported(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(UserError) as caught:
        segments.extract(tmp_path / "clip.mp4", tmp_path / "clip.wav")
    assert_names(str(caught.value), "clip.mp4: cannot be decoded")
    assert not (tmp_path / "clip.wav").exists()


def test_pointer_of_git_lfs_is_told_from_broken_audio(tmp_path: Path) -> None:
    pointer = f"version https://example.org/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    (tmp_path / "a.wav").write_text(pointer)
    (tmp_path / "b.wav").write_text("version of something else")
    with pytest.raises(UserError, match="git lfs pull"):
        audio.duration(tmp_path / "a.wav")
    with pytest.raises(UserError, match="cannot be decoded"):
        audio.duration(tmp_path / "b.wav")
