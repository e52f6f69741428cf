"""What a language model is asked, and how its answers are read. Pure: no file, no network."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from abhinaya.config.zero_shot import ScoredPrompt, WordPrompt
from abhinaya.labels import EMOTIONS

PAPER_ORDER = "HASNCDUF"  # in which the authors' T1 prompt lists the emotions
OPTIONS = "ABCDEFGH"
FLOOR = 1e-6  # below this a probability is noise, and dividing by it would be too
LEAST = 0.1  # of all options together: a model that is less inclined to answer by a letter has not answered

# What a chat template or a tokenizer could take for a control token, and characters that are none to see.
HARMLESS = str.maketrans("<>[]|", "()()/") | dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")

FAMILIES = {
    "A": "anger angered angry angrier angriest angrily",
    "C": "contempt contemptuous contemptuously contemptuousness",
    "D": "disgust disgusted disgustedly disgusting disgustingly",
    "F": "fear feared fearful fearfully fearfulness fearing",
    "H": "happy happier happiest happily happiness",
    "N": "neutral neutrally neutrality",
    "S": "sad sadder saddest sadly sadness saddened saddening",
    "U": "surprise surprised surprises surprising surprisingly",
}
NAMED = {word: letter for letter, words in FAMILIES.items() for word in words.split()}
NEGATION = re.compile(
    r"\b(not|no|non|un|nor|neither|none|never|without|cannot|hardly|barely|unlikely|absence|lack\w*|"
    r"\w+n['’]t|(is|are|was|were|do|does|did|ca|could|wo|would|should)nt)\b"
)
# "I'm happy to help", "I fear that the sentence is missing": the assistant's own feelings, not the speaker's.
OWN_FEELING = re.compile(
    r"\b(i|we)(['’](m|d|ll|re))?( (am|are|will|would|be|feel|do|so|very|really))* "
    rf"({'|'.join(NAMED)})\b|\bhappy to\b"
)


def sanitised(text: str, max_characters: int) -> tuple[str, bool]:
    """`text` as it is sent, and whether it was cut to `max_characters`.

    A transcript is data. Chat templates mark who speaks by tokens as ``<|im_end|>``, ``</s>`` or ``[INST]``, which a
    server may recognise inside a message as well; whoever is transcribed could so end the user's turn and start
    another. Their characters ``< > [ ] |`` become ``( ) ( ) /``: plain words remain. Line breaks, which could imitate
    further lines of the prompt, and other white space become single blanks.
    """
    plain = " ".join(text.translate(HARMLESS).split())
    return plain[:max_characters].rstrip(), len(plain) > max_characters


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in `text`; white space and punctuation alone say nothing."""
    return any(character.isalnum() for character in text)


def orders(classes: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """`count` cyclic shifts of `classes`, spread evenly; as many as there are classes at most."""
    size = len(classes)
    count = min(count, size)
    shifts = [number * size // count for number in range(count)]
    return [tuple(classes[shift:]) + tuple(classes[:shift]) for shift in shifts]


def words(classes: Sequence[str]) -> list[str]:
    """The emotions' words in the paper's order."""
    return [EMOTIONS[letter] for letter in PAPER_ORDER if letter in classes]


def listed(items: Sequence[str], last: str) -> str:
    """The items as English lists them, with the word `last` before the last one."""
    if len(items) < 3:
        return f" {last} ".join(items)
    return f"{', '.join(items[:-1])}, {last} {items[-1]}"


def messages(prompt: WordPrompt | ScoredPrompt, order: Sequence[str], text: str) -> list[dict[str, str]]:
    """The chat that asks for the emotion of `text`; the options are the classes in `order`, lettered from A.

    Placeholders are replaced in one pass, so that braces in a transcript are never looked at. A system message that
    is empty is left out: some models have none.
    """
    values = {
        "{count}": str(len(order)),
        "{emotions}": listed(words(order), "or"),
        "{options}": "\n".join(f"{option}. {EMOTIONS[c]}" for option, c in zip(OPTIONS, order, strict=False)),
        "{text}": text,
    }
    chat = [{"role": "system", "content": _filled(prompt.system, values)}] if prompt.system.strip() else []
    return [*chat, {"role": "user", "content": _filled(prompt.user, values)}]


def parse(answer: str | None, classes: Sequence[str]) -> str | None:
    """The class that free text names, or None: unparsable.

    Never a guess. None where two emotions are named or none, one that is not among `classes`, anything is negated, or
    the model speaks of its own feelings. What a reasoning model thinks before it answers does not count.
    """
    said = re.sub(r"<think>.*?(</think>|$)", " ", (answer or "").casefold(), flags=re.DOTALL)
    said = said.rpartition("</think>")[2]  # some templates open the block themselves
    tokens = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", said)
    found = {NAMED[token] for token in tokens if token in NAMED}
    plain = " ".join(tokens)
    if len(found) != 1 or NEGATION.search(plain) or OWN_FEELING.search(plain):
        return None
    (letter,) = found
    return letter if letter in classes else None


def option_logprobs(tokens: Iterable[tuple[str, float]], count: int) -> dict[str, float]:
    """Log-probabilities of the first `count` option letters among the listed `tokens` (token, log-probability).

    Tokens that differ by blanks only ("A", " A") are one option: their probabilities add up.
    """
    found: dict[str, float] = {}
    for token, logprob in tokens:
        option = token.strip()
        if len(option) == 1 and option in OPTIONS[:count]:
            with np.errstate(invalid="ignore"):  # NaN stays NaN: `answered` tells
                found[option] = float(np.logaddexp(found.get(option, -np.inf), logprob))
    return found


def probabilities(logprobs: dict[str, float], order: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(classes,) probabilities in the order of `classes`; 0 for an option that was not listed."""
    by_class = {c: np.exp(logprobs.get(option, -np.inf)) for option, c in zip(OPTIONS, order, strict=False)}
    return np.array([by_class[c] for c in classes])


def answered(scores: np.ndarray) -> bool:
    """Whether the model answers by a letter in each order, given its probabilities (orders, classes).

    Where the options together are unlikely, the order among them is noise: normalised, it would be a guess.
    """
    mass = scores.sum(-1)
    return bool((np.isfinite(mass) & (mass >= LEAST)).all())


def corrected(scores: np.ndarray, prior: np.ndarray | None) -> np.ndarray:
    """Probabilities (…, classes) from `scores` (…, orders, classes), freed from what the prompt alone makes likely.

    Contextual calibration (Zhao et al. 2021, "Calibrate Before Use", arXiv:2102.09690, W = diag(p_cf)^-1, b = 0): the
    scores of each order are divided by `prior` (orders, classes), those of texts without content in the same order,
    and normalised; then the mean over the orders is taken. Without a prior it is the plain mean.
    """
    kept = np.maximum(scores, FLOOR) / (1.0 if prior is None else np.maximum(prior, FLOOR))
    mean = (kept / kept.sum(-1, keepdims=True)).mean(-2)
    return mean / mean.sum(-1, keepdims=True)


def _filled(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(count|emotions|options|text)\}", lambda match: values[match[0]], template)
