"""What stands behind the scores: comparisons, calibration, agreement, subgroups, mistakes; each module makes one table.

All of them look at the labelled utterances of the validation and test splits, and at nothing else.
"""
