# Stage 1: prepare the corpus and write its manifest.


checkpoint prepare_corpus:
    input:
        corpus_tables,
    output:
        manifest=MANIFEST,
        references="results/corpus/references.parquet",
        summary="results/corpus/summary.json",
        digests=map(digest, DIGESTS),
        folds=[
            f"results/corpus/fold{fold}/{name}"
            for fold in sorted(set(FOLDS.values()))
            for name in (
                "manifest.parquet",
                *(f"digests/{part}.sha256" for part in DIGESTS),
            )
        ],
    log:
        "logs/prepare_corpus.log",
    benchmark:
        "logs/benchmarks/prepare_corpus.tsv"
    conda:
        CONDA
    threads: CONFIG.corpus.resources.cpus
    resources:
        mem_mb=stage_resource("corpus", "mem_mb"),
        runtime=stage_resource("corpus", "runtime"),
    params:
        settings=settings_of("corpus"),
        seed=CONFIG.seed,
        # Fusions are fitted on development utterances that are unused otherwise.
        development="--development" if CONFIG.predicts_development else "",
        # Not outputs: Snakemake would delete them if the job fails, when they are needed.
        rejected="results/corpus/rejected.csv",
        audio="results/corpus/audio",
    message:
        "Reading the corpus"
    shell:
        'python "$scripts"/prepare_corpus.py --settings {params.settings:q} --seed {params.seed} --workers {threads}'
        " --audio {params.audio} --manifest {output.manifest} --references {output.references} {params.development}"
        " --rejected {params.rejected} --summary {output.summary} --folds $(dirname {output.manifest})"
        " --digests $(dirname {output.digests[0]}) 2>&1 | tee {log}"
