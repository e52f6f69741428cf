"""Predictions of another program, from a CSV file."""

from pathlib import Path

import numpy as np
import pandas as pd

from abhinaya.data.schemas import KEY, PREDICTED, PROBABILITIES, check_columns, check_unique, check_values
from abhinaya.evaluation.voting import describe
from abhinaya.labels import CLASSES
from abhinaya.runtime.errors import UserError
from abhinaya.runtime.files import existing

TOLERANCE = 1e-3  # of a sum of probabilities


def read(path: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    """The predictions in `path` of all utterances of `manifest` that are predicted.

    Args:
        path: CSV with `FileName`, `p_A` … `p_U` and, optionally, `EmoClass`; further columns and utterances are
            ignored.
        manifest: as from `schemas.read_manifest`.

    Returns:
        A table with the columns `schemas.PREDICTIONS`. Probabilities are divided by their sum, and a missing
        `EmoClass` is the most probable class (the first in class order if equal).

    Raises:
        UserError: the file is invalid, or an utterance is missing, is duplicated or has no valid probabilities.
    """
    try:
        table = pd.read_csv(existing(path), dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV ({str(error).splitlines()[0]}); recreate it") from None
    check_columns(table.columns, (KEY, *PROBABILITIES), path)
    check_unique(table, path)
    rows = manifest[manifest["split"].isin(PREDICTED)]
    missing = pd.Index(rows[KEY]).difference(table[KEY])
    if len(missing):
        raise UserError(f"{path}: {describe(missing)} missing; add their probabilities")
    table = table.set_index(KEY).loc[rows[KEY]].reset_index()
    values = table[list(PROBABILITIES)].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    sums = values.sum(axis=1)
    wrong = ~(np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (abs(sums - 1) <= TOLERANCE))
    if wrong.any():
        name = table[KEY][wrong].iloc[0]
        raise UserError(f"{path}: invalid probabilities of {name}: not eight numbers >= 0 that sum to 1; correct them")
    letters = np.array(CLASSES)[values.argmax(axis=1)]
    if "EmoClass" in table:
        check_values(table["EmoClass"], ~table["EmoClass"].isin(CLASSES), table[KEY], path, ", ".join(CLASSES))
        letters = table["EmoClass"].to_numpy()
    known = pd.DataFrame({KEY: table[KEY], "Split": rows["split"].to_numpy(), "EmoClass": letters})
    return pd.concat([known, pd.DataFrame(values / sums[:, None], columns=list(PROBABILITIES))], axis=1)
