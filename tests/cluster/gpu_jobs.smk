# Jobs that hold a GPU for a moment and note when: the cluster's order, without the models.

import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))

from abhinaya.runtime import gpu_request, slurm_gpu_models

SITE, TRAIN_OPTIONS = gpu_request.read(workflow.resource_settings.default_resources)
slurm_gpu_models.patch()
NOTE = (
    "(date +%s.%N; echo $CUDA_VISIBLE_DEVICES $SITE; sleep 1; date +%s.%N) > {output}"
)


wildcard_constraints:
    shard="[0-9]",


rule all:
    input:
        expand("train.{name}", name=["one", "two"]),
        expand("transcribe.{shard}", shard=range(3)),


rule train:
    output:
        "train.{name}",
    resources:
        **SITE.request(1, options=TRAIN_OPTIONS),
        # The profile warns a training job two minutes before its end; a job with less time is warned at once, and ends.
        runtime=5,
    shell:
        NOTE


rule transcribe:
    output:
        "transcribe.{shard}",
    resources:
        **SITE.request(1),
        runtime=1,
    shell:
        NOTE
