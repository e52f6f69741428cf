"""Write what the models of the configuration say into its JSON Schema and into the tables of docs/configuration.md."""

import argparse
from pathlib import Path

from abhinaya import config
from abhinaya.config import reference
from abhinaya.runtime import files
from abhinaya.runtime.errors import run

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    option = parser.add_argument
    option("--schema", type=Path, default=ROOT / "config/schema/config.schema.json", help="the schema")
    option("--manual", type=Path, default=ROOT / "docs/configuration.md", help="only its tables change")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files.write_json(config.schema(), args.schema)
    files.write_text(reference.filled(args.manual.read_text(encoding="utf-8")), args.manual)


if __name__ == "__main__":
    run(main)
