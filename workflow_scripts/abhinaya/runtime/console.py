"""Printing text from outside, such as file names, on a terminal."""


def printable(text: str) -> str:
    """`text` in one line; control and other non-printable characters are escaped as in Python strings."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
