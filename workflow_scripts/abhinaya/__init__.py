"""ABHINAYA (arXiv 2505.18217): speech emotion recognition by a majority vote of five models."""

import logging

__version__ = "0.1.0"

# transformers and peft import bitsandbytes wherever it is installed; on a CPU it logs
# missing kernels, which are not used here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
