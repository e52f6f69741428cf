"""The published training loops, written anew: what `training_step.py` compares ours with.

Each module builds a system twice from the same random weights, once as ours and once as the published code computes it
(docs/fidelity.md). What only the published code does wrong is left out, where it would make the plain loop slower.
"""
