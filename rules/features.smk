# Stage 2b: features of frozen encoders, extracted once for all systems, losses and seeds with the same settings.


rule extract_features:
    input:
        manifest=ancient(MANIFEST),
        transcripts=ancient(features_transcripts),
        digests=features_digests,
        probe=after_gpu_probe(
            "results/features/{features}/{shard}.parquet",
            lambda wildcards: FEATURES[wildcards.features].resources,
        ),
    output:
        index="results/features/{features}/{shard}.parquet",
        numbers="results/features/{features}/{shard}.bin",
    log:
        "logs/extract_features/{features}/{shard}.log",
    benchmark:
        "logs/benchmarks/extract_features/{features}/{shard}.tsv"
    conda:
        CONDA
    threads: features_resource("cpus")
    resources:
        gpu=features_gpu,
        gpu_jobs=features_gpu,
        mem_mb=features_resource("mem_mb"),
        runtime=features_resource("runtime"),
    params:
        settings=lambda wildcards: settings_json(FEATURES[wildcards.features].settings),
        shards=lambda wildcards: FEATURES[wildcards.features].shards,
        transcripts=transcripts_option,
    message:
        "Extracting features, shard {wildcards.shard} of {wildcards.features}"
    shell:
        'python "$scripts"/extract_features.py --manifest {input.manifest} {params.transcripts}'
        " --settings {params.settings:q} --shard $((10#{wildcards.shard})) --shards {params.shards} --cpus {threads}"
        " --gpus {resources.gpu} --output {output.index} 2>&1 | tee {log}"
