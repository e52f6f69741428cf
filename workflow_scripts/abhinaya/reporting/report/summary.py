"""The summary of the report: best system, gain of the vote and its significance, as sentences."""

from dataclasses import dataclass

from markupsafe import Markup

from abhinaya.evaluation.metrics import LEVEL, SCORED
from abhinaya.reporting.report import figures
from abhinaya.reporting.report.inputs import Inputs
from abhinaya.reporting.report.wording import NBSP, between, count, listing, percent, probability
from abhinaya.reporting.table import number, scored_splits

ALPHA = (100 - LEVEL) / 100  # significance level


@dataclass(frozen=True)
class Comparison:
    """The difference of two macro-F1 (fractions), its interval, its p-value, also after Holm's for all `pairs`.

    `p_speakers_holm` is that with resampled speakers, NaN if speakers are unknown.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    p_speakers_holm: float
    pairs: int

    def verdict(self) -> str:
        """A sentence on significance; empty if it was not tested."""
        if self.p_holm != self.p_holm:
            return ""
        corrected = f" after Holm's correction for {number(self.pairs)} comparisons" if self.pairs > 1 else ""
        in_brackets = f"({_equals(self.p_holm)}{corrected})"
        if self.p_holm < ALPHA:
            return f"That is more than chance explains {in_brackets}{self._among_speakers()}."
        if self.pairs == 1:
            return f"That is no more than chance explains {in_brackets}."
        if self.p < ALPHA:
            return f"That is not beyond what chance brings forth in so many comparisons {in_brackets}."
        return f"That is within chance {in_brackets}."

    def _among_speakers(self) -> str:
        """The end of the sentence: significance over resampled speakers."""
        if self.p_speakers_holm != self.p_speakers_holm:
            return ""
        if self.p_speakers_holm < ALPHA:
            return f", also with whole speakers drawn ({_equals(self.p_speakers_holm)})"
        return f", but not with whole speakers drawn ({_equals(self.p_speakers_holm)})"


def headline(scores: dict[str, dict]) -> str | None:
    """The main split: test if it has labels, else validation; None without labels."""
    splits = scored_splits(scores)
    return splits[-1] if splits else None


def best(scores: dict[str, dict], split: str) -> str:
    """The system or ensemble with the highest macro-F1 on `split`; the first one if equal."""
    found = {name: system[split]["macro_f1"] for name, system in scores.items() if system.get(split)}
    return max(found, key=found.__getitem__)


def compare(inputs: Inputs, split: str, a: str, b: str) -> Comparison | None:
    """The comparison of `a` and `b` on `split` in the analysis; None if missing."""
    rows = inputs.analysed("significance", split=split)
    for first, second, sign in ((a, b, 1), (b, a, -1)):
        found = rows[(rows["a"] == first) & (rows["b"] == second)]
        if len(found):
            row = found.iloc[0]
            low, high = sorted((sign * float(row["low"]), sign * float(row["high"])))
            tests = (float(row[test]) for test in ("p_bootstrap", "p_bootstrap_holm", "p_speakers_holm"))
            return Comparison(sign * float(row["difference"]), low, high, *tests, len(rows))
    return None


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

    def measured(split: str) -> list[figures.Interval | None]:
        found = [system.get(split) for system in inputs.scores.values()]
        return [(part["macro_f1"], *part["macro_f1_interval"]) if part else None for part in found]

    series = {split: measured(split) for split in reversed(splits)}
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
    told = [(name, line) for name, config in inputs.made.items() for line in config.get("notes") or []]
    if rejected := inputs.summary.get("rejected"):
        line = (
            f"{count(rejected, 'utterance')} rejected as unreadable or too short: in no split, so neither trained on, "
            f"predicted nor scored; a submission lacks those of the test split. {inputs.rejected_file} lists them."
        )
        told.append(("corpus", line))
    return told


def _equals(p: float) -> str:
    """``p = 0.032``, ``p < 0.001``."""
    text = probability(p)
    return f"p{NBSP}{text}" if text.startswith("<") else f"p{NBSP}={NBSP}{text}"


def _best(inputs: Inputs, split: str) -> str:
    found = {name: system[split] for name, system in inputs.scores.items() if system.get(split)}
    name = best(inputs.scores, split)
    low, high = found[name]["macro_f1_interval"]
    score = f"{percent(found[name]['macro_f1'])} ({LEVEL} % interval {100 * low:.1f} to {100 * high:.1f})"
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
        subject = f"The vote of {listing(inputs.members()[vote])}{name} reaches {percent(scored[vote])},"
        return _compared(inputs, split, vote, rival, subject, f"its best member, {rival}")
    first = best(inputs.scores, split)
    others = [name for name in scored if name != first]
    if not others:
        return []
    rival = max(others, key=scored.__getitem__)
    return _compared(inputs, split, first, rival, "That is", f"the next, {rival}")


def _compared(inputs: Inputs, split: str, a: str, b: str, subject: str, role: str) -> list[str]:
    """How `a` stands to `b` and whether that is more than chance; `subject` and `role` tell of them in words."""
    found = compare(inputs, split, a, b)
    ours, theirs = (inputs.scores[name][split]["macro_f1"] for name in (a, b))
    difference = found.difference if found else ours - theirs
    points = f"{100 * abs(difference):.1f}"
    if points == "0.0":
        return [f"{subject} as much as {role}."]
    place = f"{points} point{'' if points == '1.0' else 's'} {'above' if difference > 0 else 'below'}"
    if found is None:
        return [f"{subject} {place} {role}; whether that is more than chance was not tested."]
    interval = f"({LEVEL} % interval of the difference {between(found.low, found.high)})"
    return [f"{subject} {place} {role} {interval}.", found.verdict()]


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
    systems = [(name, line) for name, config in inputs.made.items() for line in config.get("notes") or []]
    rejected = inputs.summary.get("rejected") or 0
    parts = []
    if systems:
        parts.append(f"{count(len(systems), 'note')} on how systems were made")
    if rejected:
        parts.append(f"{count(rejected, 'utterance')} rejected")
    parts += [f"{count(n, f'{split} utterance')} without a label" for split, n in left_out(inputs.scores).items()]
    return f"To keep in mind: {listing(parts)}." if parts else ""
