"""Options that several scripts have in common."""

from pathlib import Path

from abhinaya.runtime.errors import UserError


def files_by_name(names: list[str], files: list[Path], options: tuple[str, str]) -> dict[str, Path]:
    """The files by name, in order.

    Args:
        options: the two options, for messages: of the names and of the files.

    Raises:
        UserError: not one unique name per file.
    """
    if len(names) != len(files) or len(set(names)) != len(names):
        raise UserError(
            f"{options[0]}: {len(names)} names ({len(set(names))} different) for {len(files)} files of {options[1]}; "
            "give one unique name per file, in the same order"
        )
    return dict(zip(names, files, strict=True))
