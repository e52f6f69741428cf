# `snakemake cv`: every fold of `corpus.split` trains, predicts and votes in jobs of its own.


localrules:
    cv,


def cv_runs(wildcards=None):
    """The runs of each fold by system or ensemble."""
    if not BY_FOLD:
        raise ValueError(
            "`snakemake cv` needs folds: set corpus.split, such as {by: speaker, folds: 5}, and train a system"
        )
    return BY_FOLD


def cv_manifests(wildcards):
    runs_of_folds, *_ = cv_runs().values()
    return [manifest_of(run) for _, run in sorted(runs_of_folds.items())]


def cv_predictions(wildcards):
    return [
        f"results/{run}/preds.csv"
        for runs_of_folds in cv_runs().values()
        for _, run in sorted(runs_of_folds.items())
    ]


def cv_options(wildcards):
    return " ".join(
        f"--preds {name} "
        + " ".join(
            f"results/{run}/preds.csv" for _, run in sorted(runs_of_folds.items())
        )
        for name, runs_of_folds in cv_runs().items()
    )


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
