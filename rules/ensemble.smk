# Stage 4: majority votes.


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
