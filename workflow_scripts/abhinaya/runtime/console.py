"""Text from elsewhere, such as names of files, on the screen."""


def printable(text: str) -> str:
    """`text` in one line; what does not print, or steers a terminal, is spelt out as in Python's strings."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
