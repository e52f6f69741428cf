"""Stages 4 and 5: the vote (the paper's section 3.4), scores, significance tests, the challenge's submission."""
