# Stage 2b: what the frozen half of a speech LLM hears, once for all systems that hear alike.


rule hear:
    input:
        manifest=ancient(MANIFEST),
        digest=digest("used_audio"),
    output:
        index="results/hearing/{ears}/{shard}.parquet",
        numbers=multiext("results/hearing/{ears}/{shard}", ".heard.bin", ".sounds.bin"),
    log:
        "logs/hear/{ears}/{shard}.log",
    benchmark:
        "logs/benchmarks/hear/{ears}/{shard}.tsv"
    conda:
        CONDA
    threads: hearing_resource("cpus")
    resources:
        gpu=hearing_gpu,
        gpu_jobs=hearing_gpu,
        mem_mb=hearing_resource("mem_mb"),
        runtime=hearing_resource("runtime"),
    params:
        settings=lambda wildcards: configuration.settings_json(EARS[wildcards.ears]),
        shards=lambda wildcards: EARS[wildcards.ears].shards,
    message:
        "Hearing shard {wildcards.shard} with Whisper and BEATs"
    shell:
        'python "$scripts"/hear.py --manifest {input.manifest} --settings {params.settings:q}'
        " --shard $((10#{wildcards.shard})) --shards {params.shards} --cpus {threads}"
        " --gpus {resources.gpu} --output {output.index} 2>&1 | tee {log}"
