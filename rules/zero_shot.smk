# Stage 3b: zero-shot systems, which are not trained: text LLMs on the transcripts, and speech LLMs.


rule label_zero_shot:
    input:
        manifest=ancient(MANIFEST),
        transcripts=ancient(system_transcripts),
        digests=system_digests("evaluation"),
        features=zero_shot_features,
        probe=after_gpu_probe(
            "results/{system}/preds.csv",
            resources_of_system,
        ),
    output:
        preds="results/{system}/preds.csv",
        responses="results/{system}/responses.parquet",
        summary="results/{system}/labelling.json",
    log:
        job="logs/label_zero_shot/{system}.log",
        server="logs/label_zero_shot/{system}.server.log",
    benchmark:
        "logs/benchmarks/label_zero_shot/{system}.tsv"
    wildcard_constraints:
        system=alternatives(ZERO_SHOT),
    conda:
        CONDA
    threads: system_resource("cpus")
    resources:
        **gpu_resources(resources_of_system),
        nodes=1,  # a server uses the GPUs of one machine
        mem_mb=system_resource("mem_mb"),
        runtime=system_resource("runtime"),
        # Among the resources, because a changed parameter would rerun the job.
        concurrency=request_resource("concurrency"),
        request_seconds=request_resource("request_seconds"),
        start_minutes=request_resource("start_minutes"),
    params:
        settings=system_settings,
        classes=CONFIG.corpus.classes or list(CLASSES),
        options=zero_shot_options,
        # Not an output: Snakemake deletes the outputs of a killed job, but stored responses are reused.
        response_dir="results/{system}/responses",
    message:
        "Labelling with the zero-shot system {wildcards.system}"
    shell:
        'python "$scripts"/label_zero_shot.py --name {wildcards.system} --settings {params.settings:q}'
        " --classes {params.classes} --manifest {input.manifest} {params.options}"
        " --response-dir {params.response_dir} --output {output.preds} --responses {output.responses}"
        " --summary {output.summary} --server-log {log.server} --cpus {threads} --gpus {resources.devices}"
        " --concurrency {resources.concurrency} --request-seconds {resources.request_seconds}"
        " --start-minutes {resources.start_minutes} 2>&1 | tee {log.job}"
