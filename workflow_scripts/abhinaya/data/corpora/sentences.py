"""The sentences of the synthetic corpus: templates and fillers.

The fillers are the same for all emotions, so only the words of a template indicate the emotion. There are no numbers
and no words with two spellings, so word error rates count recognition errors only. Every sentence ends in a full stop,
so the intonation depends on the prosody settings alone.
"""

from string import Formatter

FILLERS: dict[str, tuple[str, ...]] = {
    "person": ("my brother", "the teacher", "my cousin", "my uncle", "the manager", "the doctor", "my sister"),
    "thing": ("the car", "the kitchen", "the garage", "the suitcase", "the bathroom", "the office", "the garden"),
    "time": ("this morning", "last night", "yesterday", "on Monday", "at work", "after lunch", "in the evening"),
}

EMOTIONAL: dict[str, tuple[str, ...]] = {
    "A": (
        "how dare you shout at {person}",
        "stop lying to {person} right now",
        "I am furious about {thing}",
        "get your hands off {thing}",
        "{person} makes me so angry",
        "you ruined everything {time}",
        "shut up and leave {person} alone",
        "I hate you for breaking {thing}",
        "I was so mad at you {time}",
    ),
    "C": (
        "{person} is not worth my time",
        "your little speech {time} was pathetic",
        "only a fool would trust {person}",
        "I expected nothing better from {person}",
        "any child could clean {thing} better",
        "you are too stupid to understand {thing}",
        "{person} is so far beneath me",
        "what poor taste, just look at {thing}",
        "what a ridiculous little show {time}",
    ),
    "D": (
        "{thing} smells absolutely disgusting",
        "there is rotten meat inside {thing}",
        "I feel sick when I look at {thing}",
        "there were dead rats all over {thing}",
        "{person} never washes those filthy feet",
        "the soup tasted like garbage {time}",
        "that dirty water made me sick {time}",
        "it is so gross how {person} eats",
        "the smell of {person} is nasty",
    ),
    "F": (
        "I am terrified of {person}",
        "please hide, someone is near {thing}",
        "I heard strange footsteps {time}",
        "help me, I am trapped inside {thing}",
        "we were scared to death {time}",
        "do not leave me alone with {person}",
        "{person} is in terrible danger",
        "something is moving behind {thing}",
        "I was shaking with fear {time}",
    ),
    "H": (
        "I am so happy for {person}",
        "we had a wonderful party {time}",
        "I love what you did with {thing}",
        "{person} has wonderful news",
        "it is lovely to see {person}",
        "we had so much fun {time}",
        "great news, we can keep {thing}",
        "I am very pleased with {thing}",
        "we enjoyed the lovely music {time}",
    ),
    "N": (
        "I usually have lunch with {person}",
        "I will probably call {person} later",
        "I suppose we could measure {thing}",
        "as usual I read the report {time}",
        "{person} follows the normal routine",
        "the list says that we need {thing}",
        "the meeting went as planned {time}",
        "this is the usual plan for {thing}",
        "we talked about the schedule {time}",
    ),
    "S": (
        "I miss {person} so much",
        "I cried all alone {time}",
        "{person} died and I am so sad",
        "we lost all our memories of {thing}",
        "nothing will bring back {person}",
        "I felt so lonely {time}",
        "it hurts to say goodbye to {thing}",
        "she cried when she left {thing}",
        "my heart was broken {time}",
    ),
    "U": (
        "wow, I did not expect {person}",
        "what, you really bought {thing}",
        "I can hardly believe it happened {time}",
        "I am shocked that {person} came back",
        "oh my goodness, look at {thing}",
        "nobody ever told me about {person}",
        "that was completely unexpected {time}",
        "how amazing that you found {thing}",
        "it was a complete surprise {time}",
    ),
}

# Sentences that fit any emotion; they carry no information, so they do not indicate a neutral speaker either.
PLAIN: tuple[str, ...] = (
    "{person} lives near the library",
    "the table is next to {thing}",
    "the shop opened early {time}",
    "{person} walked to the station",
    "we took the train {time}",
    "the keys are inside {thing}",
    "the parcel arrived {time}",
    "{person} has a green bicycle",
    "you can see the river from {thing}",
    "there is a blue chair in {thing}",
    "{person} put the book on the shelf",
    "the bus was full {time}",
)

# Sentences are assigned to these parts in turn, so that no sentence occurs in two parts.
_PARTS = ("train", "train", "train", "development", "test")


def emotional(letter: str, part: str) -> list[str]:
    """The sentences whose words fit the emotion `letter`, in `part` (train, development or test)."""
    return _sentences(EMOTIONAL[letter], part)


def plain(part: str) -> list[str]:
    """The sentences that fit any emotion, in `part`."""
    return _sentences(PLAIN, part)


def _sentences(templates: tuple[str, ...], part: str) -> list[str]:
    # Seven fillers and five parts are coprime: every template occurs in every part, with different fillers.
    sentences = [sentence for template in templates for sentence in _fill(template)]
    return [sentence for index, sentence in enumerate(sentences) if _PARTS[index % len(_PARTS)] == part]


def _fill(template: str) -> list[str]:
    (slot,) = (name for _, name, _, _ in Formatter().parse(template) if name)
    filled = (template.format(**{slot: filler}) for filler in FILLERS[slot])
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in filled]
