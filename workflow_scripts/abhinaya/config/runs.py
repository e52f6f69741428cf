"""The runs of a configuration: systems with other losses (Table 2) and other seeds, and their ensembles.

A run is named by its folder under `results/`: `s1` is the configured system, `s1_wce` the same with another loss,
`s1_seed2` the same with another seed. A run equal to the configured system is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abhinaya.config.ensemble import AnyEnsemble, Ensemble
from abhinaya.config.system import TrainedSystem

if TYPE_CHECKING:
    from abhinaya.config import Config
    from abhinaya.config.paper_tables import System


def configured(config: Config) -> dict[str, System]:
    """The configured systems, including those of the tables."""
    return config.systems | config.tables.systems


def by_loss(config: Config) -> dict[str, dict[str, str]]:
    """The run of each system and loss of Table 2: {system: {loss: run}}."""
    if config.tables.losses is None:
        return {}
    systems = configured(config)
    return {
        name: {
            loss.name: name if loss == systems[name].loss else f"{name}_{loss.name}"
            for loss in config.tables.losses.losses
        }
        for name in config.tables.losses.systems
    }


def by_seed(config: Config) -> dict[str, dict[int, str]]:
    """The run of each seed of each trained system, and of each ensemble with one: {name: {seed: run}}."""
    systems = config.systems.items()
    trained = [name for name, system in systems if isinstance(system, TrainedSystem) and not system.fine_tuned]
    votes = [name for name, vote in config.ensembles.items() if set(vote.members) & set(trained)]
    return {
        name: {seed: name if seed == config.seed else f"{name}_seed{seed}" for seed in config.seeds}
        for name in (*trained, *votes)
        if config.seeds
    }


def systems(config: Config) -> dict[str, System]:
    """All systems by run: as configured, with other losses and with other seeds."""
    by_run = configured(config)
    if config.tables.losses:
        losses = {loss.name: loss for loss in config.tables.losses.losses}
        for name, runs in by_loss(config).items():
            by_run |= {
                run: configured(config)[name].model_copy(update={"loss": losses[loss], "fine_tuned": None})
                for loss, run in runs.items()
                if run != name
            }
    for name, runs in by_seed(config).items():
        if name in config.systems:
            by_run |= dict.fromkeys(runs.values(), config.systems[name])
    return by_run


def seeds(config: Config) -> dict[str, int]:
    """The seed of each run of `systems`."""
    other = {run: seed for runs in by_seed(config).values() for seed, run in runs.items()}
    return {run: other.get(run, config.seed) for run in systems(config)}


def ensembles(config: Config) -> dict[str, AnyEnsemble]:
    """All ensembles by run: as configured, those of the tables, and those with other seeds."""
    by_run = config.ensembles | config.tables.ensembles
    replicas = by_seed(config)
    for name, vote in config.ensembles.items():
        for seed, run in replicas.get(name, {}).items():
            if run != name:
                by_run[run] = _with_seed(vote, {member: runs[seed] for member, runs in replicas.items()})
    return by_run


def _with_seed(ensemble: AnyEnsemble, replicas: dict[str, str]) -> AnyEnsemble:
    changed: dict[str, list[str] | str] = {"members": [replicas.get(member, member) for member in ensemble.members]}
    if isinstance(ensemble, Ensemble):
        changed["tie_break"] = replicas.get(ensemble.tie_break, ensemble.tie_break)
    return ensemble.model_copy(update=changed)


def of_all(config: Config) -> list[str]:
    """The runs of the target `all`; runs that only the tables need are excluded."""
    replicas = [run for by_name in by_seed(config).values() for run in by_name.values()]
    return list(dict.fromkeys([*config.systems, *config.ensembles, *replicas]))


def named(config: Config) -> list[tuple[str, str]]:
    """The name and the dotted key of each configured system and ensemble."""
    tables = config.tables
    sections = {"systems": config.systems, "tables.systems": tables.systems}
    sections |= {"ensembles": config.ensembles, "tables.combinations": tables.combinations}
    sections |= {"tables.submitted": tables.submitted}
    return [(name, f"{section}.{name}") for section, names in sections.items() for name in names]


def derived(config: Config) -> list[tuple[str, str]]:
    """The name of each run that a list of losses or seeds adds, and the key of that list."""
    tables = (("tables.losses", by_loss(config)), ("seeds", by_seed(config)))
    by_name = [(key, name, runs) for key, table in tables for name, runs in table.items()]
    return [(run, key) for key, name, runs in by_name for run in runs.values() if run != name]
