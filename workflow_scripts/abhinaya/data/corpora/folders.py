"""Corpora as downloaded: listing their recordings, and their own names of emotions."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from abhinaya.config.corpus import FolderCorpus
from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError


def files(root: Path, suffixes: tuple[str, ...] = (".wav", ".flac")) -> dict[str, Path]:
    """The files below `root` by name without suffix; of several with the same name the first in order of paths.

    Some copies on the web contain the whole corpus twice. Names that begin with a dot are not listed (macOS archives).
    """
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found.setdefault(path.stem, path)
    return found


def recordings(root: Path, name: str, example: str) -> pd.DataFrame:
    """The audio files below `root` whose name without suffix matches the regular expression `name`, in any case.

    Args:
        example: such a name, for the message.

    Returns:
        `FileName`, `path`, and a column for each named group.

    Raises:
        UserError: there are none.
    """
    paths = pd.Series(files(root), dtype=object)
    stems = pd.Series(paths.index, index=paths.index, dtype=object)
    table = stems.str.extract(f"(?i)^{name}$").assign(path=paths.map(str))
    table = table.dropna(how="all", subset=[column for column in table if column != "path"])
    if table.empty:
        raise UserError(f"{root}: no recordings such as {example} found; correct corpus.root")
    return table.assign(**{KEY: table["path"].map(lambda path: Path(path).name)}).reset_index(drop=True)


def labelled(
    table: pd.DataFrame, words: pd.Series, own: Mapping[str, str | None], corpus: FolderCorpus, source: Path
) -> pd.DataFrame:
    """`table` with `EmoClass` and `left_out`, from the corpus's names of emotions.

    Args:
        own: the letter of each name of the corpus, None if it is left out; `corpus.labels` precedes.

    Raises:
        UserError: a name is unknown.
    """
    labels = {**own, **{word.lower(): letter for word, letter in corpus.labels.items()}}
    words = words.astype(object).rename("EmoClass")
    letters = fields.letters(words, table[KEY], source, labels)
    return table.assign(EmoClass=letters, left_out=fields.left_out(words, labels))
