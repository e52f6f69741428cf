# Check all requirements before jobs are submitted to a cluster. Snakemake does not call this in a dry run.
# Check a node with a GPU before the first GPU job.

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.preflight import hook


onstart:
    if not workflow.local_exec:
        hook.run_or_stop(workflow, config)


GPU_PROBE = "results/preflight/gpu_node.json"


def gpu_work():
    """The kinds of GPU work in the configuration with checks of their own, as `doctor.py --work` takes them."""
    transcripts = CONFIG.transcripts
    servers = [
        system
        for system in SYSTEMS.values()
        if isinstance(system, ZeroShotSystem) and system.endpoint is None
    ]
    return [
        *(
            ["whisperx"]
            if transcripts.source == "whisperx" and transcripts.resources.gpu
            else []
        ),
        *(["vllm"] if any(system.resources.gpu for system in servers) else []),
    ]


def after_gpu_probe(output, resources_of):
    """An input function that lets a job wait for `probe_gpu`, and has no files: nothing for a job without a GPU.

    The probe is not a real input, because a job runs again when its set of inputs changes, and so would every finished
    model after a change of `resources.gpu`. It is a checkpoint, whose result may decide on inputs; here it decides on
    none. A job whose output exists does not wait, because Snakemake looks for changed settings only in jobs that wait
    for no checkpoint.

    Args:
        output: the first output of the rule.
        resources_of: the section `resources` of the configuration, by wildcards.
    """

    def probe(wildcards):
        made = Path(output.format(**dict(wildcards.items())))
        if resources_of(wildcards).gpu and not hook.is_off() and not made.exists():
            checkpoints.probe_gpu.get()
        return []

    return probe


checkpoint probe_gpu:
    input:
        # Another environment is checked again.
        str(Path(workflow.basedir, "envs", f"{CONFIG.environment}.lock")),
    output:
        GPU_PROBE,
    log:
        "logs/probe_gpu.log",
    benchmark:
        "logs/benchmarks/probe_gpu.tsv"
    # A check that failed once fails again on a node of the same kind.
    retries: 0
    conda:
        CONDA
    threads: 2
    resources:
        gpu=1,
        gpu_jobs=1,
        mem_mb=8000,
        runtime=10,
    params:
        work=gpu_work(),
    message:
        "Checking a node with a GPU"
    shell:
        'python "$scripts"/doctor.py --work {params.work} --output {output} 2>&1 | tee {log}'
