"""Patch of Snakemake's SLURM plugin (still in 2.8.0, the newest version): GPU models with a hyphen.

SLURM names a GPU as its driver does, for example nvidia_a100-sxm4-80gb. The plugin refuses the hyphen.
"""

from functools import wraps
from types import SimpleNamespace
from typing import Any

HYPHEN = "_HYPHEN_"  # stands for a hyphen where the plugin checks the name
NAMES = ("gpu_model", "gres")


def patch() -> None:
    """Let the plugin request any GPU model that SLURM allows."""
    import snakemake_executor_plugin_slurm as plugin
    from snakemake_executor_plugin_slurm import utils

    original = utils.set_gres_string
    if hasattr(original, "__wrapped__"):  # already patched
        return

    @wraps(original)
    def with_hyphens(job: Any) -> str:
        resources = dict(job.resources.items())
        resources |= {name: resources[name].replace("-", HYPHEN) for name in NAMES if resources.get(name)}
        return original(SimpleNamespace(resources=_Attributes(resources))).replace(HYPHEN, "-")

    utils.set_gres_string = plugin.set_gres_string = with_hyphens


class _Attributes(dict):
    __getattr__ = dict.__getitem__
