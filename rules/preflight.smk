# Before jobs go to a cluster: is all there that they need? Not before a dry run, where Snakemake calls no hook.


onstart:
    if not workflow.local_exec:
        from abhinaya.preflight import hook

        hook.pass_or_stop(workflow, config)
