"""Stages 4 and 5: majority vote (the paper's section 3.4), scores, significance tests, challenge submission."""
