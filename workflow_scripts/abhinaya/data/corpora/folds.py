"""Folds of a corpus by speakers or sessions, or as the corpus gives them; a group is never in two folds."""

import re
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from abhinaya.config.corpus import Split
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError

COLUMNS = {"speaker": "SpkrID", "session": "session", "given": "fold"}
VALIDATION_PARTS = 5  # with two folds: one of so many parts of the training utterances is for validation


def assign(rows: pd.DataFrame, split: Split, seed: int) -> pd.Series:
    """The fold, 1 to `split.number`, of each labelled row; null for rows without a label.

    With as many groups as folds, each group is a fold, in the order of their names ("2" before "10"). With more, folds
    get similar numbers of utterances of each class (scikit-learn's `StratifiedGroupKFold`); this depends only on the
    seed, and on names, groups and labels of the rows, not on their order.

    Args:
        rows: `FileName`, `EmoClass`, and the column of the groups.

    Raises:
        UserError: the column is missing or empty for some rows; there are too few groups.
    """
    column, count = COLUMNS[split.by], split.number
    labelled = rows[rows["EmoClass"].notna()].sort_values(KEY)
    groups = labelled.reindex(columns=[column])[column].astype(object)
    if groups.isna().any():
        name = labelled.loc[groups.isna(), KEY].iloc[0]
        raise UserError(
            f"corpus.split.by: {split.by}: {groups.isna().sum()} of {len(groups)} utterances have no {column}, e.g. "
            f"{name}; fill it in, or choose another `by`"
        )
    names = sorted(groups.unique(), key=_natural)
    if len(names) < count or (split.by == "given" and len(names) != count):
        raise UserError(f"corpus.split.folds: {count}, but the corpus has {len(names)} values of {column}; change it")
    if len(names) == count:
        fold_of = {name: number for number, name in enumerate(names, 1)}
        return groups.map(fold_of).astype(int).reindex(rows.index)
    folds = pd.Series(0, index=labelled.index)
    for number, part in enumerate(_parts(count, seed, labelled, groups), 1):
        folds.iloc[part] = number
    return folds.reindex(rows.index)


def roles(rows: pd.DataFrame, folds: pd.Series, split: Split, fold: int, seed: int) -> pd.Series:
    """`train`, `development` or `test` for each row when `fold` is the test fold; null for rows without a fold.

    The next fold is for validation (after the last comes the first). With two folds, a fifth of the training
    utterances is, of whole groups if there are several.
    """
    assigned = pd.Series("train", index=rows.index, dtype=object).where(folds.notna())
    assigned[folds == fold] = "test"
    if split.number > 2:
        assigned[folds == fold % split.number + 1] = "development"
        return assigned
    training = rows[assigned == "train"].sort_values(KEY)
    groups = training[COLUMNS["speaker" if split.by == "given" else split.by]].fillna("")
    count = min(VALIDATION_PARTS, groups.nunique()) if groups.nunique() > 1 else VALIDATION_PARTS
    chosen = _parts(count, seed, training, groups)[0]
    assigned[training.index[chosen]] = "development"
    return assigned


def _parts(count: int, seed: int, rows: pd.DataFrame, groups: pd.Series) -> list[np.ndarray]:
    """The positions of the rows in each of `count` parts: of whole groups if there are enough, else of utterances."""
    largest = int(rows["EmoClass"].value_counts().max()) if len(rows) else 0
    if largest < count:
        raise UserError(f"corpus.split: no class has {count} utterances to divide into {count} parts; lower folds")
    kind = StratifiedGroupKFold if groups.nunique() >= count else StratifiedKFold
    splitter = kind(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # other classes may have fewer
        return [part for _, part in splitter.split(rows, rows["EmoClass"], groups)]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts "2" before "10"."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", str(name))]
