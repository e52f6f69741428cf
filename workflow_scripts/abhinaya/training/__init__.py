"""Stage 3a: trains one system (baseline, S1, S2, T2, ST1) on one seed, resumable at every step.

The paper's section 4.2.
"""
