"""The eight emotions of MSP-Podcast and THE order in which every table, tensor and matrix holds them."""

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
UNTRAINED: tuple[str, ...] = (OTHER, NO_AGREEMENT)
LETTERS: tuple[str, ...] = CLASSES + UNTRAINED
