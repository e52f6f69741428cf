"""Write the page of the paper's tables: one self-contained HTML file, made of the JSON files of paper_table.py."""

import argparse
from pathlib import Path

from abhinaya.reporting import report
from abhinaya.runtime.errors import run


def main() -> None:
    args = parse_args()
    report.write_tables_page(args.tables, args.output_dir, args.title)
    print(args.output_dir / "tables.html")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", type=Path, required=True, help="JSON files of paper_table.py, in order")
    parser.add_argument("--title", default="The paper's tables, and ours", help="heading of the page")
    parser.add_argument("--output-dir", type=Path, default=Path("results/tables"), help="folder to write into")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
