"""The summary of the report as sentences: best system, gain of the vote, its significance."""

import numpy as np
from markupsafe import Markup

from abhinaya.data.corpora import leaks, overlaps
from abhinaya.evaluation.metrics import LEVEL, SCORED
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.probes import probes
from abhinaya.reporting.report.wording import NBSP, between, count, listing, percentage, probability
from abhinaya.reporting.table import number, scored_splits, scores_on

ALPHA = (100 - LEVEL) / 100  # significance level


def headline(scores: dict[str, dict]) -> str | None:
    """The main split: test if it has labels, else validation; None without labels."""
    splits = scored_splits(scores)
    return splits[-1] if splits else None


def best(scores: dict[str, dict], split: str) -> str:
    """The system or ensemble with the highest macro-F1 on `split`; the first one if equal."""
    return _highest({name: values["macro_f1"] for name, values in scores_on(scores, split).items()})


def results(inputs: Inputs) -> list[str]:
    """Sentences on the best system, the gain of the vote and the gain of training; omitted if numbers are missing."""
    split = headline(inputs.scores)
    if split is None:
        return ["No utterance has a label, so there are no scores."]
    sentences = [_best(inputs, split), *_gain(inputs, split), *_gain_of_training(inputs, split)]
    if split == SCORED[0] and inputs.metrics:
        sentences.append("The checkpoints were selected on validation, so the scores of trained systems are too high.")
    return [sentence for sentence in sentences if sentence]


def context(inputs: Inputs) -> list[str]:
    """Sentences on the corpus and the number of limitations; empty if unknown."""
    return [sentence for sentence in (_corpus(inputs.summary), _limitations(inputs)) if sentence]


def figure(inputs: Inputs) -> Markup | None:
    """Macro-F1 and its interval of each system and ensemble on each split; None without labels."""
    splits = scored_splits(inputs.scores)
    if not splits:
        return None
    series = {
        split: [
            (values["macro_f1"], *values["macro_f1_interval"]) if (values := system.get(split)) else None
            for system in inputs.scores.values()
        ]
        for split in reversed(splits)
    }
    return figures.dots(list(inputs.scores), series, "macro-F1 (%)", f"macro-F1 by system on {listing(splits)}")


def unlabelled(scores: dict[str, dict]) -> dict[str, int]:
    """The number of utterances without a label by split, without zeros."""
    counts: dict[str, int] = {}
    for system in scores.values():
        for split, n in system.get("unlabelled", {}).items():
            counts[split] = max(n, counts.get(split, 0))
    return {split: n for split, n in counts.items() if n}


def limitations(inputs: Inputs) -> list[tuple[str, str]]:
    """Limitations of the scores: (system or ``corpus``, sentence)."""
    lines = [(name, line) for name, config in inputs.made.items() for line in config.get("notes") or []]
    if rejected := inputs.summary.get("rejected"):
        line = (
            f"{count(rejected, 'utterance')} rejected as unreadable or too short: in no split and in no submission, "
            f"neither trained on, predicted nor scored. They are listed in {inputs.rejected_file}."
        )
        lines.append(("corpus", line))
    lines += [("corpus", line) for line in leaks.sentences(inputs.summary.get("leaks", {}))]
    lines += [("corpus", f"Contains {line}.") for line in overlaps.sentences(inputs.summary.get("overlaps", []))]
    return lines


def _equals(p: float) -> str:
    """``p = 0.032``, ``p < 0.001``."""
    text = probability(p)
    return f"p{NBSP}{text}" if text.startswith("<") else f"p{NBSP}={NBSP}{text}"


def _best(inputs: Inputs, split: str) -> str:
    scores, name = scores_on(inputs.scores, split), best(inputs.scores, split)
    low, high = scores[name]["macro_f1_interval"]
    score = f"{percentage(scores[name]['macro_f1'])} ({LEVEL} % interval {100 * low:.1f} to {100 * high:.1f})"
    start = f"On {split} ({count(scores[name]['n'], 'utterance')}), {name}"
    if len(scores) == 1:
        return f"{start} reaches a macro-F1 of {score}."
    kinds = "systems and ensembles" if inputs.members().keys() & scores.keys() else "systems"
    return f"{start} has the highest macro-F1 of {number(len(scores))} {kinds}: {score}."


def _gain(inputs: Inputs, split: str) -> list[str]:
    """The best ensemble compared with its best member; without an ensemble, the best system with the second."""
    f1_of = {name: values["macro_f1"] for name, values in scores_on(inputs.scores, split).items()}
    ensembles = {name: members for name, members in inputs.members().items() if name in f1_of and {*members} & {*f1_of}}
    if ensembles:
        vote = _highest({name: f1_of[name] for name in ensembles})
        member = _highest({name: f1_of[name] for name in ensembles[vote] if name in f1_of})
        name = f" ({vote})" if len(ensembles) > 1 else ""
        subject = f"The vote of {listing(ensembles[vote])}{name} reaches {percentage(f1_of[vote])},"
        return _compare(inputs, split, vote, member, subject, f"its best member, {member}")
    first = _highest(f1_of)
    others = {name: f1 for name, f1 in f1_of.items() if name != first}
    if not others:
        return []
    second = _highest(others)
    return _compare(inputs, split, first, second, "That is", f"the second, {second}")


def _gain_of_training(inputs: Inputs, split: str) -> list[str]:
    """Each trained system compared with its probe."""
    scores = scores_on(inputs.scores, split)
    return [
        sentence
        for name, probe in probes(inputs).items()
        if name in scores and probe in scores
        for sentence in _compare(
            inputs,
            split,
            name,
            probe,
            f"{name} reaches {percentage(scores[name]['macro_f1'])},",
            f"{probe}, a logistic regression on the same vectors",
        )
    ]


def _highest(values: dict[str, float]) -> str:
    """The name of the highest value; the first one if equal."""
    return max(values, key=values.__getitem__)


def _compare(inputs: Inputs, split: str, a: str, b: str, subject: str, role: str) -> list[str]:
    """Sentences on the difference of `a` (in words: `subject`) and `b` (in words: `role`), and its significance."""
    pairs = inputs.analysed("significance", split=split)
    rows = pairs[pairs["a"].isin([a, b]) & pairs["b"].isin([a, b])].to_dict("records")
    sign = 1 if not rows or rows[0]["a"] == a else -1
    f1_of_a, f1_of_b = (inputs.scores[name][split]["macro_f1"] for name in (a, b))
    difference = sign * rows[0]["difference"] if rows else f1_of_a - f1_of_b
    points = f"{100 * abs(difference):.1f}"
    if points == "0.0":
        return [f"{subject} as much as {role}."]
    place = f"{points} point{'' if points == '1.0' else 's'} {'above' if difference > 0 else 'below'}"
    if not rows:
        return [f"{subject} {place} {role}; the significance of the difference was not tested."]
    low, high = sorted(sign * rows[0][end] for end in ("low", "high"))
    interval = f"({LEVEL} % interval of the difference {between(low, high)})"
    return [f"{subject} {place} {role} {interval}.", _verdict(rows[0], len(pairs))]


def _verdict(comparison: dict, pairs: int) -> str:
    """A sentence on the significance of one of `pairs` comparisons; empty if it was not tested."""
    p, p_speakers = comparison["p_bootstrap_holm"], comparison["p_speakers_holm"]
    if np.isnan(p):
        return ""
    corrected = f" after Holm's correction for {number(pairs)} comparisons" if pairs > 1 else ""
    verdict = f"The difference is {significant(p)} ({_equals(p)}{corrected})"
    if p >= ALPHA or np.isnan(p_speakers):
        return f"{verdict}."
    return f"{verdict}; with resampled speakers it is {significant(p_speakers)} ({_equals(p_speakers)})."


def significant(p: float) -> str:
    return "significant" if p < ALPHA else "not significant"


def _corpus(summary: dict) -> str:
    if not summary.get("utterances"):
        return ""
    use = {"train": "for training", "validation": "for validation", "test": "for test"}
    use |= {"development": "only for fitting a fusion", "unused": "in no split"}
    splits = summary.get("splits", {})
    parts = [f"{number(n)} {words}" for split, words in use.items() if (n := splits.get(split, {}).get("utterances"))]
    hours = f" ({summary['hours']:,.1f} hours)" if summary.get("hours") else ""
    splits_text = f": {listing(parts)}" if parts else ""
    return f"The corpus has {count(summary['utterances'], 'utterance')}{hours}{splits_text}."


def _limitations(inputs: Inputs) -> str:
    """The number of limitations of each kind."""
    notes = [line for config in inputs.made.values() for line in config.get("notes") or []]
    rejected = inputs.summary.get("rejected")
    parts = [
        *([f"{count(len(notes), 'note')} on systems"] if notes else []),
        *([f"{count(rejected, 'utterance')} rejected"] if rejected else []),
        *(["speakers or recordings in two splits"] if any(inputs.summary.get("leaks", {}).values()) else []),
        *[f"{count(n, f'{split} utterance')} without a label" for split, n in unlabelled(inputs.scores).items()],
    ]
    return f"Limitations: {listing(parts)}." if parts else ""
