"""docs/corpora.md: its table lists every corpus with its default folds, its configurations are valid."""

import re
from pathlib import Path

import yaml

from abhinaya import config
from abhinaya.config.corpora import KINDS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "corpora.md").read_text(encoding="utf-8")


def test_the_table_lists_every_corpus_with_its_folds() -> None:
    folds = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]*) \|", PAGE, flags=re.MULTILINE))
    del folds["kind"]  # the header
    assert set(folds) == set(KINDS) - {"csv", "synthetic"}
    for kind, text in folds.items():
        number = KINDS[kind].model_fields["split"].default.number
        assert text.startswith(f"{number}, ") if number else not text[0].isdigit(), kind


def test_its_configurations_are_valid() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        config.validate(yaml.safe_load(block))


def test_its_scripts_exist() -> None:
    scripts = set(re.findall(r"python (\S+\.py)", PAGE))
    assert scripts and all((ROOT / script).is_file() for script in scripts)
