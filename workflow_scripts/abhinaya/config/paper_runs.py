"""Which of the paper's tables a configuration has something for, and of which runs each is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from abhinaya.config import runs
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem

if TYPE_CHECKING:
    from abhinaya.config import Config


def tables(config: Config) -> dict[str, list[str]]:
    """Each table that can be made, and the systems and ensembles whose scores it takes, by run."""
    asked = config.tables
    components = _components(config)
    found = {"table1": components, "table2": [], "table3": components, "table4": []}
    found["table2"] = [run for by_loss in runs.by_loss(config).values() for run in by_loss.values()]
    if asked.combinations:
        found["table4"] = [*asked.combinations, *config.ensembles]
    if asked.zero_shot:
        found["figure2"] = [*asked.zero_shot.models, *filter(None, [asked.zero_shot.line])]
    found["section_4_6"] = asked.modalities
    found["zero_shot_speech"] = [*filter(None, [asked.speech_zero_shot])]
    found["seeds"] = [run for by_seed in runs.by_seed(config).values() for run in by_seed.values()]
    return {"section_4_1": []} | {name: list(dict.fromkeys(names)) for name, names in found.items() if names}


def in_report(config: Config) -> list[str]:
    """The tables that need no system beyond those of `all`."""
    made = set(runs.of_all(config))
    made |= {name for name, vote in config.tables.combinations.items() if made.issuperset(vote.members)}
    return [name for name, needed in tables(config).items() if made.issuperset(needed)]


def settings(config: Config) -> str:
    """The section `tables` as JSON, with what follows from it: the names of the runs behind the rows."""
    asked, systems = config.tables, runs.systems(config)
    zero_shot = asked.zero_shot.models if asked.zero_shot else []
    values = {
        "components": _components(config),
        "losses": asked.losses and asked.losses.model_dump(mode="json"),
        "combinations": {name: vote.model_dump(mode="json") for name, vote in asked.combinations.items()},
        "ensembles": {name: vote.model_dump(mode="json") for name, vote in config.ensembles.items()},
        "zero_shot": asked.zero_shot and asked.zero_shot.model_dump(mode="json"),
        "zero_shot_models": {name: _model(systems[name]) for name in zero_shot},
        "modalities": asked.modalities,
        "speech_zero_shot": asked.speech_zero_shot,
        "loss_runs": runs.by_loss(config),
        "seed_runs": {name: {str(seed): run for seed, run in of.items()} for name, of in runs.by_seed(config).items()},
    }
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def _components(config: Config) -> list[str]:
    return config.tables.components or [*config.systems, *config.ensembles]


def _model(system: ZeroShotSystem | SalmonnZeroShot) -> str:
    return system.model if isinstance(system, ZeroShotSystem) else system.encoder.language_model
