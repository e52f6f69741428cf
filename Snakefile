# ABHINAYA (arXiv 2505.18217): speech emotion recognition by a vote of five models. See README.md and docs/configuration.md.

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))

from abhinaya.config.yaml_file import check_or_exit

check_or_exit(workflow.overwrite_configfiles or [Path(workflow.basedir, "config.yaml")])

# Snakemake merges --configfile into this default key by key; a configuration of yours replaces it as a whole.
if not workflow.overwrite_configfiles:

    configfile: str(Path(workflow.basedir, "config.yaml"))


include: "rules/common.smk"
include: "rules/preflight.smk"
include: "rules/corpus.smk"
include: "rules/transcripts.smk"
include: "rules/features.smk"
include: "rules/training.smk"
include: "rules/zero_shot.smk"
include: "rules/external.smk"
include: "rules/ensemble.smk"
include: "rules/paper.smk"
include: "rules/report.smk"
include: "rules/cross_validation.smk"


localrules:
    all,
    paper_figure,  # derived from a local rule, which does not make it local


rule all:
    default_target: True
    input:
        expand("results/{name}/preds.csv", name=runs.of_all(CONFIG)),
        expand("results/{ensemble}/submission.csv", ensemble=CONFIG.ensembles),
        "results/corpus/transcripts.parquet",
        "results/report/report.html",
    message:
        "Everything: report, scores and the predictions of all systems and ensembles"
