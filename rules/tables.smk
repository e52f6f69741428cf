# Stage 6: the paper's tables and figures, ours beside the published numbers. Seconds each: not worth a cluster's job.


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
        'python "$scripts"/paper_table.py --table {wildcards.table} --settings {params.settings:q}'
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
            labels={"table": "{table}, drawn"},
            caption="captions/tables.rst",
        ),
    wildcard_constraints:
        table=alternatives(FIGURES),


rule tables_page:
    input:
        tables_made(TABLES, "json"),
    output:
        report(
            "results/tables/tables.html",
            category="The paper's tables",
            labels={"table": "all of them, a page"},
            caption="captions/tables.rst",
        ),
    log:
        "logs/tables_page.log",
    benchmark:
        "logs/benchmarks/tables_page.tsv"
    localrule: True
    conda:
        CONDA
    message:
        "Writing the page of the paper's tables"
    shell:
        'python "$scripts"/tables_page.py --tables {input} --output-dir $(dirname {output}) 2>&1 | tee {log}'


# `snakemake tables` makes all of them, `snakemake table2` one.
rule tables:
    input:
        tables_made(TABLES, "csv"),
        "results/tables/tables.html",
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
            f"Made: {table}"
