"""Snakemake whose SLURM plugin asks for its jobs' states every second; by itself it would ask ever more rarely."""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    main()
