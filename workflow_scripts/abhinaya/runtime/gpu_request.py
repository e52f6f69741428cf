"""How a job requests GPUs from SLURM, according to the settings of a site.

The profile passes these settings to the rules as default resources whose names begin with `site_`.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from abhinaya.runtime.errors import UserError

PREFIX = "site_"
KEYS = ("devices", "gpu", "gpu_model", "gres", "constraint", "slurm_extra")  # the resources of `Site.request`
PROFILE = "the block at the top of profiles/slurm/config.v9+.yaml"


@dataclass(frozen=True)
class Site:
    """Settings of a site; the defaults are those of a run without SLURM."""

    gpu_request: str = "gpus"  # the option of sbatch: gpus (GPUs of the job) or gres (GPUs of each node)
    gpu_model: str = ""
    gpu_constraint: str = ""  # for jobs with GPUs
    cpu_constraint: str = ""  # for jobs without
    extra: str = ""  # further options of sbatch

    def request(self, gpus: int, nodes: int = 1, options: str = "") -> dict[str, int | str]:
        """The resources of a job with `gpus` GPUs on each of `nodes` nodes.

        Args:
            options: of sbatch, for this job alone.

        Returns:
            `devices` is the number of GPUs for the job's own use. The other resources are those that Snakemake's SLURM
            plugin and Snakemake's limits for one machine know.
        """
        total = gpus * nodes
        typed = f"{self.gpu_model}:{gpus}" if self.gpu_model else str(gpus)
        wanted: dict[str, int | str] = {"devices": total, "gpu": total}
        if gpus and self.gpu_request == "gres":
            wanted |= {"gpu": 0, "gres": f"gpu:{typed}"}  # the plugin refuses both together
        elif gpus:
            wanted |= {"gpu_model": self.gpu_model} if self.gpu_model else {}
            # Else SLURM may distribute the GPUs unevenly.
            options = f"--gpus-per-node={typed} {options}" if nodes > 1 else options
        constraint = self.gpu_constraint if gpus else self.cpu_constraint
        extra = " ".join(filter(None, (options.strip(), self.extra)))
        return wanted | ({"constraint": constraint} if constraint else {}) | ({"slurm_extra": extra} if extra else {})


def read(default_resources: Mapping[str, Any] | None) -> tuple[Site, str]:
    """The settings of the site, and the sbatch options of trainings.

    Args:
        default_resources: Snakemake's, by name; each has its expression as `raw`.

    Raises:
        UserError: a setting is unknown or has an invalid value.
    """
    found = {name: resource for name, resource in (default_resources or {}).items() if name.startswith(PREFIX)}
    values = {name.removeprefix(PREFIX): str(ast.literal_eval(str(each.raw))) for name, each in found.items()}
    train_options = values.pop("train_options", "")
    unknown = values.keys() - {field.name for field in fields(Site)}
    if unknown:
        raise UserError(f"default-resources: {PREFIX}{min(unknown)} is unknown; remove it from the profile")
    site = Site(**values)
    if site.gpu_request not in ("gpus", "gres"):
        raise UserError(f"gpu_request: {site.gpu_request}, must be gpus or gres; correct it in {PROFILE}")
    return site, train_options
