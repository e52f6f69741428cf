# `snakemake cv`: every fold of `corpus.split` trains, predicts and votes in jobs of its own.


localrules:
    cv,


rule cross_validate:
    input:
        manifests=ancient(cv_manifests),
        digests=lambda wildcards: [
            str(Path(path).parent / "digests" / "manifest.sha256")
            for path in cv_manifests(wildcards)
        ],
        preds=cv_predictions,
    output:
        multiext("results/cv/scores", ".csv", ".md"),
        folds="results/cv/folds.csv",
        predictions="results/cv/predictions.csv",
    log:
        "logs/cross_validate.log",
    conda:
        CONDA
    params:
        preds=cv_options,
    message:
        "Scoring the cross-validation"
    shell:
        'python "$scripts"/cross_validate.py --manifests {input.manifests} {params.preds}'
        " --output-dir $(dirname {output.folds}) 2>&1 | tee {log}"


rule cv:
    input:
        "results/cv/scores.csv",
    message:
        "The cross-validation: results/cv/"
