"""The machine: the checks of a GPU node that also run before the first GPU job (`abhinaya.preflight.gpu_node`)."""

from collections.abc import Iterator

from abhinaya.preflight import gpu_node
from prove_gpu.arguments import Options
from prove_gpu.checks import Check, passed


def run(options: Options) -> Iterator[Check]:
    for finding in gpu_node.machine(options.device):
        yield Check(finding.check, passed(not finding.failed), finding.message)
