"""ABHINAYA (arXiv 2505.18217): speech emotion recognition by a vote of five models."""

import logging

__version__ = "0.1.0"

# transformers and peft import bitsandbytes wherever it is installed; on a CPU it misses kernels that nobody needs.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
