# Stage 2b: features of frozen encoders, extracted once for all systems with the same settings.


rule extract_features:
    input:
        manifest=ancient(MANIFEST),
        digest=digest("used_audio"),
    output:
        index="results/features/{features}/{shard}.parquet",
        numbers=multiext(
            "results/features/{features}/{shard}", ".speech.bin", ".audio.bin"
        ),
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
        settings=lambda wildcards: settings_json(FEATURES[wildcards.features]),
        shards=lambda wildcards: FEATURES[wildcards.features].shards,
    message:
        "Extracting features of shard {wildcards.shard} with Whisper and BEATs"
    shell:
        'python "$scripts"/extract_features.py --manifest {input.manifest} --settings {params.settings:q}'
        " --shard $((10#{wildcards.shard})) --shards {params.shards} --cpus {threads}"
        " --gpus {resources.gpu} --output {output.index} 2>&1 | tee {log}"
