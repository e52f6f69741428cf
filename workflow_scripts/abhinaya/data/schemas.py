"""Tables passed between the stages: columns, types, reading and validation.

One row per utterance, keyed by `FileName`.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from abhinaya.labels import CLASSES, INDEX, LETTERS
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import existing, parquet_errors, write_csv, write_parquet

KEY = "FileName"
SPLITS = ("train", "validation", "test")
DEVELOPMENT = "development"  # labelled development utterances outside the validation set, if a fusion is fitted on them
PREDICTED = ("validation", "test", DEVELOPMENT)
VOTES = tuple(f"votes_{letter}" for letter in CLASSES)
PROBABILITIES = tuple(f"p_{letter}" for letter in CLASSES)
MANIFEST = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        ("Split_Set", pa.string()),  # the corpus's own name of the set
        ("split", pa.string()),  # train, validation, test, development; null where unused
        ("EmoClass", pa.string()),  # one letter; null when unknown
        ("SpkrID", pa.string()),
        ("Gender", pa.string()),
        ("EmoAct", pa.float64()),
        ("EmoVal", pa.float64()),
        ("EmoDom", pa.float64()),
        ("duration", pa.float64()),  # seconds
        *[(column, pa.int64()) for column in VOTES],  # individual annotators' votes, where the corpus has them
    ]
)
TRANSCRIPTS = pa.schema(
    [
        pa.field(KEY, pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # "" for silence
        ("language", pa.string()),
        ("avg_logprob", pa.float64()),
        ("no_speech_prob", pa.float64()),
        ("compression_ratio", pa.float64()),
    ]
)
VOTE = "vote_"  # + member: the column with the member's letter in an ensemble's predictions
CLOSE = 0.02  # probabilities that differ by less may be equal before rounding
MAX_OTHER_LABELS = 0.01  # of the rows
PREDICTIONS = (KEY, "Split", "EmoClass", *PROBABILITIES)


def read_parquet(path: str | Path, schema: pa.Schema, required: tuple[str, ...]) -> pd.DataFrame:
    """Read a table whose `required` columns are present; further columns of `schema` are filled with nulls.

    Raises:
        UserError: the file is missing or not Parquet; a required column is missing, of the wrong type or null; a
            `FileName` is duplicated.
    """
    path = existing(path)
    with parquet_errors(path):
        arrow = pq.read_table(path, columns=[name for name in pq.read_schema(path).names if name in schema.names])
    check_columns(arrow.column_names, required, path)
    for field in schema:
        if field.name not in arrow.column_names:
            arrow = arrow.append_column(field, pa.nulls(len(arrow), field.type))
    try:
        arrow = arrow.select(schema.names).cast(schema.remove_metadata())
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{path}: a column has the wrong type or null values ({error}); expected columns: {schema.names}"
        ) from None
    table = arrow.to_pandas()
    check_unique(table, path)
    return table


def check_columns(columns: Collection[str], required: Sequence[str], source: str | Path) -> None:
    """Raise a `UserError` that names the `required` columns that are missing from `columns`."""
    missing = [name for name in required if name not in columns]
    if missing:
        raise UserError(f"{source}: column {', '.join(missing)} is missing; required: {', '.join(required)}")


def check_unique(table: pd.DataFrame, source: str | Path) -> None:
    """Raise a `UserError` that names the first duplicate `FileName`."""
    duplicates = table[KEY][table[KEY].duplicated()]
    if len(duplicates):
        raise UserError(f"{source}: duplicate {KEY} {duplicates.iloc[0]!r} ({len(duplicates)} repeated); keep one")


def check_values(column: pd.Series, wrong: pd.Series, names: pd.Series, source: str | Path, valid: str) -> None:
    """Raise a `UserError` that names the first `wrong` value of `column` and its `FileName` in `names`.

    Args:
        wrong: bool, with the index of `column` and `names`.
        valid: the valid values, as text.
    """
    if wrong.any():
        raise UserError(
            f"{source}: {column.name} {column[wrong].iloc[0]!r} of {names[wrong].iloc[0]} is invalid; valid: {valid}"
        )


def write_manifest(manifest: pd.DataFrame, target: str | Path, metadata: dict | None = None) -> None:
    write_parquet(manifest, MANIFEST, target, metadata)


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read and check a manifest (columns: `MANIFEST`).

    Raises:
        UserError: as `read_parquet`, or a split or emotion letter is unknown.
    """
    table = read_parquet(path, MANIFEST, required=(KEY, "path", "split", "EmoClass", "duration"))
    for column, allowed in (("split", (*SPLITS, DEVELOPMENT)), ("EmoClass", LETTERS)):
        wrong = table[column].notna() & ~table[column].isin(allowed)
        check_values(table[column], wrong, table[KEY], path, ", ".join(allowed))
    return table


def read_transcripts(path: str | Path) -> pd.DataFrame:
    return read_parquet(path, TRANSCRIPTS, required=(KEY, "text"))


def write_predictions(predictions: pd.DataFrame, target: str | Path) -> None:
    """Write a `preds.csv`, sorted by `FileName`; extra columns (an ensemble's votes) come last.

    Raises:
        UserError: as `check_probabilities`.
    """
    check_probabilities(predictions, target)
    extra = [column for column in predictions.columns if column not in PREDICTIONS]
    write_csv(predictions[[*PREDICTIONS, *extra]].sort_values(KEY), target)


def read_predictions(path: str | Path, labels_may_differ: bool = False) -> pd.DataFrame:
    """Read and check a `preds.csv` (columns: `PREDICTIONS`, then optional ones).

    Args:
        labels_may_differ: accept labels that are not the most probable class. Always accepted of a vote.

    Raises:
        UserError: the file is missing, the header is wrong, a `FileName` is duplicated, a letter or split is unknown,
            probabilities are outside [0, 1] or do not sum to 1 (tolerance 1e-3), or as `check_labels`.
    """
    try:
        types = {KEY: str, "Split": str, "EmoClass": str}
        table = pd.read_csv(existing(path), dtype=types, keep_default_na=False, float_precision="round_trip")
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).splitlines()[0]}); recreate it") from None
    if tuple(table.columns[: len(PREDICTIONS)]) != PREDICTIONS:
        raise UserError(f"{path}: invalid header {','.join(table.columns)}; it must begin with {','.join(PREDICTIONS)}")
    check_unique(table, path)
    for column, allowed in (("Split", (*SPLITS, DEVELOPMENT)), ("EmoClass", CLASSES)):
        check_values(table[column], ~table[column].isin(allowed), table[KEY], path, ", ".join(allowed))
    table[list(PROBABILITIES)] = table[list(PROBABILITIES)].apply(pd.to_numeric, errors="coerce").astype(float)
    check_probabilities(table, path)
    if not labels_may_differ and not any(column.startswith(VOTE) for column in table):
        check_labels(table, path)
    return table


def check_labels(predictions: pd.DataFrame, source: str | Path) -> None:
    """Raise a `UserError` if labels are not the most probable class in more than a few rows, apart from ties.

    Then the columns are probably in another order than the header says.
    """
    values = predictions[list(PROBABILITIES)].to_numpy(float)
    own = values[np.arange(len(values)), predictions["EmoClass"].map(INDEX).to_numpy(int)]
    other = values.max(1, initial=0) - own > CLOSE
    if other.sum() > MAX_OTHER_LABELS * len(other):
        raise UserError(
            f"{source}: EmoClass is not the most probable class in {other.sum()} of {len(other)} rows, e.g. "
            f"{predictions[KEY][other].iloc[0]}; check the order of the columns {PROBABILITIES[0]} to "
            f"{PROBABILITIES[-1]}, or give --labels-may-differ if these labels are right"
        )


def check_probabilities(predictions: pd.DataFrame, source: str | Path) -> None:
    """Raise a `UserError` that names the first utterance whose probabilities are not eight numbers that sum to 1."""
    values = predictions[list(PROBABILITIES)].to_numpy(float)
    bad = ~(np.isfinite(values).all(1) & (values >= 0).all(1) & (abs(values.sum(1) - 1) <= 1e-3))
    if bad.any():
        raise UserError(
            f"{source}: invalid probabilities of {predictions[KEY][bad].iloc[0]} ({bad.sum()} of {len(bad)} rows): not "
            " eight numbers >= 0 that sum to 1; check the model's weights and these utterances, and predict again"
        )
