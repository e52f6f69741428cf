"""Predictions of trained systems and ensembles, for a corpus (`preds.csv`) or for new recordings."""
