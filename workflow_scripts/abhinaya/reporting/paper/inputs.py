"""The inputs of the paper's tables: the section `tables` of the configuration, scores, votes, the corpus's summary."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from abhinaya.data.corpora.summary import read_summary
from abhinaya.evaluation.arguments import files_by_name
from abhinaya.evaluation.metrics import read_scores
from abhinaya.runtime.errors import UserError


class Part(BaseModel):
    """A part of the section `tables`; keys that the tables do not need are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Loss(Part):
    name: str


class Losses(Part):
    systems: list[str]
    losses: list[Loss]


class Vote(Part):
    members: list[str]
    tie_break: str


class ZeroShot(Part):
    models: list[str]
    line: str | None = None


class Settings(Part):
    """The section `tables` of the configuration, resolved to names of runs.

    `loss_runs` and `seed_runs`: by system, the run that trained it with a loss or seed. `zero_shot_models`: by system,
    the LLM's name on the hub. `ensembles`: those of the configuration, outside the section `tables`.
    """

    components: list[str] = []
    losses: Losses | None = None
    combinations: dict[str, Vote] = {}
    submitted: dict[str, Vote] = {}
    zero_shot: ZeroShot | None = None
    modalities: list[str] = Field([], max_length=2)
    speech_zero_shot: str | None = None
    loss_runs: dict[str, dict[str, str]] = {}
    seed_runs: dict[str, dict[str, str]] = {}
    zero_shot_models: dict[str, str] = {}
    ensembles: dict[str, Vote] = {}

    def vote(self, name: str) -> Vote | None:
        """The ensemble `name`; None if there is none."""
        return (self.ensembles | self.combinations | self.submitted).get(name)


@dataclass(frozen=True)
class Inputs:
    """The inputs of a table.

    Args:
        scores: the `scores.json` of each system, ensemble and run, by name.
        votes: the members of each ensemble, by its name.
        summary: the corpus's summary; may be empty.
    """

    settings: Settings
    scores: dict[str, dict]
    votes: dict[str, list[str]] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)

    def members(self, name: str) -> list[str] | None:
        """The members of the ensemble `name`; None if there is no such ensemble."""
        vote = self.settings.vote(name)
        return self.votes.get(name) or (vote.members if vote else None)

    def tie_break(self, name: str) -> str | None:
        """The member that decides ties in the ensemble `name`; None if it is unknown."""
        vote = self.settings.vote(name)
        return vote.tie_break if vote else None

    def scores_of(self, names: Iterable[str], key: str) -> dict[str, dict]:
        """The scores of `names`, in order.

        Args:
            key: of the configuration or command line, with these names, for messages.

        Raises:
            UserError: one of them has no scores.
        """
        names = list(names)
        for name in names:
            if name not in self.scores:
                raise UserError(
                    f"`{key}`: no scores of {name!r}; give its scores.json with --names and --scores, or remove it"
                )
        return {name: self.scores[name] for name in names}


def require(value: object, key: str, what: str) -> None:
    """Raise a `UserError` if `value`, the setting `key`, is empty; `what` is the fix."""
    if not value:
        raise UserError(f"`{key}`: empty, so this table cannot be made; set it to {what}")


def read(
    settings: Settings, names: list[str], scores: list[Path], votes: list[str], summary: Path | None = None
) -> Inputs:
    """Read the files of a table's inputs.

    Args:
        names, scores: systems, ensembles and runs, and their `scores.json` in the same order.
        votes: ``NAME=member,member`` of each ensemble.

    Raises:
        UserError: not one unique name per file; a vote has another form; a file is missing or invalid.
    """
    files = files_by_name(names, scores, ("--names", "--scores"))
    return Inputs(
        settings=settings,
        scores={name: read_scores(path) for name, path in files.items()},
        votes=dict(map(_vote, votes)),
        summary=read_summary(summary) if summary else {},
    )


def _vote(text: str) -> tuple[str, list[str]]:
    name, _, members = text.partition("=")
    listed = members.split(",")
    if not name or not all(listed):
        raise UserError(f"--votes: {text!r} is not NAME=MEMBER,…; write it like vote=s1,s2,t1")
    return name, listed
