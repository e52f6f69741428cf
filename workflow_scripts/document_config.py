"""Write the JSON Schema of the configuration and the tables of docs/configuration.md, from the models."""

import argparse
from pathlib import Path

from abhinaya import config
from abhinaya.config import reference
from abhinaya.runtime import files
from abhinaya.runtime.errors import run

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    files.write_json(config.schema(), ROOT / "config/schema/config.schema.json")
    page = ROOT / "docs/configuration.md"
    files.write_text(reference.filled(page.read_text(encoding="utf-8")), page)


if __name__ == "__main__":
    run(main)
