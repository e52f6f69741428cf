"""Suppressing start-up messages of third-party libraries."""

import logging
import warnings


def whisperx() -> None:
    """Call before importing WhisperX. Warnings and errors are still logged."""
    import whisperx

    whisperx.setup_logging("warning")
    warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed", category=UserWarning)  # not used here
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
