# Check all requirements before jobs are submitted to a cluster. Snakemake does not call this in a dry run.


onstart:
    if not workflow.local_exec:
        from abhinaya.preflight import hook

        hook.run_or_stop(workflow, config)
