"""A user's table, in the formats that people have: CSV (also of Excel), TSV, Parquet, lines of JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from abhinaya.data.corpora import fields
from abhinaya.data.schemas import KEY
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import existing, parquet_errors

# Other names of our columns, in lower case: of Hugging Face's audiofolder, EmoBox, EMO-SUPERB and common usage.
ALIASES = {
    KEY: ("key",),
    "path": ("file_name", "filename", "file", "filepath", "file_path", "wav", "wav_path", "audio", "audio_path"),
    "EmoClass": ("emotion", "label", "emo"),
    "split": ("set", "split_set", "partition", "subset"),
    "SpkrID": ("speaker", "speaker_id", "spk", "spk_id", "speakerid"),
    "Gender": ("sex",),
    "text": ("transcript", "transcription", "sentence"),
    "start": ("start_time",),
    "end": ("end_time",),
    "session": ("session_id",),
    "fold": (),
}


def read(path: Path) -> pd.DataFrame:
    """The table in `path` as strings, stripped, empty fields as NaN.

    A text file may be UTF-8 or UTF-16 with a byte order mark, separated by comma, semicolon or tab.

    Raises:
        UserError: the file is missing or not a table.
    """
    match path.suffix.lower():
        case ".parquet":
            return _parquet(path)
        case ".jsonl" | ".ndjson" | ".json":
            return _json(path)
        case ".tsv":
            return fields.read_table(path, (), separator="\t")
        case _:
            return fields.read_table(path, (), separator=None)


def renamed(table: pd.DataFrame, columns: Mapping[str, str], required: Sequence[str], source: Path) -> pd.DataFrame:
    """`table` with our names of columns: those that `columns` gives (ours to theirs), else ours, else an alias.

    Raises:
        UserError: a column of `columns` is not in the table; two columns may be the same `required` one.
    """
    names: dict[str, str] = {}
    for ours, theirs in columns.items():
        if theirs not in table:
            raise UserError(f"{source}: column {theirs!r} of corpus.columns is missing; it has {', '.join(table)}")
        names[ours] = theirs
    lower = {name: name.lower() for name in table.columns if name not in names.values()}
    for ours, others in ALIASES.items():
        if ours in names or ours in table:
            continue
        same = [name for name, low in lower.items() if low == ours.lower()]
        found = same or [name for other in others for name, low in lower.items() if low == other]
        if len(found) > 1 and ours in required:
            raise UserError(
                f"{source}: {ours} may be {' or '.join(map(repr, found))}; choose by corpus.columns: "
                f"{{{ours}: {found[0]}}}"
            )
        if found:
            names[ours] = found[0]
    return table.assign(**{ours: table[theirs] for ours, theirs in names.items()})


def _parquet(path: Path) -> pd.DataFrame:
    with parquet_errors(existing(path)):
        arrow = pq.read_table(path)
    texts = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        try:
            texts[name] = column.cast(pa.string()).to_pandas().astype(object)  # 3, not 3.0, also with nulls
        except (pa.ArrowException, NotImplementedError):
            continue  # an embedding, or audio inside the file: not text
    return fields.stripped(pd.DataFrame(texts, index=range(len(arrow))))


def _json(path: Path) -> pd.DataFrame:
    """An object a line, or a list of objects."""
    lines = fields.read_lines(path, fix="correct corpus.table")
    rows = []
    try:
        if lines and lines[0].lstrip().startswith("["):
            rows = json.loads("\n".join(lines))
        else:
            for line in lines:
                rows.append(json.loads(line))
    except ValueError as error:
        raise UserError(f"{path}: row {len(rows) + 1} is not JSON ({error}); fix it") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is not a JSON object; fix it")
    texts = [{key: str(value) for key, value in row.items() if value is not None} for row in rows]
    return fields.stripped(pd.DataFrame(texts, dtype=object))
