"""Inputs of the report, and helpers to run its script and to parse its page."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import report as report_script
from abhinaya.data import schemas
from abhinaya.data.schemas import PROBABILITIES
from abhinaya.evaluation import metrics, voting
from abhinaya.labels import CLASSES
from abhinaya.reporting.report.inputs import REFERENCES
from abhinaya.runtime import files
from abhinaya.runtime.files import write_json

EVIL = "<script>alert('a|b')</script> $x$"
VOID = {"meta", "br", "hr", "img", "link", "input"}
SPLITS = ("validation", "test")
OF_ANALYSIS = ("paper", "significance", "calibration", "subgroups", "worst_errors", "rejected")  # sections


class Checker(HTMLParser):
    """Checks that tags are balanced; collects ids, addresses and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                self.addresses.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def make_inputs(root: Path) -> dict[str, Path]:
    """Small files of a run: two systems, their vote, corpus, transcripts."""
    rng = np.random.default_rng(5)
    truth = np.tile(list(CLASSES), 10)
    names = [f"u{index:03d}.wav" for index in range(len(truth))]
    manifest = pd.DataFrame({"FileName": names, "EmoClass": truth, "split": np.repeat(SPLITS, 40)})
    for system, skill in (("s1", 0.3), ("s2", 0.6)):
        labels = np.where(rng.random(len(truth)) < skill, truth, rng.choice(list(CLASSES), len(truth)))
        certain = pd.DataFrame(labels[:, None] == np.array(CLASSES), columns=list(PROBABILITIES)).astype(float)
        guesses = certain.assign(FileName=names, Split=manifest["split"], EmoClass=labels)
        schemas.write_predictions(guesses, root / system / "preds.csv")
        model = {
            "name": EVIL if system == "s1" else system,
            "settings": {"encoder": {"model": f"{system}-large"}, "loss": {"name": "vs", "gamma": 0.3, "tau": 1.0}},
            "versions": {"python": "3.11", "torch": f"2.{skill}"},
            "notes": [f"random weights {EVIL}"] if system == "s1" else [],
        }
        write_json(model, root / system / "model" / "config.json")
        epochs = [{"epoch": e, "loss": 2 / e, "validation_loss": 3 / e, "macro_f1": skill * e / 3} for e in (1, 2, 3)]
        write_json({"epochs": epochs, "best_epoch": 3}, root / system / "model" / "metrics.json")
    members = voting.read_members({name: root / name / "preds.csv" for name in ("s1", "s2")})
    schemas.write_predictions(voting.vote(members, "s2"), root / "both" / "preds.csv")
    for system in ("s1", "s2", "both"):
        guesses = schemas.read_predictions(root / system / "preds.csv")
        scores = metrics.score(manifest, guesses, resamples=50)
        write_json(scores, root / system / "scores.json")
        write_json(scores | {"validation": None}, root / system / "test.json")  # for half the figures
    summary = {
        "utterances": 80,
        "rejected": 1042,
        "splits": {"train": {"classes": {"A": 1234, "X": 7}}, "test": {"gender": {EVIL: 3}}},
    }
    write_json(summary, root / "summary.json")
    features = pd.DataFrame({"FileName": names, "text": "Hello, world!", "avg_logprob": -rng.random(len(names))})
    features.loc[:2, "text"] = ""
    metadata = {"model": EVIL, "counts": {"redecoded": 4321}}
    files.write_parquet(features, schemas.TRANSCRIPTS, root / "transcripts.parquet", metadata)
    known = pd.DataFrame({"FileName": names, "text": "hello world"})
    files.write_parquet(known, REFERENCES, root / "references.parquet")
    return {"root": root, **{path.stem: path for path in root.glob("*.*")}}


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
    report_script.main()


def section(html: str, key: str) -> str:
    return re.search(rf'<section id="{key}".*?\n</section>\n', html, re.DOTALL)[0]


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).replace("\u00a0", " ").split())
