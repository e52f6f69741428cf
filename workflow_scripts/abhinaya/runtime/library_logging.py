"""Keeping back what libraries say at each start about themselves."""

import logging
import warnings


def whisperx() -> None:
    """To be called before WhisperX is imported; its warnings and errors stay."""
    import whisperx

    whisperx.setup_logging("warning")
    warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed", category=UserWarning)  # not used here
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
