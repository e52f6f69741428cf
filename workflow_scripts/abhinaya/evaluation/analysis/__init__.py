"""Analysis of predictions: significance, calibration, agreement, subgroups, worst errors; one table per module.

Only labelled utterances of the validation and test splits are analysed.
"""
