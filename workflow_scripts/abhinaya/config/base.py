"""What every section of the configuration has in common."""

import json
import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every library takes
NON_RESULT_KEYS = frozenset({"resources", "description"})  # how fast and in which words; no result depends on them


class Section(BaseModel):
    """A mapping of the configuration: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Resources(Section):
    """What one job asks of the machine or the cluster. Never part of what decides a rerun."""

    gpu: int = Field(0, ge=0, description="GPUs; 0 computes on the CPU")
    cpus: int = Field(2, ge=1, description="CPU cores")
    mem_mb: int = Field(4000, ge=100, description="memory in MB; multiplied by the attempt")
    runtime: int = Field(60, ge=1, description="minutes; multiplied by the attempt")
    predict_runtime: int = Field(60, ge=1, description="minutes for predicting; multiplied by the attempt")
    max_runtime: int | None = Field(
        None, ge=1, description="minutes that no attempt goes beyond, such as a partition's limit; null: no such limit"
    )

    def minutes(self, attempt: int, key: str = "runtime") -> int:
        """Run time of an attempt, from 1."""
        return min(getattr(self, key) * attempt, self.max_runtime or math.inf)


def result_settings(section: Section) -> dict[str, Any]:
    """What of `section` decides a result, as JSON's own types."""
    return section.model_dump(mode="json", exclude=set(NON_RESULT_KEYS))


def settings_json(section: Section) -> str:
    """`result_settings` as compact JSON, sorted: what a rule passes to its script; a change triggers a rerun."""
    return json.dumps(result_settings(section), separators=(",", ":"), sort_keys=True)
