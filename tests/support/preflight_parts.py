"""Plans, configurations and corpora for the tests of preflight."""

from pathlib import Path

import pandas as pd

from abhinaya import preflight
from abhinaya.config import Config, parse
from abhinaya.preflight.plan import Job, Plan, Slurm


def planned(*jobs: tuple[str, dict[str, str]], slurm: Slurm | None = None, **resources: int) -> Plan:
    return Plan(
        [Job(" ".join([rule, *values.values()]), [(rule, values)], 1, resources) for rule, values in jobs], slurm
    )


def configured(corpus: dict, systems: dict | None = None, **sections: dict) -> Config:
    endpoint = {"family": "zero_shot", "model": "m", "endpoint": {"url": "http://127.0.0.1:9/v1"}}
    return parse(Config, {"corpus": corpus, "systems": systems or {"t1": endpoint}, **sections})


def findings(config: Config, plan: Plan, fetch: bool = False) -> tuple[list[str], list[str]]:
    """The messages of successful and of failed checks."""
    found = list(preflight.check(config, plan, fetch))
    assert not any("\n" in finding.message for finding in found)
    return tuple([f"{each.check}: {each.message}" for each in found if each.failed is wrong] for wrong in (False, True))


def table(folder: Path, present: int = 12) -> dict:
    """A corpus of 12 utterances as CSV, of which the first so many have their audio."""
    splits = ["train", "validation", "test"] * 4
    rows = pd.DataFrame({"path": [f"{i}.wav" for i in range(12)], "EmoClass": list("AAANNNHHHSSS"), "split": splits})
    rows.to_csv(folder / "table.csv", index=False)
    for name in rows["path"][:present]:
        (folder / name).touch()
    return {"kind": "csv", "table": str(folder / "table.csv"), "classes": ["A", "N", "H", "S"]}
