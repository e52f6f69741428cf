"""Make a model folder from a fine-tuned checkpoint of the authors (S1, S2, T2, ST1), without training.

Needs the configuration files of the pretrained models, not their weights, and no GPU.
"""

import argparse
from pathlib import Path

from abhinaya.config import parse
from abhinaya.config.system import Trained
from abhinaya.runtime import errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the system, for its config.json")
    parser.add_argument(
        "--settings", required=True, help="its section of the configuration: JSON, or a JSON or YAML file"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the authors' file")
    parser.add_argument("--seed", type=int, default=1234, help="seed of random parts, for tests")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = parse(Trained, args.settings, where=f"systems.{args.name}")
    from abhinaya.modeling import fine_tuned
    from abhinaya.preflight import meta_models  # slow to import; not needed for --help or invalid settings

    classifier = meta_models.classifier(settings)
    fine_tuned.convert(args.name, settings, args.checkpoint, classifier, args.seed, args.output)


if __name__ == "__main__":
    errors.run(main)
