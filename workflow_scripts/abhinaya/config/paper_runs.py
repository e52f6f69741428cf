"""Which of the paper's tables a configuration can make, and the runs that each table needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from abhinaya.config import runs
from abhinaya.config.ensemble import Ensemble
from abhinaya.config.zero_shot import SalmonnZeroShot, ZeroShotSystem

if TYPE_CHECKING:
    from abhinaya.config import Config


def tables(config: Config) -> dict[str, list[str]]:
    """The tables that can be made, each with the runs whose scores it needs."""
    section = config.tables
    components = _components(config)
    needed = {"table1": components, "table2": [], "table3": components, "table4": []}
    needed["table2"] = [run for by_loss in runs.by_loss(config).values() for run in by_loss.values()]
    if section.combinations:
        needed["table4"] = [*section.combinations, *votes(config)]
    if section.submitted:
        needed["table1_submitted"] = [*section.submitted, *votes(config)]
    if section.zero_shot:
        needed["figure2"] = [*section.zero_shot.models, *filter(None, [section.zero_shot.line])]
    needed["section_4_6"] = section.modalities
    needed["zero_shot_speech"] = [*filter(None, [section.speech_zero_shot])]
    needed["seeds"] = [run for by_seed in runs.by_seed(config).values() for run in by_seed.values()]
    return {"section_4_1": []} | {name: list(dict.fromkeys(names)) for name, names in needed.items() if names}


def in_report(config: Config) -> list[str]:
    """The tables that need only the runs of the target `all`."""
    available = set(runs.of_all(config))
    available |= {name for name, vote in config.tables.ensembles.items() if available.issuperset(vote.members)}
    return [name for name, names in tables(config).items() if available.issuperset(names)]


def settings(config: Config) -> str:
    """The section `tables` as JSON, with the names of the runs behind the rows."""
    section, systems = config.tables, runs.systems(config)
    zero_shot = section.zero_shot.models if section.zero_shot else []
    values = {
        "components": _components(config),
        "losses": section.losses and section.losses.model_dump(mode="json"),
        "combinations": {name: vote.model_dump(mode="json") for name, vote in section.combinations.items()},
        "submitted": {name: vote.model_dump(mode="json") for name, vote in section.submitted.items()},
        "ensembles": {name: vote.model_dump(mode="json") for name, vote in votes(config).items()},
        "zero_shot": section.zero_shot and section.zero_shot.model_dump(mode="json"),
        "zero_shot_models": {name: _model(systems[name]) for name in zero_shot},
        "modalities": section.modalities,
        "speech_zero_shot": section.speech_zero_shot,
        "loss_runs": runs.by_loss(config),
        "seed_runs": {
            name: {str(seed): run for seed, run in by_seed.items()} for name, by_seed in runs.by_seed(config).items()
        },
    }
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def votes(config: Config) -> dict[str, Ensemble]:
    """The configured ensembles that vote, without fusions, which the paper does not have."""
    return {name: ensemble for name, ensemble in config.ensembles.items() if isinstance(ensemble, Ensemble)}


def _components(config: Config) -> list[str]:
    return config.tables.components or [*config.systems, *config.ensembles]


def _model(system: ZeroShotSystem | SalmonnZeroShot) -> str:
    return system.model if isinstance(system, ZeroShotSystem) else system.encoder.language_model
