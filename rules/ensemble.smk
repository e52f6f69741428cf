# Stage 4: the vote.


rule vote:
    input:
        member_predictions,
    output:
        preds="results/{ensemble}/preds.csv",
        submission="results/{ensemble}/submission.csv",
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
    message:
        "Voting: {wildcards.ensemble}"
    shell:
        'python "$scripts"/vote.py --preds {input:q} --members {params.members} --tiebreak {params.tie_break}'
        " --tie-rule {params.tie_rule} --output {output.preds} --submission {output.submission} 2>&1 | tee {log}"
