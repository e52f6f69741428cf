"""The tie rule `panel`: the tie-breaker among the tied, else all members together."""

import pandas as pd

from abhinaya.config.ensemble import Ensemble
from abhinaya.evaluation import voting
from abhinaya.labels import CLASSES


def member(label: str, **probabilities: float) -> pd.DataFrame:
    """One utterance's prediction; the classes not named share what is left."""
    rest = (1 - sum(probabilities.values())) / (8 - len(probabilities))
    row = {f"p_{letter}": probabilities.get(letter, rest) for letter in CLASSES}
    return pd.DataFrame([{"Split": "test", "EmoClass": label, **row}], index=pd.Index(["a.wav"], name="FileName"))


def decided(*members: pd.DataFrame) -> dict[str, str]:
    """The label by each rule; the first member breaks ties."""
    named = {f"m{index}": table for index, table in enumerate(members)}
    rules = ("label", "probabilities", "panel")
    return {rule: voting.vote(named, "m0", rule)["EmoClass"].item() for rule in rules}


def test_a_tie_breaker_who_stands_alone_leaves_it_to_all() -> None:
    alone = member("N", N=0.6, A=0.2)
    angry, happy = member("A", A=0.4), member("H", H=0.9)
    assert decided(alone, angry, angry, happy, happy) == {"label": "N", "probabilities": "A", "panel": "H"}


def test_a_tie_breaker_among_the_tied_decides() -> None:
    assert decided(member("A", A=0.4), member("H", H=0.9)) == {"label": "A", "probabilities": "A", "panel": "A"}


def test_a_majority_is_no_tie() -> None:
    assert set(decided(member("N", N=0.9), *[member("S", S=0.3)] * 2).values()) == {"S"}


def test_the_configuration_knows_it() -> None:
    assert Ensemble(members=["a", "b"], tie_break="a", tie_rule="panel").tie_rule == "panel"
