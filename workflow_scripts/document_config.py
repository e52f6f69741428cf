"""Generate the JSON Schema and the reference tables of config/README.md from the configuration's models."""

import argparse
from pathlib import Path

from abhinaya import config
from abhinaya.config import reference
from abhinaya.runtime import files
from abhinaya.runtime.errors import run

FOLDER = Path(__file__).resolve().parents[1] / "config"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--schema", type=Path, default=FOLDER / "schema" / "config.schema.json", help="JSON Schema to write")
    add("--readme", type=Path, default=FOLDER / "README.md", help="file whose tables are updated")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    files.write_json(config.schema(), args.schema)
    files.write_text(reference.filled(args.readme.read_text(encoding="utf-8")), args.readme)


if __name__ == "__main__":
    run(main)
