"""SALMONN (Tang et al. 2024), a language model that hears: the encoder of S2 and ST1."""
