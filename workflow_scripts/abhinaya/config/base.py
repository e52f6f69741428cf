"""Base classes of the configuration's sections."""

import json
import math
import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that all libraries accept
Description = Annotated[str, Field(description="one-line description for the report")]
Place = Annotated[str, AfterValidator(os.path.expanduser)]  # a path; `~` is the user's home
Precision = Annotated[Literal["auto", "fp32", "bf16"], Field(description="auto: bf16 on a GPU, fp32 on a CPU")]


class Section(BaseModel):
    """A section of the configuration; unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Resources(Section):
    """Resources of one job. Changing them never triggers a rerun."""

    gpu: int = Field(0, ge=0, description="number of GPUs; 0 uses the CPU")
    cpus: int = Field(2, ge=1, description="CPU cores")
    mem_mb: int = Field(4000, ge=100, description="memory in MB; multiplied by the attempt number")
    runtime: int = Field(60, ge=1, description="run time in minutes; multiplied by the attempt number")
    predict_runtime: int = Field(
        60, ge=1, description="run time of prediction in minutes; multiplied by the attempt number"
    )
    max_runtime: int | None = Field(
        None, ge=1, description="upper limit of the run time in minutes, such as a partition's limit; null: no limit"
    )

    def minutes(self, attempt: int, key: str = "runtime") -> int:
        """Run time of an attempt (counted from 1)."""
        return min(getattr(self, key) * attempt, self.max_runtime or math.inf)


def result_settings(section: Section) -> dict[str, Any]:
    """The settings of `section` that affect results, as JSON types."""
    return section.model_dump(mode="json", exclude={"resources", "description"})


def settings_json(section: Section) -> str:
    """`result_settings` as compact, sorted JSON. Rules pass it to their scripts; a change triggers a rerun."""
    return json.dumps(result_settings(section), separators=(",", ":"), sort_keys=True)
