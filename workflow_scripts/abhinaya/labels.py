"""The eight emotions of MSP-Podcast, in the order that all tables and tensors use."""

EMOTIONS: dict[str, str] = {
    "A": "angry",
    "C": "contempt",
    "D": "disgust",
    "F": "fear",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
    "U": "surprise",
}
CLASSES: tuple[str, ...] = tuple(EMOTIONS)
INDEX: dict[str, int] = {letter: index for index, letter in enumerate(CLASSES)}

OTHER = "O"  # annotators agreed on an emotion outside the eight
NO_AGREEMENT = "X"
LETTERS: tuple[str, ...] = (*CLASSES, OTHER, NO_AGREEMENT)
