# Stage 3a: trained classifiers. One rule for all systems, each defined by its section of the configuration.


rule train:
    input:
        manifest=ancient(run_manifest),
        transcripts=ancient(system_transcripts),
        digests=system_digests("training"),
        features=system_features,
        probe=after_gpu_probe(
            "results/{system}/model/model.safetensors",
            resources_of_system,
        ),
    output:
        weights="results/{system}/model/model.safetensors",
        config="results/{system}/model/config.json",
        metrics="results/{system}/model/metrics.json",
    log:
        "logs/train/{system}.log",
    benchmark:
        "logs/benchmarks/train/{system}.tsv"
    wildcard_constraints:
        system=alternatives([name for name in TRAINED if name not in CONVERTED]),
    conda:
        CONDA
    threads: system_resource("cpus")
    resources:
        **gpu_resources(resources_of_system, nodes=None, options=TRAIN_OPTIONS),
        nodes=system_resource("nodes"),
        # Several nodes: the job itself (train.py) starts a process on each of them.
        mpi=several_nodes("srun"),
        tasks=several_nodes(),
        tasks_per_gpu=several_nodes(0),  # else the SLURM plugin requests tasks per GPU
        mem_mb=system_resource("mem_mb"),
        runtime=system_resource("runtime"),
    params:
        settings=system_settings,
        seed=lambda wildcards: SEEDS[wildcards.system],
        transcripts=transcripts_option,
        features=features_option,
        # Not an output: Snakemake deletes the outputs of a killed job, but it resumes from checkpoints.
        checkpoints="results/{system}/checkpoints",
    message:
        "Training {wildcards.system}"
    shell:
        # SLURM signals all processes of a job: train.py saves a checkpoint, and the shell and tee must wait for it.
        "trap '' TERM USR1; "
        'python "$scripts"/train.py --name {wildcards.system} --settings {params.settings:q} --seed {params.seed}'
        " --manifest {input.manifest} {params.transcripts} {params.features} --checkpoints {params.checkpoints} --output $(dirname {output.weights})"
        " --cpus {threads} --gpus {resources.devices} --nodes {resources.nodes} 2>&1 | tee --append {log}"


rule convert_checkpoint:
    input:
        lambda wildcards: SYSTEMS[wildcards.system].fine_tuned,
    output:
        weights="results/{system}/model/model.safetensors",
        config="results/{system}/model/config.json",
        metrics="results/{system}/model/metrics.json",
    log:
        "logs/convert_checkpoint/{system}.log",
    wildcard_constraints:
        system=alternatives(CONVERTED),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt=1: 4000 * attempt,
        runtime=30,
    params:
        settings=system_settings,
        seed=lambda wildcards: SEEDS[wildcards.system],
    message:
        "Converting the checkpoint of {wildcards.system}"
    shell:
        'python "$scripts"/convert_checkpoint.py --name {wildcards.system} --settings {params.settings:q}'
        " --checkpoint {input:q} --seed {params.seed} --output $(dirname {output.weights}) 2>&1 | tee {log}"


rule predict:
    input:
        manifest=ancient(run_manifest),
        transcripts=ancient(system_transcripts),
        digests=system_digests("evaluation"),
        features=system_features,
        weights="results/{system}/model/model.safetensors",
        config="results/{system}/model/config.json",
        probe=after_gpu_probe(
            "results/{system}/preds.csv",
            resources_of_system,
        ),
    output:
        "results/{system}/preds.csv",
    log:
        "logs/predict/{system}.log",
    benchmark:
        "logs/benchmarks/predict/{system}.tsv"
    wildcard_constraints:
        system=alternatives(TRAINED),
    conda:
        CONDA
    threads: system_resource("cpus")
    resources:
        **gpu_resources(resources_of_system, at_most=1),
        mem_mb=system_resource("mem_mb"),
        runtime=system_resource("predict_runtime"),
    params:
        transcripts=transcripts_option,
        features=features_option,
    message:
        "Predicting with {wildcards.system}"
    shell:
        'python "$scripts"/predict.py --model $(dirname {input.weights}) --manifest {input.manifest} {params.transcripts} {params.features} --output {output}'
        " --cpus {threads} --gpus {resources.devices} 2>&1 | tee {log}"
