"""SALMONN (Tang et al. 2024), a language model with speech and audio input: the encoder of S2 and ST1."""
