# Stage 5: scores and the report.


rule score:
    input:
        manifest="results/corpus/manifest.parquet",
        preds="results/{name}/preds.csv",
    output:
        "results/{name}/scores.json",
    log:
        "logs/score/{name}.log",
    benchmark:
        "logs/benchmarks/score/{name}.tsv"
    conda:
        CONDA
    params:
        bootstrap=CONFIG.report.bootstrap,
        seed=CONFIG.seed,
    message:
        "Scoring {wildcards.name}"
    shell:
        'python "$scripts"/score.py --manifest {input.manifest} --preds {input.preds} --output {output}'
        " --bootstrap {params.bootstrap} --seed {params.seed} 2>&1 | tee {log}"


rule report:
    input:
        scores=expand(
            "results/{name}/scores.json", name=[*CONFIG.systems, *CONFIG.ensembles]
        ),
        models=expand(
            "results/{system}/model/{part}.json",
            system=TRAINED,
            part=["config", "metrics"],
        ),
        labellings=expand("results/{system}/labelling.json", system=ZERO_SHOT),
        votes=expand("results/{ensemble}/preds.csv", ensemble=CONFIG.ensembles),
        summary="results/corpus/summary.json",
        transcripts="results/corpus/transcripts.parquet",
        references="results/corpus/references.parquet",
    output:
        html=report(
            "results/report/report.html", category="Report", labels={"part": "report"}
        ),
        scores=report(
            "results/report/scores.csv",
            category="Tables",
            labels={"table": "scores"},
        ),
        per_class=report(
            "results/report/per_class.csv",
            category="Tables",
            labels={"table": "F1 of each emotion"},
        ),
        markdown=multiext("results/report/", "scores.md", "per_class.md"),
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    conda:
        CONDA
    params:
        names=[*CONFIG.systems, *CONFIG.ensembles],
        title=lambda wildcards: CONFIG.report.title,
        about=systems_in_words,
        models=lambda wildcards: [f"results/{name}/model" for name in TRAINED],
    message:
        "Writing the report"
    shell:
        'python "$scripts"/report.py --names {params.names} --scores {input.scores}'
        " --models {params.models} --labellings {input.labellings} --votes {input.votes} --summary {input.summary}"
        " --transcripts {input.transcripts} --references {input.references} --title={params.title:q} --about={params.about:q}"
        " --output-dir $(dirname {output.html}) 2>&1 | tee {log}"
