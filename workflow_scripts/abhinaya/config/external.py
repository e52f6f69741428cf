"""The section of a system whose predictions come from another program."""

from typing import ClassVar, Literal

from pydantic import Field

from abhinaya.config.base import Description, Section


class ExternalSystem(Section):
    """Predictions of another program, from a CSV file."""

    family: Literal["external"]
    description: Description = ""
    preds: str = Field(
        min_length=1,
        description="the CSV file: `FileName`, `p_A` … `p_U` of all utterances that are predicted, and, if the label "
        "is not the most probable class, `EmoClass`",
    )

    reads_transcripts: ClassVar[bool] = False
