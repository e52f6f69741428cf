# Stage 6: the paper's tables and figures with our and the published numbers. They take seconds, so they run locally.


rule paper_table:
    input:
        scores=table_scores,
        summary="results/corpus/summary.json",
        published=Path(
            workflow.basedir,
            "workflow_scripts",
            "abhinaya",
            "reporting",
            "paper",
            "paper.csv",
        ),
    output:
        csv=report(
            "results/tables/{table}.csv",
            category="The paper's tables",
            labels={"table": "{table}"},
            caption="captions/tables.rst",
        ),
        others=multiext("results/tables/{table}", ".md", ".tex", ".json"),
    log:
        "logs/paper_table/{table}.log",
    benchmark:
        "logs/benchmarks/paper_table/{table}.tsv"
    wildcard_constraints:
        table=alternatives([table for table in TABLES if table not in FIGURES]),
    localrule: True
    conda:
        CONDA
    params:
        settings=lambda wildcards: paper_runs.settings(CONFIG),
        names=table_runs,
        votes=table_votes,
    message:
        "Making {wildcards.table}"
    shell:
        'python "$scripts"/make_paper_table.py --table {wildcards.table} --settings {params.settings:q}'
        " --names {params.names} --scores {input.scores} --votes {params.votes} --summary {input.summary}"
        " --output-dir $(dirname {output.csv}) 2>&1 | tee {log}"


use rule paper_table as paper_figure with:
    output:
        csv=report(
            "results/tables/{table}.csv",
            category="The paper's tables",
            labels={"table": "{table}"},
            caption="captions/tables.rst",
        ),
        others=multiext("results/tables/{table}", ".md", ".tex", ".json"),
        svg=report(
            "results/tables/{table}.svg",
            category="The paper's tables",
            labels={"table": "{table} (figure)"},
            caption="captions/tables.rst",
        ),
    wildcard_constraints:
        table=alternatives(FIGURES),


# `snakemake tables` makes all of them, `snakemake table2` one.
rule tables:
    input:
        tables_made(TABLES, "csv"),
    localrule: True
    message:
        "The paper's tables"


for table in TABLES:

    rule:
        name:
            table
        input:
            tables_made([table], "csv"),
        localrule: True
        message:
            f"Finished: {table}"
