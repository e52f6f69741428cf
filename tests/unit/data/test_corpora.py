"""The corpora as downloaded, each on a generated copy of its layout with its odd files."""

import shutil
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from abhinaya import config
from abhinaya.config.corpora import KINDS, AnyCorpus
from abhinaya.config.corpus import FolderCorpus
from abhinaya.data.corpora import prepare
from abhinaya.data.corpora.kinds import crema_d, emodb, ravdess, savee, tess
from abhinaya.runtime.errors import UserError
from support.messages import assert_names
from support.speech import write_noise


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("clip") / "clip.wav", 0.12, 8000)


def copies(clip: Path, root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, root / name)


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)


def corpus(kind: str, root: Path, **settings) -> FolderCorpus:
    return config.parse(AnyCorpus, {"kind": kind, "root": str(root), **settings}, "corpus")


def rows(kind: str, root: Path, **settings) -> pd.DataFrame:
    return corpus(kind, root, **settings).rows(1, root).set_index("FileName")


def speakers_of_splits(manifest: pd.DataFrame) -> dict[str, set[str]]:
    return manifest.groupby("split")["SpkrID"].agg(set).to_dict()


def test_kinds_are_found_by_their_modules() -> None:
    found = {"csv", "synthetic", "msp_podcast", "ravdess", "emodb", "crema_d", "iemocap", "meld", "msp_improv"}
    assert found | {"tess", "savee"} <= set(KINDS)
    assert all(section.__module__.rpartition(".")[2] == kind for kind, section in KINDS.items())


@pytest.mark.parametrize("kind", [kind for kind, section in KINDS.items() if issubclass(section, FolderCorpus)])
def test_empty_or_missing_folder_is_reported(kind: str, tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError) as caught:
            corpus(kind, root).rows(1, tmp_path)
        assert_names(str(caught.value), str(root), "corpus.root")


# --- EMO-DB


def test_emodb(clip: Path, tmp_path: Path) -> None:
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    names = [f"wav/{speaker}a01{letter}a.wav" for speaker, letter in product(speakers, "WLEAFTN")]
    copies(clip, tmp_path, *names, "wav/._03a01Wa.wav", "wav/readme.wav")
    prepared = prepare(corpus("emodb", tmp_path, split={"by": "speaker", "folds": 10, "fold": 2}), 1, tmp_path)
    manifest = prepared.manifest.set_index("FileName")
    letters = {"W": "A", "E": "D", "A": "F", "F": "H", "T": "S", "N": "N"}
    assert len(manifest) == 60 and prepared.summary["left_out"] == {"L": 10}
    assert {letter: manifest.loc[f"03a01{letter}a.wav", "EmoClass"] for letter in letters} == letters
    assert manifest.loc["03a01Wa.wav", "Gender"] == "Male" and manifest.loc["08a01Wa.wav", "Gender"] == "Female"
    assert speakers_of_splits(prepared.manifest)["test"] == {"08"} and len(prepared.other_folds) == 9
    assert prepared.references["text"].iloc[0] == emodb.SENTENCES["a01"]
    assert prepared.summary["leaks"]["speakers"] == {}


def test_labels_of_a_folder_can_be_changed(clip: Path, tmp_path: Path) -> None:
    copies(clip, tmp_path, "03a01La.wav", "03a01Wa.wav", "03a01Fa.wav")
    changed = rows("emodb", tmp_path, labels={"L": "N", "W": None})
    assert changed["EmoClass"].where(changed["EmoClass"].notna(), None).to_dict() == {
        "03a01La.wav": "N",
        "03a01Wa.wav": None,
        "03a01Fa.wav": "H",
    }
    assert changed["left_out"].notna().to_dict()["03a01Wa.wav"]


# --- TESS, SAVEE, RAVDESS


def test_tess_has_one_speaker_for_the_test(clip: Path, tmp_path: Path) -> None:
    pairs = list(product(("OAF", "YAF"), ("back", "dog", "bite", "calm", "door"), tess.LABELS))
    copies(clip, tmp_path, *(f"{s}_{e.title()}/{s}_{word}_{e}.wav" for s, word, e in pairs))
    (tmp_path / "OAF_Neutral/OAF_bite_neutral.wav").rename(tmp_path / "OAF_Neutral/OA_bite_neutral.wav")
    copies(clip, tmp_path / "TESS", "OAF_Neutral/OAF_dog_neutral.wav")  # the whole corpus is twice in some archives
    prepared = prepare(corpus("tess", tmp_path), 1, tmp_path)
    assert len(prepared.manifest) == 70
    manifest = prepared.manifest.set_index("FileName")
    assert manifest.loc["OA_bite_neutral.wav", "SpkrID"] == "OAF" and manifest.loc["YAF_dog_ps.wav", "EmoClass"] == "U"
    assert speakers_of_splits(prepared.manifest) == {"train": {"YAF"}, "validation": {"YAF"}, "test": {"OAF"}}
    assert list(prepared.summary["leaks"]["speakers"]) == ["train, validation"]


@pytest.mark.parametrize("pattern", ["AudioData/{}/{}.wav", "ALL/{}_{}.wav"])
def test_savee(clip: Path, tmp_path: Path, pattern: str) -> None:
    pairs = list(product(("DC", "JE", "JK", "KL"), ("a01", "d02", "f03", "h04", "n05", "sa06", "su07")))
    copies(clip, tmp_path, *(pattern.format(*pair) for pair in pairs), "Info/speaker.wav")
    found = rows("savee", tmp_path)
    assert len(found) == 28
    assert "".join(found.loc[found["SpkrID"] == "JE"].sort_index()["EmoClass"]) == "ADFHNSU"
    assert "JE_sa06.wav" in found.index and set(savee.LABELS.values()) == set("ADFHNSU")


def test_ravdess_has_the_published_folds(clip: Path, tmp_path: Path) -> None:
    emotions = [f"{number:02}" for number in range(1, 9)]
    names = [f"Actor_{a:02}/03-01-{e}-01-01-01-{a:02}.wav" for a, e in product(range(1, 25), emotions)]
    copies(clip, tmp_path, *names)
    prepared = prepare(corpus("ravdess", tmp_path, split={"folds": 6, "fold": 2}), 1, tmp_path)
    splits = speakers_of_splits(prepared.manifest)
    assert splits["test"] == {f"Actor_{actor:02}" for actor in ravdess.FOLDS[1]} and len(splits["train"]) == 16
    with pytest.raises(UserError, match="train_actors"):
        corpus("ravdess", tmp_path)


# --- CREMA-D


@pytest.fixture
def crema(clip: Path, tmp_path: Path) -> Path:
    actors = (1001, 1018, 1019, 1037, 1055, 1072, 1073, 1091)
    names = [f"{a}_{s}_{e.upper()}_XX.wav" for a, s, e in product(actors, ("DFA", "ITH"), crema_d.LABELS)]
    copies(clip, tmp_path / "AudioWAV", *names)
    text(tmp_path / "VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1091,29,Female,x,y\n")
    return tmp_path


def test_crema_d(crema: Path) -> None:
    found = rows("crema_d", crema)
    row = found.loc["1001_ITH_HAP_XX.wav"]
    assert row[["EmoClass", "SpkrID", "Gender", "fold"]].tolist() == ["H", "1001", "Male", 1]
    assert row["text"] == "I think I have a doctor's appointment" and "votes_A" not in found
    folds = found.groupby("SpkrID")["fold"].first().astype(int).tolist()
    assert folds == [1, 1, 2, 3, 4, 4, 5, 5]


def test_crema_d_votes_are_those_of_the_voice(crema: Path) -> None:
    ratings = [("1001_DFA_ANG_XX", 1, "A"), ("1001_DFA_ANG_XX", 1, "N"), ("1001_DFA_ANG_XX", 1, "N")]
    ratings += [("1001_DFA_ANG_XX", 2, "A"), ("1001_DFA_ANG_XX", 3, "A"), ("1001_DFA_DIS_XX", 1, "D")]
    ratings += [("1001_DFA_DIS_XX", 1, "A")]
    table = pd.DataFrame(ratings, columns=["clipName", "queryType", "respEmo"])
    table.to_csv(crema / "finishedResponses.csv")
    intended, perceived = rows("crema_d", crema), rows("crema_d", crema, truth="perceived")
    assert intended.loc["1001_DFA_ANG_XX.wav", ["EmoClass", "votes_A", "votes_N"]].tolist() == ["A", 1, 2]
    assert perceived["EmoClass"].dropna().to_dict() == {"1001_DFA_ANG_XX.wav": "N", "1001_DFA_DIS_XX.wav": "X"}
    (crema / "finishedResponses.csv").unlink()
    with pytest.raises(UserError, match=r"corpus\.truth"):
        rows("crema_d", crema, truth="perceived")


def test_crema_d_without_git_lfs_is_reported(crema: Path) -> None:
    pointer = "version https://example.org/spec/v1\noid sha256:0\nsize 1\n"
    for path in (crema / "AudioWAV").iterdir():
        path.write_text(pointer)
    with pytest.raises(UserError, match="git lfs pull"):
        prepare(corpus("crema_d", crema), 1, crema)


# --- IEMOCAP, MSP-IMPROV


@pytest.fixture
def iemocap(clip: Path, tmp_path: Path) -> Path:
    for session in range(1, 6):
        folder, lines, turns = tmp_path / f"release/Session{session}", ["% [START_TIME - END_TIME] TURN_NAME"], []
        dialogue = f"Ses{session:02}F_impro01"
        for number, (speaker, word) in enumerate(
            product("FM", ("neu", "exc", "hap", "ang", "sad", "fru", "xxx", "dis"))
        ):
            name = f"{dialogue}_{speaker}{number:03}"
            copies(clip, folder / "sentences/wav", f"{dialogue}/{name}.wav")
            lines += ["", f"[{number}.2901 - {number}.9]\t{name}\t{word}\t[2.5000, 3.0000, 3.5000]"]
            lines += ["C-E2:\tNeutral;\t()", "C-E3:\tExcited; Anger;\t(x)", "C-F1:\tSadness;\t()", "A-E3:\tval 3;\t()"]
            turns.append(f"{name} [00{number}.2901-00{number}.9000]: Caf\u00e9, number {number}.")
        text(folder / f"dialog/EmoEvaluation/{dialogue}.txt", "\n".join(lines))
        text(folder / f"dialog/EmoEvaluation/Categorical/{dialogue}_e1.txt", "not a summary")
        text(folder / f"dialog/EmoEvaluation/._{dialogue}.txt", "\0\0")
        text(folder / f"dialog/transcriptions/{dialogue}.txt", "\n".join(turns), "latin-1")
    return tmp_path


def test_iemocap(iemocap: Path) -> None:
    prepared = prepare(corpus("iemocap", iemocap), 1, iemocap)
    manifest = prepared.manifest.set_index("FileName")
    assert len(manifest) == 80 and manifest["split"].notna().sum() == 50  # fru, xxx and dis are in no split
    row = manifest.loc["Ses01F_impro01_M009.wav"]  # the F of Ses01F is not the speaker
    assert row[["EmoClass", "SpkrID", "Gender"]].tolist() == ["H", "Ses01M", "Male"]
    assert row[["EmoVal", "EmoAct", "EmoDom"]].tolist() == [2.5, 3.0, 3.5]
    assert row[["votes_N", "votes_H", "votes_A", "votes_S"]].tolist() == [1, 1, 1, 0]
    splits = {split: {name[:5] for name in names} for split, names in speakers_of_splits(prepared.manifest).items()}
    assert splits == {"test": {"Ses01"}, "validation": {"Ses02"}, "train": {"Ses03", "Ses04", "Ses05"}}
    assert "number 9" in prepared.references.set_index("FileName").loc["Ses01F_impro01_M009.wav", "text"]


def test_iemocap_without_excited(iemocap: Path) -> None:
    found = rows("iemocap", iemocap, labels={"exc": None})
    assert (found["EmoClass"] == "H").sum() == 10 and found["left_out"].value_counts().to_dict() == {"exc": 10}


@pytest.mark.parametrize("name", ["Evaluation.txt", "Evalution.txt"])
def test_msp_improv(clip: Path, tmp_path: Path, name: str) -> None:
    lines = []
    for session, sex, letter in product(range(1, 7), "FM", "AHNSX"):
        stem = f"IMPROV-S01{letter}-{sex}{session:02}-P-FM01"
        copies(clip, tmp_path, f"session{session}/S01{letter}/P/MSP-{stem}.wav")
        lines += [
            f"UTD-{stem}.avi; {letter}; A:2.4; V:3.2; D:NaN ; N:4.2;",
            "ann1; Angry; Frustrated; A:4; V:2; D:3; N:4;",
        ]
        lines += ["ann1; Angry; ; A:4; V:2; D:3; N:4;", "ann2; Other; ; A:4; V:2; D:3; N:4;", ""]
    text(tmp_path / name, "\n".join(lines))
    prepared = prepare(corpus("msp_improv", tmp_path), 1, tmp_path)
    row = prepared.manifest.set_index("FileName").loc["MSP-IMPROV-S01H-M03-P-FM01.wav"]
    assert row[["EmoClass", "SpkrID", "EmoVal", "votes_A", "votes_H"]].tolist() == ["H", "M03", 3.2, 1, 0]
    assert pd.isna(row["EmoDom"]) and speakers_of_splits(prepared.manifest)["test"] == {"F01", "M01"}


# --- MELD


def test_meld(clip: Path, tmp_path: Path) -> None:
    columns = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    places = {"train": "train/train_splits", "dev": "dev_splits_complete", "test": "test/output_repeated_splits_test"}
    for name, folder in places.items():
        lines = [f'{n},"Oh, well \u2026",Joey,{word},x,0,{n}' for n, word in enumerate(("joy", "anger", "neutral"))]
        text(tmp_path / f"{name}_sent_emo.csv", columns + "\n".join(lines), "utf-8-sig")
        copies(clip, tmp_path / folder, *(f"dia0_utt{n}.wav" for n in range(3)), "final_videos_testdia0_utt0.wav")
    prepared = prepare(corpus("meld", tmp_path), 1, tmp_path)
    manifest = prepared.manifest.set_index("FileName")
    assert manifest["split"].value_counts().to_dict() == {"train": 3, "validation": 3, "test": 3}
    assert manifest.loc["dev/dia0_utt0", ["EmoClass", "SpkrID", "Split_Set"]].tolist() == ["H", "Joey", "dev"]
    assert prepared.summary["leaks"]["speakers"]["train, test"] == ["Joey"]
    (tmp_path / places["dev"] / "dia0_utt1.wav").unlink()
    missing = rows("meld", tmp_path).loc["dev/dia0_utt1", "path"]
    assert missing.endswith("dev_splits_complete/dia0_utt1.mp4")
