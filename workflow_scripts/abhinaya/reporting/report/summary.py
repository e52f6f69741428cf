"""The summary of the report: best system, gain of the vote and its significance, as sentences."""

import numpy as np
from markupsafe import Markup

from abhinaya.evaluation.metrics import LEVEL, SCORED
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.wording import NBSP, between, count, listing, percentage, probability
from abhinaya.reporting.table import number, scored_splits

ALPHA = (100 - LEVEL) / 100  # significance level


def headline(scores: dict[str, dict]) -> str | None:
    """The main split: test if it has labels, else validation; None without labels."""
    splits = scored_splits(scores)
    return splits[-1] if splits else None


def best(scores: dict[str, dict], split: str) -> str:
    """The system or ensemble with the highest macro-F1 on `split`; the first one if equal."""
    found = {name: system[split]["macro_f1"] for name, system in scores.items() if system.get(split)}
    return max(found, key=found.__getitem__)


def results(inputs: Inputs) -> list[str]:
    """Sentences on the best system and the gain of the vote; omitted if numbers are missing."""
    split = headline(inputs.scores)
    if split is None:
        return ["No utterance here has a label, so nothing is scored."]
    return [sentence for sentence in (_best(inputs, split), *_gain(inputs, split), _caution(inputs, split)) if sentence]


def circumstances(inputs: Inputs) -> list[str]:
    """Sentences on the corpus and the number of warnings; empty if unknown."""
    return [sentence for sentence in (_corpus(inputs.summary), _care(inputs)) if sentence]


def figure(inputs: Inputs) -> Markup | None:
    """Macro-F1 and its interval of each system and ensemble, on each split."""
    splits = scored_splits(inputs.scores)
    if not splits:
        return None

    series = {
        split: [
            (found["macro_f1"], *found["macro_f1_interval"]) if (found := system.get(split)) else None
            for system in inputs.scores.values()
        ]
        for split in reversed(splits)
    }
    return figures.dots(list(inputs.scores), series, "macro-F1 (%)", f"macro-F1 by system on {listing(splits)}")


def left_out(scores: dict[str, dict]) -> dict[str, int]:
    """Utterances without a label by split, where there are any."""
    counts: dict[str, int] = {}
    for system in scores.values():
        for split, n in system.get("unlabelled", {}).items():
            counts[split] = max(n, counts.get(split, 0))
    return {split: n for split, n in counts.items() if n}


def notes(inputs: Inputs) -> list[tuple[str, str]]:
    """What to keep in mind when reading the scores: (the system or the corpus, a sentence)."""
    notes = [(name, line) for name, config in inputs.made.items() for line in config.get("notes") or []]
    if rejected := inputs.summary.get("rejected"):
        line = (
            f"{count(rejected, 'utterance')} rejected as unreadable or too short: in no split, so neither trained on, "
            f"predicted nor scored; a submission lacks those of the test split. {inputs.rejected_file} lists them."
        )
        notes.append(("corpus", line))
    return notes


def _equals(p: float) -> str:
    """``p = 0.032``, ``p < 0.001``."""
    text = probability(p)
    return f"p{NBSP}{text}" if text.startswith("<") else f"p{NBSP}={NBSP}{text}"


def _best(inputs: Inputs, split: str) -> str:
    found = {name: system[split] for name, system in inputs.scores.items() if system.get(split)}
    name = best(inputs.scores, split)
    low, high = found[name]["macro_f1_interval"]
    score = f"{percentage(found[name]['macro_f1'])} ({LEVEL} % interval {100 * low:.1f} to {100 * high:.1f})"
    where = f"On {split} ({count(found[name]['n'], 'utterance')}), {name}"
    if len(found) == 1:
        return f"{where} reaches a macro-F1 of {score}."
    kinds = "systems and ensembles" if inputs.members().keys() & found.keys() else "systems"
    return f"{where} has the highest macro-F1 of {number(len(found))} {kinds}: {score}."


def _gain(inputs: Inputs, split: str) -> list[str]:
    """The best ensemble against its best member; without an ensemble, the best system against the next."""
    scored = {name: system[split]["macro_f1"] for name, system in inputs.scores.items() if system.get(split)}
    members = {name: [m for m in found if m in scored] for name, found in inputs.members().items() if name in scored}
    if members := {name: found for name, found in members.items() if found}:
        vote = max(members, key=scored.__getitem__)
        rival = max(members[vote], key=scored.__getitem__)
        name = f" ({vote})" if len(members) > 1 else ""
        subject = f"The vote of {listing(inputs.members()[vote])}{name} reaches {percentage(scored[vote])},"
        return _compared(inputs, split, vote, rival, subject, f"its best member, {rival}")
    first = best(inputs.scores, split)
    others = [name for name in scored if name != first]
    if not others:
        return []
    rival = max(others, key=scored.__getitem__)
    return _compared(inputs, split, first, rival, "That is", f"the next, {rival}")


def _compared(inputs: Inputs, split: str, a: str, b: str, subject: str, role: str) -> list[str]:
    """Sentences on the difference of `a` (in words: `subject`) and `b` (in words: `role`), and its significance."""
    ours, theirs = (inputs.scores[name][split]["macro_f1"] for name in (a, b))
    pairs = inputs.analysed("significance", split=split)
    found = pairs[pairs["a"].isin([a, b]) & pairs["b"].isin([a, b])].to_dict("records")
    sign = 1 if not found or found[0]["a"] == a else -1
    difference = sign * found[0]["difference"] if found else ours - theirs
    points = f"{100 * abs(difference):.1f}"
    if points == "0.0":
        return [f"{subject} as much as {role}."]
    place = f"{points} point{'' if points == '1.0' else 's'} {'above' if difference > 0 else 'below'}"
    if not found:
        return [f"{subject} {place} {role}; the significance of the difference was not tested."]
    low, high = sorted(sign * found[0][end] for end in ("low", "high"))
    interval = f"({LEVEL} % interval of the difference {between(low, high)})"
    return [f"{subject} {place} {role} {interval}.", _verdict(found[0], len(pairs))]


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


def _caution(inputs: Inputs, split: str | None) -> str:
    if split == SCORED[0] and inputs.metrics:
        return "The checkpoints were chosen on validation, so the trained systems look better here than they are."
    return ""


def _corpus(summary: dict) -> str:
    if not summary.get("utterances"):
        return ""
    use = {"train": "to train on", "validation": "for validation", "test": "for test", "unused": "in no split"}
    splits = summary.get("splits", {})
    parts = [f"{number(n)} {words}" for split, words in use.items() if (n := splits.get(split, {}).get("utterances"))]
    hours = f" ({summary['hours']:,.1f} hours)" if summary.get("hours") else ""
    divided = f": {listing(parts)}" if parts else ""
    return f"The corpus holds {count(summary['utterances'], 'utterance')}{hours}{divided}."


def _care(inputs: Inputs) -> str:
    """How much there is to keep in mind; what it is, stands in the notes."""
    systems = [line for config in inputs.made.values() for line in config.get("notes") or []]
    rejected = inputs.summary.get("rejected")
    parts = [
        *([f"{count(len(systems), 'note')} on how systems were made"] if systems else []),
        *([f"{count(rejected, 'utterance')} rejected"] if rejected else []),
        *[f"{count(n, f'{split} utterance')} without a label" for split, n in left_out(inputs.scores).items()],
    ]
    return f"To keep in mind: {listing(parts)}." if parts else ""
