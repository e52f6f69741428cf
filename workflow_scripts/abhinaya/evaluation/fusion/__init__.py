"""Fusion of the members' probabilities: calibration, prior correction, pooling, fitted weights and stacking.

Each file is one published method (docs/fusion.md names the sources). `rule.fit` chains them, `cross_fitting` keeps the
scores on the fitted data honest, and `steps` measures what each method brings.
"""
