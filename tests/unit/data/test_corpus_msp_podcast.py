"""MSP-Podcast: the layouts of its releases, and invalid label files."""

import json
from pathlib import Path

import pandas as pd
import pytest

from abhinaya import config
from abhinaya.config.corpora import AnyCorpus
from abhinaya.data.corpora import fields, prepare
from abhinaya.data.corpora.kinds import msp_podcast
from abhinaya.data.corpora.kinds.msp_podcast import MspPodcast
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from support.msp_layout import DEVELOPMENT, HIDDEN_TESTS, TEST1, TRAIN, write

LABELS = "Labels/labels_consensus.csv"


def corpus(root: Path, **settings) -> MspPodcast:
    return config.parse(AnyCorpus, {"kind": "msp_podcast", "root": str(root), **settings})


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The challenge release; tests do not change it."""
    root = tmp_path_factory.mktemp("msp") / "MSP-PODCAST"
    write(root)
    return root


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"audio": "Audio"},
        {"audio": "Audios/Audio"},
        {"labels": "json"},
        {"votes": "columns"},
        {"votes": "json"},
        {"partitions": False},
    ],
    ids=str,
)
def test_all_layout_variants_give_the_same_table(tmp_path: Path, variant: dict) -> None:
    expected = write(tmp_path / "corpus", **variant).set_index("FileName")
    table = msp_podcast.read(corpus(tmp_path / "corpus")).set_index("FileName")
    assert table.index.is_unique
    labelled = table.loc[expected.index]
    for column in ("EmoClass", "Split_Set"):
        assert (labelled[column] == expected[column]).all()
    for column in ("SpkrID", "Gender"):
        known = expected[column] != "Unknown"
        assert (labelled[column].notna() == known).all() and known.any() and not known.all()
        assert (labelled[column][known] == expected[column][known]).all()
    for column in ("EmoAct", "EmoVal", "EmoDom"):
        assert (labelled[column] == expected[column].astype(float)).all()
    assert all(Path(path).is_file() for path in table["path"])
    hidden = table.drop(expected.index)
    assert len(hidden) == HIDDEN_TESTS
    assert (hidden["role"] == "test").all()
    assert hidden[["EmoClass", "SpkrID", "votes_A", "text"]].isna().all(axis=None)
    votes = labelled[[f"votes_{letter}" for letter in CLASSES]]
    assert (votes.sum(axis=1) == labelled["EmoClass"].map(lambda letter: 1 if letter == "O" else 4)).all()
    angry = votes[labelled["EmoClass"] == "A"].iloc[0]
    assert angry.to_dict() == dict.fromkeys(votes.columns, 0) | {"votes_A": 3, "votes_H": 1}
    assert labelled["text"].isna().sum() == (len(expected) + 4) // 5
    assert labelled["text"].iloc[1] == "So that’s number 1."


def test_only_the_needed_columns_of_a_table_are_kept(tmp_path: Path) -> None:
    """Errors in the others are still reported."""
    path = tmp_path / "labels.csv"
    path.write_text(" FileName ,Workers,EmoDetail\n a.wav , W1 , x ; Sad \n")
    table = fields.read_table(path, ("FileName",), columns=("FileName", "EmoDetail", "EmoClass_Major"))
    assert table.to_dict("records") == [{"FileName": " a.wav ", "EmoDetail": "x ; Sad"}]
    path.write_text("FileName,Workers,Workers\na.wav,W1,W2\n")
    with pytest.raises(UserError, match="duplicate column 'Workers'"):
        fields.read_table(path, ("FileName",), columns=("FileName",))


def test_without_individual_votes_there_are_no_vote_columns(tmp_path: Path) -> None:
    write(tmp_path / "corpus", votes="none")
    assert not [name for name in msp_podcast.read(corpus(tmp_path / "corpus")) if name.startswith("votes_")]


def test_speaker_names_are_unchanged(tmp_path: Path) -> None:
    expected = write(tmp_path / "corpus", speaker_style="Spkr")
    speakers = msp_podcast.read(corpus(tmp_path / "corpus"))["SpkrID"].iloc[: len(expected)]
    assert (speakers.fillna("Unknown") == expected["SpkrID"]).all()
    assert speakers.notna().any() and speakers.isna().any()


def test_missing_speakers_and_genders_are_read_from_their_file(tmp_path: Path) -> None:
    expected = write(tmp_path / "corpus")
    path = tmp_path / "corpus" / LABELS
    pd.read_csv(path, dtype=str).drop(columns=["SpkrID", "Gender"]).to_csv(path, index=False)
    table = msp_podcast.read(corpus(tmp_path / "corpus")).iloc[: len(expected)]
    for column in ("SpkrID", "Gender"):
        assert (table[column].fillna("Unknown") == expected[column]).all()


def test_a_release_without_speakers_votes_and_transcripts_is_read(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write(root, votes="none", partitions=False)
    (root / "Speaker_ids.txt").unlink()
    (root / "Transcripts").rename(root / "Texts")
    path = root / LABELS
    pd.read_csv(path, dtype=str)[["FileName", "EmoClass", "Split_Set"]].to_csv(path, index=False)
    prepared = prepare(corpus(root), 1, tmp_path)
    assert prepared.manifest[["SpkrID", "Gender", "EmoAct", "votes_A"]].isna().all(axis=None)
    assert prepared.references.empty
    assert prepared.summary["splits"]["train"]["speakers"] == 0


def test_missing_sets_are_read_from_the_partition_file(tmp_path: Path) -> None:
    expected = write(tmp_path / "corpus")
    path = tmp_path / "corpus" / LABELS
    pd.read_csv(path, dtype=str).drop(columns="Split_Set").to_csv(path, index=False)
    table = msp_podcast.read(corpus(tmp_path / "corpus")).set_index("FileName")
    assert (table.loc[expected["FileName"], "Split_Set"].to_numpy() == expected["Split_Set"].to_numpy()).all()
    assert table["Split_Set"].value_counts()["Test3"] == HIDDEN_TESTS


def test_the_challenge_gives_a_balanced_manifest(challenge: Path) -> None:
    prepared = prepare(corpus(challenge), seed=1, folder=challenge / "unused", workers=2)
    manifest, summary = prepared.manifest, prepared.summary
    assert list(manifest["FileName"]) == sorted(manifest["FileName"])
    assert len(manifest) == sum(TRAIN.values()) + sum(DEVELOPMENT.values()) + HIDDEN_TESTS
    counts = manifest.groupby(["split", "EmoClass"]).size()
    assert counts["train"].to_dict() == {letter: TRAIN[letter] for letter in CLASSES}
    assert counts["validation"].to_dict() == dict.fromkeys(CLASSES, DEVELOPMENT["F"])
    assert (manifest["split"] == "test").sum() == HIDDEN_TESTS
    untrained = manifest[manifest["EmoClass"].isin(["O", "X"])]
    assert len(untrained) == 11 and untrained["split"].isna().all()
    assert (manifest.loc[manifest["split"] == "validation", "Split_Set"] == "Development").all()
    assert manifest["duration"].to_numpy() == pytest.approx(0.12)
    assert set(prepared.references["FileName"]) <= set(manifest["FileName"])
    assert prepared.rejected.empty
    assert summary["splits"]["train"]["imbalance"] == TRAIN["N"] / TRAIN["D"]
    assert summary["splits"]["train"]["speakers"] == 7
    assert summary["splits"]["test"]["classes"] == {}
    assert summary["splits"]["unused"]["classes"]["X"] == TRAIN["X"] + DEVELOPMENT["X"]
    assert sum(part["utterances"] for part in summary["splits"].values()) == summary["utterances"] == len(manifest)


def test_release_2_uses_the_configured_sets(tmp_path: Path) -> None:
    write(tmp_path / "corpus", test1=True)
    manifest = prepare(corpus(tmp_path / "corpus"), 1, tmp_path).manifest
    assert manifest.loc[manifest["Split_Set"] == "Test1", "split"].isna().all()
    roles = {"Train": "train", "Development": "development", "Test1": "test"}
    manifest = prepare(corpus(tmp_path / "corpus", partitions=roles), 1, tmp_path).manifest
    test = manifest[manifest["split"] == "test"]
    assert test["EmoClass"].value_counts().to_dict() == {"N": TEST1["N"], "A": TEST1["A"]}  # not its X
    assert (test["Split_Set"] == "Test1").all()


def test_class_that_is_not_configured_is_kept_but_unused(challenge: Path) -> None:
    classes = [letter for letter in CLASSES if letter != "C"]
    prepared = prepare(corpus(challenge, classes=classes), 1, challenge)
    contempt = prepared.manifest[prepared.manifest["EmoClass"] == "C"]
    assert len(contempt) == TRAIN["C"] + DEVELOPMENT["C"] and contempt["split"].isna().all()
    assert prepared.summary["splits"]["unused"]["classes"]["C"] == len(contempt)


def rewrite(root: Path, change) -> None:
    """Apply `change` to the label table of the corpus at `root`."""
    path = root / LABELS
    change(pd.read_csv(path, dtype=str)).to_csv(path, index=False)


def no_corpus(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def no_audio(root: Path) -> None:
    (root / "Audios").rename(root / "Sounds")


def no_labels(root: Path) -> None:
    (root / LABELS).unlink()


def no_class_column(root: Path) -> None:
    rewrite(root, lambda table: table.drop(columns="EmoClass"))


def no_sets(root: Path) -> None:
    rewrite(root, lambda table: table.drop(columns="Split_Set"))
    (root / "Partitions.txt").unlink()


def unknown_letter(root: Path) -> None:
    rewrite(root, lambda table: table.assign(EmoClass=["Q", *table["EmoClass"][1:]]))


def repeated_name(root: Path) -> None:
    rewrite(root, lambda table: pd.concat([table, table.iloc[[3]]]))


def repeated_line(root: Path) -> None:
    path = root / "Partitions.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0])


def nameless(root: Path) -> None:
    rewrite(root, lambda table: table.assign(FileName=[*table["FileName"][:-1], None]))


def word_for_number(root: Path) -> None:
    rewrite(root, lambda table: table.assign(EmoVal=["high", *table["EmoVal"][1:]]))


def contradiction(root: Path) -> None:
    path = root / "Partitions.txt"
    path.write_text(path.read_text().replace("Train;", "Development;", 1))


def not_text(root: Path) -> None:
    (root / LABELS).write_bytes(b"\xff\xfe\x00\xd8" * 50)


def foreign_annotators(root: Path) -> None:
    (root / "Labels/labels_detailed.csv").write_text("FileName,EmoClass_Major\nother/a.wav,Happy\n")


def placeholder(root: Path) -> None:
    rewrite(root, lambda table: table.assign(EmoVal=["-99", *table["EmoVal"][1:]]))


def another_scale(root: Path) -> None:
    rewrite(root, lambda table: table.assign(EmoAct=["7.5", *table["EmoAct"][1:]]))


def second_consensus(root: Path) -> None:
    table = pd.read_csv(root / LABELS, dtype=str)
    content = {row.FileName: {"EmoClass": "AH"[row.EmoClass == "A"]} for row in table.itertuples()}
    (root / LABELS).with_suffix(".json").write_text(json.dumps(content))


def no_votes_column(root: Path) -> None:
    (root / "Labels/labels_detailed.csv").write_text("FileName,Worker\na.wav,W1\n")


def json_list(root: Path) -> None:
    (root / LABELS).unlink()
    (root / LABELS).with_suffix(".json").write_text(json.dumps({"a.wav": ["A"]}))


def repeated_key(root: Path) -> None:
    (root / LABELS).unlink()
    (root / LABELS).with_suffix(".json").write_text('{"a.wav": {"EmoClass": "A"}, "a.wav": {"EmoClass": "H"}}')


def detailed(root: Path, content: str) -> None:
    (root / "Labels/labels_detailed.csv").unlink()
    (root / "Labels/labels_detailed.json").write_text(content)


def repeated_key_of_annotations(root: Path) -> None:
    detailed(root, '{"a.wav": {}, "a.wav": {}}')


def word_for_annotation(root: Path) -> None:
    detailed(root, '{"0.wav": {"WORKER1": "Neutral"}}')


def number_for_word(root: Path) -> None:
    detailed(root, '{"0.wav": {"WORKER1": {"EmoClass_Major": 3}}}')


def cut_json(root: Path) -> None:
    detailed(root, '{"0.wav": {')


def commas_for_semicolons(root: Path) -> None:
    path = root / "Partitions.txt"
    path.write_text(path.read_text().replace(";", ","))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_corpus, "corpus.root"),
        (no_audio, "Audios or Audio.*corpus.root"),
        (no_labels, r"Labels/labels_consensus\.csv"),
        (no_class_column, r"labels_consensus\.csv: .*EmoClass"),
        (no_sets, "Split_Set.*Partitions.txt"),
        (unknown_letter, r"labels_consensus\.csv: EmoClass 'Q' of MSP-PODCAST_0000_0000\.wav"),
        (repeated_name, r"labels_consensus\.csv: .*MSP-PODCAST_0003_0003\.wav"),
        (repeated_line, r"Partitions\.txt: .*MSP-PODCAST_0000_0000\.wav"),
        (nameless, r"row 82: FileName"),
        (word_for_number, r"EmoVal 'high' of MSP-PODCAST_0000_0000\.wav"),
        (contradiction, r"MSP-PODCAST_0000_0000\.wav .*Development.*Train"),
        (not_text, r"labels_consensus\.csv: not UTF-8"),
        (no_votes_column, "EmoClass_Major or EmoDetail"),
        (foreign_annotators, r"labels_detailed\.csv: .*other/a\.wav"),
        (placeholder, r"EmoVal '-99' of MSP-PODCAST_0000_0000\.wav"),
        (another_scale, r"EmoAct '7\.5' of MSP-PODCAST_0000_0000\.wav"),
        (second_consensus, r"labels_consensus\.json: MSP-PODCAST_\d+_\d+\.wav differs"),
        (json_list, "not a mapping from file names"),
        (repeated_key, r"labels_consensus\.json: .*'a\.wav'"),
        (repeated_key_of_annotations, r"labels_detailed\.json: .*'a\.wav'"),
        (word_for_annotation, r"labels_detailed\.json: .*WORKER1 of 0\.wav.*EmoClass_Major"),
        (number_for_word, r"labels_detailed\.json: .*WORKER1 of 0\.wav.*EmoClass_Major"),
        (cut_json, r"labels_detailed\.json: not JSON \("),
        (commas_for_semicolons, r"Partitions\.txt: no line like `Train; MSP-PODCAST_0001_0008\.wav`"),
    ],
)
def test_invalid_corpus_is_reported(tmp_path: Path, damage, message: str) -> None:
    write(tmp_path / "corpus")
    damage(tmp_path / "corpus")
    with pytest.raises(UserError, match=message) as raised:
        msp_podcast.read(corpus(tmp_path / "corpus"))
    assert "\n" not in str(raised.value)


def test_missing_set_is_reported(challenge: Path) -> None:
    roles = {"Train": "train", "Validation": "development", "Test3": "test"}
    with pytest.raises(UserError, match=r"corpus\.partitions.*'Validation'.*Development, Test3, Train"):
        msp_podcast.read(corpus(challenge, partitions=roles))
