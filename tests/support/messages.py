"""Checks of error messages that do not depend on their wording."""


def assert_names(message: str, *parts: str) -> None:
    """Check that `message` is one line that contains all `parts`: a file, a row, a key, a value."""
    assert "\n" not in message
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in {message!r}"
