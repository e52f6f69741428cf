"""Stage 3b: zero-shot labelling with language models.

The paper's T1 (LLaMA-3.3-70B on transcripts, served by vLLM) and its zero-shot SALMONN (on speech).
"""
