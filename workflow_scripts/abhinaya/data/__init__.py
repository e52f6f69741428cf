"""Stage 1: a corpus as a manifest, audio as waveforms, and both as batches for torch.

The paper's section 4.1: MSP-Podcast, its eight classes and its partitions.
"""
