# Stage 2: transcripts, from WhisperX in shards, from the corpus, or from a file.


rule transcribe:
    input:
        manifest=ancient(MANIFEST),
        digest=digest(TRANSCRIBED),
        probe=after_gpu_probe(
            "results/corpus/shards/{shard}.parquet",
            lambda wildcards: CONFIG.transcripts.resources,
        ),
    output:
        "results/corpus/shards/{shard}.parquet",
    log:
        "logs/transcribe/{shard}.log",
    benchmark:
        "logs/benchmarks/transcribe/{shard}.tsv"
    conda:
        CONDA
    threads: CONFIG.transcripts.resources.cpus
    resources:
        gpu=min(1, CONFIG.transcripts.resources.gpu),
        gpu_jobs=min(1, CONFIG.transcripts.resources.gpu),
        mem_mb=stage_resource("transcripts", "mem_mb"),
        runtime=stage_resource("transcripts", "runtime"),
    params:
        settings=settings_of("transcripts"),
        seed=CONFIG.seed,
    message:
        "Transcribing shard {wildcards.shard} with WhisperX"
    shell:
        'python "$scripts"/transcribe.py --manifest {input.manifest} --settings {params.settings:q}'
        " --shard $((10#{wildcards.shard})) --seed {params.seed} --cpus {threads} --gpus {resources.gpu}"
        " --output {output} 2>&1 | tee {log}"


checkpoint merge_transcripts:
    input:
        manifest=ancient(MANIFEST),
        sources=transcript_sources,
        digests=transcript_digests,
    output:
        transcripts=TRANSCRIPTS,
        digest=digest("transcripts"),
    log:
        "logs/merge_transcripts.log",
    benchmark:
        "logs/benchmarks/merge_transcripts.tsv"
    conda:
        CONDA
    params:
        utterances=CONFIG.transcripts.utterances,
    message:
        "Merging the transcripts"
    shell:
        'python "$scripts"/merge_transcripts.py --manifest {input.manifest} --sources {input.sources:q}'
        " --utterances {params.utterances} --output {output.transcripts} --digest {output.digest} 2>&1 | tee {log}"
