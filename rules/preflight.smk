# Check all requirements before jobs are submitted to a cluster, and the number of GPUs on one machine. Snakemake does not call this in a dry run.


onstart:
    from abhinaya.preflight import hook

    if workflow.local_exec:
        hook.check_gpus(workflow)
    else:
        hook.run_or_stop(workflow, config)
