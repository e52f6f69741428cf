"""The result of one check, as a line and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "measured", "does not fit", "skipped", "failed"]


@dataclass(frozen=True)
class Check:
    """One line of the output. Only `failed` counts as a failure.

    Attributes:
        figures: numbers behind the message, in JSON types.
    """

    name: str
    status: Status
    message: str
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self, part: str) -> str:
        return f"{self.status:13} {part:14} {self.name}: {self.message}"

    def as_json(self, part: str) -> dict[str, Any]:
        return {"part": part, **asdict(self)}


def at_most(name: str, what: str, value: float, limit: float, **figures: Any) -> Check:
    """Passes if `value` is not above `limit`; NaN fails."""
    return Check(name, passed(value <= limit), f"{what} {value:.2g}, limit {limit:g}", {"value": value, **figures})


def at_least(name: str, what: str, value: float, limit: float, **figures: Any) -> Check:
    """Passes if `value` is above `limit`; NaN fails."""
    return Check(name, passed(value > limit), f"{what} {value:.5f}, must exceed {limit:g}", {"value": value, **figures})


def passed(true: bool) -> Status:
    return "passed" if true else "failed"
