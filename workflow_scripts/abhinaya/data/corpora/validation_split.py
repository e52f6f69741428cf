"""The validation set: an equal number of development utterances of each class, or the files of a list.

The paper selects the checkpoint on 8 x 326 development utterances, the authors' own draw. `sample` draws another set of
this size; `listed` uses theirs if the user has the list.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY
from abhinaya.labels import EMOTIONS
from abhinaya.runtime.errors import UserError


def sample(table: pd.DataFrame, classes: list[str], per_class: int | str, seed: int) -> pd.Series:
    """Sample `per_class` utterances of each class from the development utterances of `table`.

    An utterance's rank depends only on `seed` and its name, not on the order of the rows; a missing file changes at
    most one selected utterance of its class.

    Args:
        table: `FileName`, `role`, `EmoClass`.
        per_class: a number, `smallest` (as many as the rarest class has) or `all`.

    Returns:
        the selected `FileName`s.

    Raises:
        UserError: a class has too few development utterances, while others have some (except with `all`).
    """
    candidates = table[(table["role"] == "development") & table["EmoClass"].isin(classes)]
    if per_class == "all" or candidates.empty:
        return candidates[KEY]
    counts = candidates["EmoClass"].value_counts().reindex(classes, fill_value=0)
    rarest, available = counts.idxmin(), int(counts.min())
    required = max(available, 1) if per_class == "smallest" else int(per_class)
    if available < required:
        raise UserError(
            f"corpus.validation.per_class: class {rarest} ({EMOTIONS[rarest]}) has {available} development utterances "
            f"but {required} are required; add some, lower the number, or remove {rarest} from corpus.classes"
        )
    ranked = candidates.assign(rank=[_rank(name, seed) for name in candidates[KEY]]).sort_values("rank")
    return ranked.groupby("EmoClass").head(required)[KEY]


def listed(table: pd.DataFrame, classes: Iterable[str], path: str | Path) -> pd.Series:
    """The utterances in the text file `path`, one `FileName` per line.

    Raises:
        UserError: the list cannot be read, or it names a file that is not in the corpus, not a development utterance,
            or not of an emotion in `classes`.
    """
    lines = fields.read_lines(Path(path), fix="correct corpus.validation.files")
    names = pd.Index([line.strip() for line in lines], dtype=object).unique()
    rows = table.drop_duplicates(KEY).set_index(KEY).reindex(names)
    for wrong, what in (
        (~names.isin(table[KEY]), "is not in the corpus"),
        (rows["role"] != "development", "is not a development utterance"),
        (~rows["EmoClass"].isin(classes), "has an emotion that is not in corpus.classes"),
    ):
        if wrong.any():
            raise UserError(f"{path}: {names[wrong][0]} {what} ({wrong.sum()} such files); remove it from the list")
    return pd.Series(names, dtype=object)


def _rank(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogatepass"), digest_size=8).hexdigest()
