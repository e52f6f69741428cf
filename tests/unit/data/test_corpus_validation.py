"""The validation set: a balanced sample of development that depends only on seed and names, or a list of files."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abhinaya.data.corpora.validation_split import listed, sample
from abhinaya.labels import CLASSES, LETTERS
from abhinaya.runtime.errors import UserError

THREE = ["A", "H", "N"]


def table(counts: dict[str, int], role: str = "development") -> pd.DataFrame:
    rows = [(f"{role}_{letter}_{number}.wav", role, letter) for letter, n in counts.items() for number in range(n)]
    return pd.DataFrame(rows, columns=["FileName", "role", "EmoClass"])


@st.composite
def corpora(draw: st.DrawFn) -> pd.DataFrame:
    """Rows of all roles and letters, some unlabelled, each of `THREE` at least once in development."""
    roles = st.sampled_from(["train", "development", "test", None])
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=3, max_size=60, unique=True))
    rows = [(name, draw(roles), draw(st.sampled_from([*LETTERS, None]))) for name in names[3:]]
    rows += [(name, "development", letter) for name, letter in zip(names, THREE, strict=False)]
    return pd.DataFrame(rows, columns=["FileName", "role", "EmoClass"])


@given(corpora(), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_sample_is_balanced_reproducible_and_independent_of_row_order(rows: pd.DataFrame, seed: int, random) -> None:
    sampled = sample(rows, THREE, "smallest", seed)
    members = rows[rows["FileName"].isin(sampled)]
    candidates = rows[(rows["role"] == "development") & rows["EmoClass"].isin(THREE)]
    assert sampled.is_unique
    assert set(sampled) <= set(candidates["FileName"])
    smallest = candidates["EmoClass"].value_counts().min()
    assert members["EmoClass"].value_counts().to_dict() == dict.fromkeys(THREE, smallest)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert set(sample(rows.iloc[order], THREE, "smallest", seed)) == set(sampled)


@given(corpora(), st.integers(0, 100))
def test_missing_file_changes_at_most_one_utterance_of_its_class(rows: pd.DataFrame, seed: int) -> None:
    before = set(sample(rows, THREE, 1, seed))
    candidates = rows[(rows["role"] == "development") & (rows["EmoClass"] == "H")]
    if len(candidates) < 2:
        return
    removed = candidates["FileName"].iloc[0]
    after = set(sample(rows[rows["FileName"] != removed], THREE, 1, seed))
    assert len(before - after) <= 1
    assert before - after <= {removed}


def test_challenge_samples_326_of_each_class_depending_on_the_seed() -> None:
    development = table({letter: 326 + 50 * place for place, letter in enumerate(CLASSES)})
    one, two = (set(sample(development, list(CLASSES), 326, seed)) for seed in (1, 2))
    assert len(one) == len(two) == 2608
    assert {name for name in one if "_A_" in name} == {name for name in two if "_A_" in name}  # there are just 326
    assert len({name for name in one if "_U_" in name} & {name for name in two if "_U_" in name}) < 326


def test_sampling_is_uniform() -> None:
    development = table({"A": 10, "H": 5, "N": 5})
    sampled = pd.concat([sample(development, THREE, "smallest", seed) for seed in range(400)])
    angry = sampled[sampled.str.contains("_A_")].value_counts()
    assert len(angry) == 10
    assert angry.between(140, 260).all()  # 200 expected, standard deviation 10


def test_all_takes_every_labelled_development_utterance_of_the_classes() -> None:
    rows = pd.concat([table({"A": 3, "H": 1, "C": 4, "X": 2}), table({"A": 5}, "train")], ignore_index=True)
    assert len(sample(rows, THREE, "all", 0)) == 4


@pytest.mark.parametrize(("per_class", "few", "wanted"), [("smallest", 0, 1), (3, 2, 3)])
def test_too_few_utterances_of_a_class_are_reported(per_class: int | str, few: int, wanted: int) -> None:
    counts = {"A": 5, "H": 5, "N": few}
    with pytest.raises(UserError, match=rf"per_class: .* N \(neutral\) has {few} .*{wanted}"):
        sample(table(counts), THREE, per_class, 0)


def test_validation_set_is_the_files_of_the_list(tmp_path: Path) -> None:
    rows = table({"A": 4, "H": 3})
    (tmp_path / "list.txt").write_text("\ufeffdevelopment_A_2.wav\r\n\n  development_H_0.wav \n", encoding="utf-8")
    assert set(listed(rows, THREE, tmp_path / "list.txt")) == {"development_A_2.wav", "development_H_0.wav"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.wav", r"nowhere\.wav .*corpus"),
        ("train_A_0.wav", r"train_A_0\.wav .*development"),
        ("development_X_0.wav", r"development_X_0\.wav .*corpus\.classes"),
    ],
)
def test_invalid_list_is_reported(tmp_path: Path, name: str, message: str) -> None:
    rows = pd.concat([table({"A": 4, "X": 1}), table({"A": 2}, "train")], ignore_index=True)
    (tmp_path / "list.txt").write_text(f"development_A_0.wav\n{name}\n")
    with pytest.raises(UserError, match=message):
        listed(rows, THREE, tmp_path / "list.txt")


def test_missing_list_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"list\.txt.*corpus\.validation\.files"):
        listed(table({"A": 1}), THREE, tmp_path / "list.txt")
