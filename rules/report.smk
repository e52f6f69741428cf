# Stage 5: scores, analysis and report.


rule score:
    input:
        manifest=ancient(run_manifest),
        digest=run_digest("manifest"),
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


rule analyse:
    input:
        manifest=ancient(MANIFEST),
        transcripts=ancient(TRANSCRIPTS),
        digests=[digest("manifest"), digest("transcripts")],
        preds=expand("results/{name}/preds.csv", name=REPORTED),
    output:
        report(
            expand("results/analysis/{table}.csv", table=ANALYSES),
            category="Analysis",
            caption="captions/analysis.rst",
        ),
    log:
        "logs/analyse.log",
    benchmark:
        "logs/benchmarks/analyse.tsv"
    conda:
        CONDA
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
        names=REPORTED,
        votes=list(paper_runs.votes(CONFIG)),
        tie_breaks=of_ensembles("tie_break"),
        tie_rules=of_ensembles("tie_rule"),
        bootstrap=CONFIG.report.bootstrap,
        seed=CONFIG.seed,
    message:
        "Analysing the predictions"
    shell:
        'python "$scripts"/analyse.py --manifest {input.manifest} --transcripts {input.transcripts}'
        " --names {params.names} --preds {input.preds} --votes {params.votes} --tie-breaks {params.tie_breaks}"
        " --tie-rules {params.tie_rules} --bootstrap {params.bootstrap} --seed {params.seed}"
        " --output-dir {params.folder} 2>&1 | tee {log}"


rule report:
    input:
        scores=expand("results/{name}/scores.json", name=REPORTED),
        models=expand(
            "results/{system}/model/{part}.json",
            system=[name for name in REPORTED if name in TRAINED],
            part=["config", "metrics"],
        ),
        labellings=expand(
            "results/{system}/labelling.json",
            system=[name for name in CONFIG.systems if name in ZERO_SHOT],
        ),
        votes=expand("results/{ensemble}/preds.csv", ensemble=paper_runs.votes(CONFIG)),
        fusions=expand(
            "results/{ensemble}/ensemble.json",
            ensemble=[name for name in CONFIG.ensembles if name in FUSIONS],
        ),
        manifest=ancient(MANIFEST),
        analysis=expand("results/analysis/{table}.csv", table=ANALYSES),
        tables=tables_made(paper_runs.in_report(CONFIG), "json"),
        summary="results/corpus/summary.json",
        transcripts=ancient(TRANSCRIPTS),
        references=ancient("results/corpus/references.parquet"),
        digests=map(digest, ("manifest", "transcripts", "references")),
    output:
        html=report(
            "results/report/report.html",
            category="Report",
            labels={"part": "report"},
            caption="captions/report.rst",
        ),
        scores=report(
            "results/report/scores.csv",
            category="Tables",
            labels={"table": "scores"},
            caption="captions/scores.rst",
        ),
        per_class=report(
            "results/report/per_class.csv",
            category="Tables",
            labels={"table": "F1 of each emotion"},
            caption="captions/per_class.rst",
        ),
        markdown=multiext("results/report/", "scores.md", "per_class.md"),
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    conda:
        CONDA
    params:
        names=REPORTED,
        title=lambda wildcards: CONFIG.report.title,
        descriptions=system_descriptions,
        analysis=lambda wildcards, input: str(Path(input.analysis[0]).parent),
        models=lambda wildcards, input: [
            str(Path(path).parent)
            for path in input.models
            if path.endswith("config.json")
        ],
        # Not declared by prepare_corpus; see there.
        rejected="results/corpus/rejected.csv",
    message:
        "Writing the report"
    shell:
        'python "$scripts"/report.py --names {params.names} --scores {input.scores}'
        " --models {params.models} --labellings {input.labellings} --votes {input.votes} --fusions {input.fusions} --summary {input.summary}"
        " --transcripts {input.transcripts} --references {input.references} --title={params.title:q} --descriptions={params.descriptions:q}"
        " --manifest {input.manifest} --analysis {params.analysis} --tables {input.tables}"
        " --rejected {params.rejected} --output-dir $(dirname {output.html}) 2>&1 | tee {log}"
