"""Stage 3b: labels utterances with a language model that was not trained for it.

The paper's T1 (LLaMA-3.3-70B, served by vLLM, reads transcripts) and its SALMONN zero-shot row (listens to speech).
"""
