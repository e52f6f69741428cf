"""Prompts, and parsing of responses. No file or network access."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from abhinaya.config.zero_shot import ScoredPrompt, WordPrompt
from abhinaya.labels import EMOTIONS

PAPER_ORDER = "HASNCDUF"  # order of the emotions in the authors' T1 prompt
OPTIONS = "ABCDEFGH"
FLOOR = 1e-6  # smaller probabilities are noise, also as divisors
MIN_MASS = 0.1  # minimum total probability of the options; below it the model has not answered with a letter

# Characters of control tokens in chat templates and tokenizers, and invisible characters.
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
# "I'm happy to help", "I fear that the sentence is missing": the assistant's feelings, not the speaker's.
OWN_FEELING = re.compile(
    r"\b(i|we)(['’](m|d|ll|re))?( (am|are|will|would|be|feel|do|so|very|really))* "
    rf"({'|'.join(NAMED)})\b|\bhappy to\b"
)


def sanitised(text: str, max_characters: int) -> tuple[str, bool]:
    """`text` as it is sent, and whether it was truncated to `max_characters`.

    Protects against prompt injection by transcripts. Chat templates use control tokens such as ``<|im_end|>``, ``</s>``
    or ``[INST]``, which a server may also interpret inside a message. Their characters ``< > [ ] |`` are replaced by
    ``( ) ( ) /``. Line breaks, which could imitate lines of the prompt, and other white space become single spaces.
    """
    plain = " ".join(text.translate(HARMLESS).split())
    return plain[:max_characters].rstrip(), len(plain) > max_characters


def has_words(text: str) -> bool:
    """Whether `text` has a letter or a digit."""
    return any(character.isalnum() for character in text)


def orders(classes: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """`count` cyclic shifts of `classes`, evenly spaced; at most the number of classes."""
    size = len(classes)
    count = min(count, size)
    shifts = [number * size // count for number in range(count)]
    return [tuple(classes[shift:]) + tuple(classes[:shift]) for shift in shifts]


def words(classes: Sequence[str]) -> list[str]:
    """The names of the emotions in the order of the authors' prompt."""
    return [EMOTIONS[letter] for letter in PAPER_ORDER if letter in classes]


def listed(items: Sequence[str], last: str) -> str:
    """The items as an English list, with the word `last` before the last one."""
    if len(items) < 3:
        return f" {last} ".join(items)
    return f"{', '.join(items[:-1])}, {last} {items[-1]}"


def messages(prompt: WordPrompt | ScoredPrompt, order: Sequence[str], text: str) -> list[dict[str, str]]:
    """The chat messages for `text`; the options are the classes in `order`, lettered from A.

    Placeholders are replaced in one pass, so braces in a transcript are never interpreted. An empty system message is
    omitted, since some models support none.
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
    """The class named in free text, or None if it is unparsable.

    Never guesses: returns None if not exactly one emotion is named, if it is not in `classes`, if there is a negation,
    or if the model writes about its own feelings. The reasoning of reasoning models is ignored.
    """
    response = re.sub(r"<think>.*?(</think>|$)", " ", (answer or "").casefold(), flags=re.DOTALL)
    response = response.rpartition("</think>")[2]  # some templates open the block
    tokens = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", response)
    letters = {NAMED[token] for token in tokens if token in NAMED}
    plain = " ".join(tokens)
    if len(letters) != 1 or NEGATION.search(plain) or OWN_FEELING.search(plain):
        return None
    (letter,) = letters
    return letter if letter in classes else None


def option_logprobs(tokens: Iterable[tuple[str, float]], count: int) -> dict[str, float]:
    """Log-probabilities of the first `count` option letters among the listed `tokens` (token, log-probability).

    The probabilities of tokens that differ only in white space ("A", " A") are added.
    """
    values: dict[str, float] = {}
    for token, logprob in tokens:
        option = token.strip()
        if len(option) == 1 and option in OPTIONS[:count]:
            with np.errstate(invalid="ignore"):  # NaN stays NaN; see `answered`
                values[option] = float(np.logaddexp(values.get(option, -np.inf), logprob))
    return values


def probabilities(logprobs: dict[str, float], order: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """(classes,) probabilities in the order of `classes`; 0 for missing options."""
    by_class = {c: np.exp(logprobs.get(option, -np.inf)) for option, c in zip(OPTIONS, order, strict=False)}
    return np.array([by_class[c] for c in classes])


def answered(scores: np.ndarray) -> bool:
    """Whether the model answers with a letter in each order, from its probabilities (orders, classes).

    If the options have a low total probability, their ratios are noise.
    """
    mass = scores.sum(-1)
    return bool((np.isfinite(mass) & (mass >= MIN_MASS)).all())


def corrected(scores: np.ndarray, prior: np.ndarray | None) -> np.ndarray:
    """Probabilities (…, classes) from `scores` (…, orders, classes), corrected for the prior given by the prompt alone.

    Contextual calibration (Zhao et al. 2021, "Calibrate Before Use", arXiv:2102.09690, W = diag(p_cf)^-1, b = 0): the
    scores of each order are divided by `prior` (orders, classes), those of content-free texts in the same order, and
    normalised; then averaged over the orders. Without a prior it is the mean.
    """
    kept = np.maximum(scores, FLOOR) / (1.0 if prior is None else np.maximum(prior, FLOOR))
    mean = (kept / kept.sum(-1, keepdims=True)).mean(-2)
    return mean / mean.sum(-1, keepdims=True)


def _filled(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(count|emotions|options|text)\}", lambda match: values[match[0]], template)
