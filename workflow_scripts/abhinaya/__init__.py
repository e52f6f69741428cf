"""ABHINAYA (arXiv 2505.18217): speech emotion recognition by a vote of five models."""

__version__ = "0.1.0"
