"""Convert the scores of another program to a `preds.csv` for vote.py and score.py.

Input: a CSV table of all validation and test utterances, with `FileName` and a score for each class letter (A, C, …).
"""

import sys

import pandas as pd

from abhinaya.data.schemas import PROBABILITIES, read_manifest, write_predictions
from abhinaya.labels import CLASSES

table, target = sys.argv[1:]
manifest = read_manifest("results/corpus/manifest.parquet")
rows = manifest[manifest["split"].isin(["validation", "test"])]
scores = pd.read_csv(table, index_col="FileName").loc[rows["FileName"], list(CLASSES)].to_numpy()
predictions = pd.DataFrame(scores / scores.sum(axis=1, keepdims=True), columns=list(PROBABILITIES))
predictions.insert(0, "FileName", rows["FileName"].to_numpy())
predictions.insert(1, "Split", rows["split"].to_numpy())
predictions.insert(2, "EmoClass", [CLASSES[best] for best in scores.argmax(axis=1)])
write_predictions(predictions, target)
