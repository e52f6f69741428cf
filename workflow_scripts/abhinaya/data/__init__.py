"""Stage 1: the manifest of a corpus, audio decoding, and batches for torch.

The paper's section 4.1: MSP-Podcast, its eight classes and its partitions.
"""
