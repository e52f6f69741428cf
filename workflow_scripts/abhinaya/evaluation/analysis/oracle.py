"""Upper bound of an ensemble: an oracle that selects the correct member."""

import numpy as np
import pandas as pd

from abhinaya.evaluation.analysis.predictions import Evaluation

COLUMNS = ["ensemble", "split", "n", "vote", "oracle", "unanimous", "all_wrong"]


def oracle(evaluation: Evaluation) -> pd.DataFrame:
    """Compare each ensemble with an oracle, which is correct wherever a member is correct, else takes the vote.

    Returns:
        A row for each ensemble and split (COLUMNS): macro-F1 of the `vote` and of the `oracle`; the shares of
        utterances on which the members are `unanimous` and on which they are `all_wrong`.
    """
    rows = []
    for name, ensemble in evaluation.ensembles.items():
        for split in evaluation.splits:
            labels = np.stack([split.predicted[member] for member in ensemble.members])
            known = (labels == split.truth).any(axis=0)
            best = np.where(known, split.truth, split.predicted[name])
            scores = [split.macro_f1(split.predicted[name]), split.macro_f1(best)]
            unanimous = np.mean((labels == labels[0]).all(axis=0))
            rows.append([name, split.name, len(best), *scores, unanimous, np.mean(~known)])
    return pd.DataFrame(rows, columns=COLUMNS)
