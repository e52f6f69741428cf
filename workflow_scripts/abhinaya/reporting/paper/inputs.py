"""What the paper's tables are made of: the configuration's section `tables`, scores, votes, the corpus's summary."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from abhinaya.data.corpora.summary import read_summary
from abhinaya.evaluation.arguments import files_by_name
from abhinaya.evaluation.metrics import read_scores
from abhinaya.runtime.errors import UserError


class Part(BaseModel):
    """A part of the section `tables`; what the tables do not need of it is left aside."""

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
    """The configuration's section `tables`, resolved: which runs stand for which row.

    `loss_runs` and `seed_runs` hold the name of the run that trained a system with a loss, or from a seed;
    `zero_shot_models` the hub's name of the LLM behind a system; `ensembles` the configuration's own.
    """

    components: list[str] = []
    losses: Losses | None = None
    combinations: dict[str, Vote] = {}
    zero_shot: ZeroShot | None = None
    modalities: list[str] = Field([], max_length=2)
    speech_zero_shot: str | None = None
    loss_runs: dict[str, dict[str, str]] = {}
    seed_runs: dict[str, dict[str, str]] = {}
    zero_shot_models: dict[str, str] = {}
    ensembles: dict[str, Vote] = {}

    def vote(self, name: str) -> Vote | None:
        """The combination or ensemble `name`; None if there is none."""
        return self.combinations.get(name) or self.ensembles.get(name)


@dataclass(frozen=True)
class Inputs:
    """What a table may draw on.

    Args:
        scores: the `scores.json` of each system, ensemble and run, by name.
        votes: the members of each ensemble, by its name.
        summary: the corpus's summary; empty where none was given.
    """

    settings: Settings
    scores: dict[str, dict]
    votes: dict[str, list[str]] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)

    def members(self, name: str) -> list[str] | None:
        """The members of the ensemble `name`; None if it is none."""
        vote = self.settings.vote(name)
        return self.votes.get(name) or (vote.members if vote else None)

    def chosen(self, names: Iterable[str], key: str) -> dict[str, dict]:
        """The scores of `names`, which the configuration's `key` lists, in their order.

        Raises:
            UserError: one of them has no scores here.
        """
        names = list(names)
        for name in names:
            if name not in self.scores:
                raise UserError(
                    f"`{key}`: no scores of {name!r}; give its scores.json with --names and --scores, or leave it out"
                )
        return {name: self.scores[name] for name in names}


def needs(value: object, key: str, what: str) -> None:
    """Raise a `UserError` that asks for the configuration's `key` where `value`, its setting, is empty."""
    if not value:
        raise UserError(f"`{key}`: empty, so there is no such table; set it to {what}")


def read(
    settings: Settings, names: list[str], scores: list[Path], votes: list[str], summary: Path | None = None
) -> Inputs:
    """Read the files behind a table.

    Args:
        names, scores: systems, ensembles and runs, and their `scores.json` in the same order.
        votes: ``NAME=member,member`` of each ensemble.

    Raises:
        UserError: not one name for each file; a vote that is not written so; a file that is absent or not what it
            should be.
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
        raise UserError(f"--votes: {text!r} names no ensemble and its members; write it like vote=s1,s2,t1")
    return name, listed
