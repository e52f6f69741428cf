# Stage 4: majority votes, and fusions of probabilities.


rule vote:
    input:
        manifest=ancient(run_manifest),
        digest=run_digest("evaluation"),
        members=member_predictions,
    output:
        preds="results/{ensemble}/preds.csv",
        submission="results/{ensemble}/submission.csv",
        description="results/{ensemble}/ensemble.json",
    log:
        "logs/vote/{ensemble}.log",
    benchmark:
        "logs/benchmarks/vote/{ensemble}.tsv"
    wildcard_constraints:
        ensemble=alternatives(VOTES),
    conda:
        CONDA
    params:
        members=ensemble_setting("members"),
        tie_break=ensemble_setting("tie_break"),
        tie_rule=ensemble_setting("tie_rule"),
        # Not declared by prepare_corpus; see there.
        rejected="results/corpus/rejected.csv",
    message:
        "Voting: {wildcards.ensemble}"
    shell:
        'python "$scripts"/vote.py --preds {input.members} --members {params.members} --tie-break {params.tie_break}'
        " --tie-rule {params.tie_rule} --manifest {input.manifest} --rejected {params.rejected} --output {output.preds} --submission {output.submission}"
        " --description {output.description} 2>&1 | tee {log}"


rule fit_fusion:
    input:
        manifest=ancient(MANIFEST),
        digest=digest("manifest"),
        members=member_predictions,
    output:
        preds="results/{ensemble}/preds.csv",
        submission="results/{ensemble}/submission.csv",
        description="results/{ensemble}/ensemble.json",
        tables=expand("results/{{ensemble}}/fusion/{table}.csv", table=FUSION_TABLES),
    log:
        "logs/fit_fusion/{ensemble}.log",
    benchmark:
        "logs/benchmarks/fit_fusion/{ensemble}.tsv"
    wildcard_constraints:
        ensemble=alternatives(FUSIONS),
    conda:
        CONDA
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt=1: 4000 * attempt,
        runtime=lambda wildcards, attempt=1: 60 * attempt,
    params:
        settings=lambda wildcards: settings_json(ENSEMBLES[wildcards.ensemble]),
        seed=CONFIG.seed,
        bootstrap=CONFIG.report.bootstrap,
        folder=lambda wildcards, output: str(Path(output.tables[0]).parent),
        # Not declared by prepare_corpus; see there.
        rejected="results/corpus/rejected.csv",
    message:
        "Fitting the fusion {wildcards.ensemble}"
    shell:
        'python "$scripts"/fit_fusion.py --settings {params.settings:q} --preds {input.members} --seed {params.seed}'
        " --manifest {input.manifest} --rejected {params.rejected} --bootstrap {params.bootstrap}"
        " --output {output.preds} --submission {output.submission} --description {output.description}"
        " --tables {params.folder} 2>&1 | tee {log}"
