# Stage 3b: the language models that are asked, not trained.


rule label_zero_shot:
    input:
        manifest=ancient(MANIFEST),
        transcripts=ancient(TRANSCRIPTS),
        digests=[digest("evaluation"), digest("transcripts")],
    output:
        preds="results/{system}/preds.csv",
        answers="results/{system}/responses.parquet",
        summary="results/{system}/labelling.json",
    log:
        job="logs/label_zero_shot/{system}.log",
        server="logs/label_zero_shot/{system}.server.log",
    benchmark:
        "logs/benchmarks/label_zero_shot/{system}.tsv"
    wildcard_constraints:
        system=alternatives(
            [name for name in ZERO_SHOT if name not in ZERO_SHOT_SPEECH]
        ),
    conda:
        CONDA
    threads: system_resource("cpus")
    resources:
        gpu=system_resource("gpu"),
        nodes=1,  # one server has all its GPUs in one machine
        gpu_jobs=one_gpu,
        mem_mb=system_resource("mem_mb"),
        runtime=system_resource("runtime"),
        # How fast it asks; among the resources, for a change of a parameter would have everything labelled again.
        concurrency=system_resource("concurrency"),
        request_seconds=system_resource("request_seconds"),
        start_minutes=system_resource("start_minutes"),
    params:
        settings=system_settings,
        classes=CONFIG.corpus.classes,
        # Not declared: Snakemake deletes declared outputs of a killed job, and these answers need not be asked again.
        store="results/{system}/responses",
    message:
        "Labelling with {wildcards.system}, which was never trained for it"
    shell:
        'python "$scripts"/label_zero_shot.py --name {wildcards.system} --settings {params.settings:q}'
        " --classes {params.classes} --manifest {input.manifest} --transcripts {input.transcripts}"
        " --response-dir {params.store} --output {output.preds} --responses {output.answers} --summary {output.summary}"
        " --server-log {log.server} --cpus {threads} --gpus {resources.gpu} --concurrency {resources.concurrency}"
        " --request-seconds {resources.request_seconds} --start-minutes {resources.start_minutes} 2>&1 | tee {log.job}"


rule label_by_ear:
    input:
        manifest=ancient(MANIFEST),
        digest=digest("evaluation"),
        features=system_features,
    output:
        preds="results/{system}/preds.csv",
        answers="results/{system}/responses.parquet",
        summary="results/{system}/labelling.json",
    log:
        "logs/label_by_ear/{system}.log",
    benchmark:
        "logs/benchmarks/label_by_ear/{system}.tsv"
    wildcard_constraints:
        system=alternatives(ZERO_SHOT_SPEECH),
    conda:
        CONDA
    threads: system_resource("cpus")
    resources:
        gpu=one_gpu,
        gpu_jobs=one_gpu,
        mem_mb=system_resource("mem_mb"),
        runtime=system_resource("runtime"),
    params:
        settings=system_settings,
        classes=CONFIG.corpus.classes,
        seed=CONFIG.seed,
        features=features_option,
        # Not declared: Snakemake deletes declared outputs of a killed job, and these answers need not be asked again.
        store="results/{system}/responses",
    message:
        "Labelling by ear with {wildcards.system}, which was never trained for it"
    shell:
        'python "$scripts"/label_by_ear.py --name {wildcards.system} --settings {params.settings:q}'
        " --classes {params.classes} --manifest {input.manifest} {params.features} --response-dir {params.store}"
        " --output {output.preds} --responses {output.answers} --summary {output.summary} --seed {params.seed}"
        " --cpus {threads} --gpus {resources.gpu} 2>&1 | tee {log}"
