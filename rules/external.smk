# Stage 3c: predictions of other programs, checked and completed with the splits of the manifest.


rule import_predictions:
    input:
        manifest=ancient(MANIFEST),
        digest=digest("evaluation"),
        preds=lambda wildcards: SYSTEMS[wildcards.system].preds,
    output:
        preds="results/{system}/preds.csv",
        source="results/{system}/source.json",
    log:
        "logs/import_predictions/{system}.log",
    wildcard_constraints:
        system=alternatives(EXTERNAL),
    conda:
        CONDA
    message:
        "Importing the predictions of {wildcards.system}"
    shell:
        'python "$scripts"/import_predictions.py --preds {input.preds:q} --manifest {input.manifest}'
        " --output {output.preds} --source {output.source} 2>&1 | tee {log}"
