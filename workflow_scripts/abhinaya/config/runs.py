"""The runs of a configuration: systems with other losses (Table 2), seeds or folds, and their ensembles.

A run is named by its folder under `results/`: `s1` is the configured system, `s1_wce` the same with another loss,
`s1_seed2` the same with another seed, `s1_fold2` the same tested on another fold, `s1_probe` a logistic regression on
the vectors of its frozen encoder. A run equal to a configured system is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abhinaya.config.ensemble import AnyEnsemble, Ensemble
from abhinaya.config.head import PROBE
from abhinaya.config.system import TrainedSystem, Training

if TYPE_CHECKING:
    from abhinaya.config import Config
    from abhinaya.config.paper_tables import System

PROBE_TEXT = "logistic regression on the same frozen encoder"


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
    trained = [name for name, system in systems if isinstance(system, TrainedSystem) and _has_layers(system)]
    votes = [name for name, vote in config.ensembles.items() if set(vote.members) & set(trained)]
    return {
        name: {seed: name if seed == config.seed else f"{name}_seed{seed}" for seed in config.seeds}
        for name in (*trained, *votes)
        if config.seeds
    }


def probes(config: Config) -> dict[str, str]:
    """The run of the probe of each trained system with a frozen encoder: {system: probe}.

    A probe is a logistic regression on the vectors of the same encoder, which shows what the training of layers is
    worth. Systems with the same encoder have the same probe, a configured one if there is one.
    """
    known = [(_vectors(config.systems[name]), name) for name in _configured_probes(config)]
    found = {}
    for name, system in config.systems.items():
        if not (isinstance(system, TrainedSystem) and system.encoder.frozen and _has_layers(system)):
            continue
        run = next((run for vectors, run in known if vectors == _vectors(system)), f"{name}_probe")
        known.append((_vectors(system), run))
        found[name] = run
    return found


def _configured_probes(config: Config) -> list[str]:
    systems = config.systems.items()
    return [name for name, system in systems if isinstance(system, TrainedSystem) and system.head.kind == "logistic"]


def _vectors(system: TrainedSystem) -> tuple:
    """What determines the pooled vectors of a frozen encoder."""
    return system.encoder, system.training.precision, system.head.plain_pooling


def _has_layers(system: TrainedSystem) -> bool:
    """Whether layers are trained, which depends on a seed."""
    return not system.fine_tuned and not system.is_probe


def _probe(system: TrainedSystem) -> TrainedSystem:
    """The probe of `system`."""
    training = Training(precision=system.training.precision, eval_batch_size=system.training.eval_batch_size)
    resources = system.resources.model_copy(update={"gpu": 0, "nodes": 1})
    head = type(system.head)(kind="logistic", **PROBE | {"pooling": system.head.plain_pooling})
    return system.model_copy(
        update={"head": head, "loss": None, "training": training, "resources": resources, "description": PROBE_TEXT}
    )


def _added_probes(config: Config) -> list[tuple[str, str]]:
    """(system, probe) for each probe that is not a configured system."""
    first: dict[str, str] = {}
    for name, run in probes(config).items():
        first.setdefault(run, name)
    return [(name, run) for run, name in first.items() if run not in _configured_probes(config)]


def reported(config: Config) -> list[str]:
    """The runs in the report, in display order: each system with its probe behind it, then the ensembles."""
    own = probes(config)
    pairs = [run for name in config.systems for run in (name, own.get(name, name))]
    return list(dict.fromkeys([*pairs, *config.ensembles]))


def by_fold(config: Config) -> dict[str, dict[int, str]]:
    """The run of each fold of each trained system, and of each ensemble of such systems: {name: {fold: run}}."""
    split = config.corpus.split
    if split.number is None:
        return {}
    systems = config.systems.items()
    trained = [name for name, system in systems if isinstance(system, TrainedSystem) and not system.fine_tuned]
    votes = [
        name
        for name, vote in config.ensembles.items()
        if isinstance(vote, Ensemble) and set(vote.members) <= set(trained)
    ]
    return {
        name: {fold: name if fold == split.fold else f"{name}_fold{fold}" for fold in range(1, split.number + 1)}
        for name in (*trained, *votes)
    }


def folds(config: Config) -> dict[str, int]:
    """The fold of each run of another fold than that of the corpus."""
    of_corpus = config.corpus.split.fold
    return {run: fold for runs in by_fold(config).values() for fold, run in runs.items() if fold != of_corpus}


def systems(config: Config) -> dict[str, System]:
    """All systems by run: as configured, with other losses, with other seeds, on other folds, and the probes."""
    by_run = configured(config)
    if config.tables.losses:
        losses = {loss.name: loss for loss in config.tables.losses.losses}
        for name, runs in by_loss(config).items():
            by_run |= {
                run: configured(config)[name].model_copy(update={"loss": losses[loss], "fine_tuned": None})
                for loss, run in runs.items()
                if run != name
            }
    for name, runs in (*by_seed(config).items(), *by_fold(config).items()):
        if name in config.systems:
            by_run |= dict.fromkeys(runs.values(), config.systems[name])
    return by_run | {run: _probe(by_run[name]) for name, run in _added_probes(config)}


def seeds(config: Config) -> dict[str, int]:
    """The seed of each run of `systems`."""
    other = {run: seed for runs in by_seed(config).values() for seed, run in runs.items()}
    return {run: other.get(run, config.seed) for run in systems(config)}


def ensembles(config: Config) -> dict[str, AnyEnsemble]:
    """All ensembles by run: as configured, those of the tables, those with other seeds and on other folds."""
    by_run = config.ensembles | config.tables.ensembles
    for replicas in (by_seed(config), by_fold(config)):
        for name, vote in config.ensembles.items():
            for number, run in replicas.get(name, {}).items():
                if run != name:
                    by_run[run] = _of_replicas(vote, {member: runs[number] for member, runs in replicas.items()})
    return by_run


def _of_replicas(ensemble: AnyEnsemble, replicas: dict[str, str]) -> AnyEnsemble:
    changed: dict[str, list[str] | str] = {"members": [replicas.get(member, member) for member in ensemble.members]}
    if isinstance(ensemble, Ensemble):
        changed["tie_break"] = replicas.get(ensemble.tie_break, ensemble.tie_break)
    return ensemble.model_copy(update=changed)


def of_all(config: Config) -> list[str]:
    """The runs of the target `all`; runs that only the tables need are excluded."""
    replicas = [run for by_name in by_seed(config).values() for run in by_name.values()]
    return list(dict.fromkeys([*reported(config), *replicas]))


def named(config: Config) -> list[tuple[str, str]]:
    """The name and the dotted key of each configured system and ensemble."""
    tables = config.tables
    sections = {"systems": config.systems, "tables.systems": tables.systems}
    sections |= {"ensembles": config.ensembles, "tables.combinations": tables.combinations}
    sections |= {"tables.submitted": tables.submitted}
    return [(name, f"{section}.{name}") for section, names in sections.items() for name in names]


def derived(config: Config) -> list[tuple[str, str]]:
    """The name of each run that losses, seeds, folds or a probe add, and the key that adds it."""
    tables = (("tables.losses", by_loss(config)), ("seeds", by_seed(config)), ("corpus.split", by_fold(config)))
    by_name = [(key, name, runs) for key, table in tables for name, runs in table.items()]
    added = [(run, key) for key, name, runs in by_name for run in runs.values() if run != name]
    return added + [(run, f"systems.{name}") for name, run in _added_probes(config)]
