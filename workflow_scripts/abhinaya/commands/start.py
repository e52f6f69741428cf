"""`abhinaya init`: a configuration for the recordings that somebody has."""

import hashlib
from pathlib import Path

import pandas as pd
import yaml
from rich.console import Console

from abhinaya import config
from abhinaya.config.corpora import KINDS, AnyCorpus
from abhinaya.config.corpus import Corpus
from abhinaya.data import corpora, segments
from abhinaya.data.corpora import fields, leaks, user_tables
from abhinaya.data.corpora.summary import as_table, summarise
from abhinaya.data.schemas import KEY, MANIFEST
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import write_csv, write_text

SEED = 1234
GENERAL = ("csv", "synthetic")
SPECIAL = {"ravdess": {"split": {"folds": 6}}}  # settings that a kind needs besides `root`
AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", *segments.CONTAINERS)
MIN_SPEAKERS = 5  # as many as `split: {by: speaker}` has folds
HEADER = "# Written by `abhinaya init`. docs/configuration.md explains every key.\n\n"
SYSTEM = """
systems:
  wavlm:
    family: speech
    encoder: {model: microsoft/wavlm-base-plus} # downloaded once; freeze: all is faster
    loss: {name: wfl}
    training: {epochs: 10, batch_size: 4, effective_batch: 32}

transcripts: # for the report's analysis
  model: small # Whisper, downloaded once
  language: null # detected; a code such as de is faster
"""


def init(source: Path, output: Path) -> None:
    """Write `mine.yaml` and, for recordings without a table, `corpus.csv`; print counts, leaks and the command to run.

    Raises:
        UserError: `source` is missing or has no recordings with known emotions; a file to write exists.
    """
    for name in ("mine.yaml", "corpus.csv"):
        if (output / name).exists():
            raise UserError(f"{output / name}: exists and is not overwritten; move it, or give another --output")
    if not source.exists():
        raise UserError(f"{source}: not found; give a folder of recordings or a table")
    known = _known(source.resolve()) if source.is_dir() else None
    settings, notes = known or (_of_folder if source.is_dir() else _of_table)(source.resolve(), output)
    corpus = config.parse(AnyCorpus, settings, "corpus")
    lines = _report(corpus)
    text = yaml.safe_dump({"corpus": settings}, sort_keys=False, allow_unicode=True)
    write_text(
        f"# Written by `abhinaya init`. docs/configuration.md explains every key.\n\n{text}{SYSTEM}",
        output / "mine.yaml",
    )
    for line in (*notes, *lines):
        print(line)
    folder = output.resolve()
    print(f"\nNext: snakemake --configfile {folder / 'mine.yaml'} --directory {folder / 'run'}")


def _known(folder: Path) -> tuple[dict, list[str]] | None:
    """The settings of the known corpus in `folder` with the most recordings."""
    found = []
    for kind in KINDS.keys() - set(GENERAL):
        settings = {"kind": kind, "root": str(folder), **SPECIAL.get(kind, {})}
        try:
            rows, _ = corpora.read(config.parse(AnyCorpus, settings), SEED, Path(), texts=False)
        except UserError:
            continue
        found.append((int(rows["path"].map(lambda path: Path(path).is_file()).sum()), kind, settings))
    count, kind, settings = max(found, default=(0, "", {}), key=lambda entry: entry[:2])
    return (settings, [f"{folder}: {kind}, {count:,} recordings"]) if count else None


def _of_folder(folder: Path, output: Path) -> tuple[dict, list[str]]:
    """Recordings whose emotion is the name of a folder or a part of the file's name; writes `corpus.csv`."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO and path.name[0] != "."]
    rows = [{"path": str(path), **_named(path.relative_to(folder))} for path in paths]
    table = pd.DataFrame(rows, columns=["path", "EmoClass", "SpkrID"])
    labelled = table[table["EmoClass"].notna()].reset_index(drop=True)
    if labelled.empty:
        raise UserError(
            f"{folder}: {len(table)} recordings, none in a folder or with a name of an emotion such as angry; "
            "write a table with the columns path and emotion, and give it instead"
        )
    notes = [f"{folder}: {len(labelled):,} recordings; {len(table) - len(labelled):,} without an emotion left out"]
    return _written(labelled, output, notes)


def _named(path: Path) -> dict[str, str | None]:
    """The emotion and the speaker of a recording, from its place: the folder that is no emotion is the speaker's."""
    folders = pd.Series(path.parts[:-1], dtype=object)
    letters = fields.emotions(folders.where(folders.str.len() > 1)) if len(folders) else folders
    words = pd.Series([word for word in path.stem.replace("-", "_").replace(" ", "_").split("_") if len(word) > 2])
    named = [*letters.dropna(), *fields.emotions(words.astype(object)).dropna()]
    speakers = folders[letters.isna()]
    return {"EmoClass": named[0] if named else None, "SpkrID": speakers.iloc[-1] if len(speakers) else None}


def _of_table(source: Path, output: Path) -> tuple[dict, list[str]]:
    """A table as it is, without words that are no emotion; a copy with splits if it has neither these nor speakers."""
    table = user_tables.renamed(user_tables.read(source), {}, ("path", "EmoClass"), source)
    for column in ("path", "EmoClass"):
        if column not in table:
            raise UserError(f"{source}: no column for {column}; rename one, or set corpus.columns in a configuration")
    words = table["EmoClass"].dropna()
    unknown = sorted(words[fields.emotions(words).isna()].unique())
    notes = [f"{source}: {len(table):,} rows"]
    if unknown:
        notes.append(f"left out: {', '.join(unknown)}; give each a letter under `labels` in mine.yaml to use it")
    labels = {"labels": dict.fromkeys(unknown)} if unknown else {}
    if "split" in table:
        return {"kind": "csv", "table": str(source), **labels}, notes
    if "SpkrID" in table and table["SpkrID"].nunique() >= MIN_SPEAKERS and table["SpkrID"].notna().all():
        return {"kind": "csv", "table": str(source), "split": {"by": "speaker"}, **labels}, notes
    paths = [str(Path(source.parent, path)) for path in table["path"]]
    settings, notes = _written(table.assign(path=paths), output, notes)
    return settings | labels, notes


def _written(table: pd.DataFrame, output: Path, notes: list[str]) -> tuple[dict, list[str]]:
    """Write `corpus.csv`: with speakers for `split: {by: speaker}`, else with a random split."""
    settings = {"kind": "csv", "table": str((output / "corpus.csv").resolve())}
    if "SpkrID" in table and table["SpkrID"].notna().all() and table["SpkrID"].nunique() >= MIN_SPEAKERS:
        settings["split"] = {"by": "speaker"}
    else:
        table = table.assign(split=table["path"].map(_random_split))
        notes.append(f"fewer than {MIN_SPEAKERS} known speakers: the splits are random and may share speakers")
    write_csv(table, output / "corpus.csv")
    return settings, notes


def _random_split(path: str) -> str:
    """Seven tenths for training; depends only on the name."""
    number = int(hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest(), 16) % 20
    return "train" if number < 14 else "validation" if number < 17 else "test"


def _report(corpus: Corpus) -> list[str]:
    """Print the counts of the splits; return what is missing, left out or in two splits. No audio is decoded."""
    rows, left_out = corpora.read(corpus, SEED, Path(), texts=False)
    rows = corpora.with_folds(rows, corpus.split, SEED)
    present = rows["path"].map(lambda path: Path(path).is_file())
    valid = rows[present].sort_values(KEY, ignore_index=True)
    manifest = valid.assign(split=corpora.splits(corpus, SEED, rows, valid)).reindex(columns=MANIFEST.names)
    Console().print(as_table(summarise(manifest, int((~present).sum()))))
    lines = [f"left out: {count:,} {word}" for word, count in left_out.items()]
    if not present.all():
        lines.append(f"{(~present).sum():,} recordings are missing, e.g. {rows.loc[~present, 'path'].iloc[0]}")
    return [*lines, *(f"warning: {line}" for line in leaks.sentences(leaks.find(manifest)))]
