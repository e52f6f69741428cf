"""The validation set: the same number of development utterances of each class, or exactly the files of a list.

The challenge's baseline and the paper select checkpoints on 8 x 326 development utterances.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from abhinaya.data.schemas import KEY
from abhinaya.labels import EMOTIONS
from abhinaya.runtime.errors import UserError


def draw(table: pd.DataFrame, classes: list[str], per_class: int | str, seed: int) -> pd.Series:
    """Draw `per_class` utterances of each class from the development utterances of `table`.

    An utterance's place in the draw depends on `seed` and its own name alone: not on the order of the rows, and a file
    that is lost to damage changes one place in its own class, no other.

    Args:
        table: `FileName`, `role`, `EmoClass`.
        per_class: a number, `smallest` (as many as the rarest class has) or `all`.

    Returns:
        the drawn `FileName`s.

    Raises:
        UserError: a class has too few development utterances, while others have some (`all` takes what there is).
    """
    candidates = table[(table["role"] == "development") & table["EmoClass"].isin(classes)]
    if per_class == "all" or candidates.empty:
        return candidates[KEY]
    counts = candidates["EmoClass"].value_counts().reindex(classes, fill_value=0)
    rarest, available = counts.idxmin(), int(counts.min())
    wanted = max(available, 1) if per_class == "smallest" else int(per_class)
    if available < wanted:
        raise UserError(
            f"corpus.validation.per_class: class {rarest} ({EMOTIONS[rarest]}) has {available} development utterances "
            f"of the {wanted} to be drawn; add some, ask for fewer, or take {rarest} out of corpus.classes"
        )
    places = candidates.assign(rank=[_rank(name, seed) for name in candidates[KEY]]).sort_values("rank")
    return places.groupby("EmoClass").head(wanted)[KEY]


def listed(table: pd.DataFrame, classes: Iterable[str], path: str | Path) -> pd.Series:
    """The utterances that the text file `path` lists, one `FileName` a line.

    Raises:
        UserError: the list is absent, or names a file that the corpus lacks, that is no development utterance, or
            whose emotion is not among `classes`.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        raise UserError(f"{path}: no such list; correct corpus.validation.files") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; correct corpus.validation.files") from None
    names = pd.Index([line.strip() for line in lines if line.strip()], dtype=object).unique()
    found = table.drop_duplicates(KEY).set_index(KEY).reindex(names)
    for wrong, what in (
        (~names.isin(table[KEY]), "is not in the corpus"),
        (found["role"] != "development", "is no development utterance"),
        (~found["EmoClass"].isin(classes), "has no emotion of corpus.classes"),
    ):
        if wrong.any():
            raise UserError(f"{path}: {names[wrong][0]} {what} ({int(wrong.sum())} such); take it out of the list")
    return pd.Series(names, dtype=object)


def _rank(name: str, seed: int) -> str:
    return hashlib.blake2b(f"{seed}/{name}".encode(errors="surrogatepass"), digest_size=8).hexdigest()
