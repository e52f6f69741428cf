"""Records flushes to the disk, renames and removals in order, to check what would survive a power cut."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Event = tuple[str, Path]


def recorded(patch: pytest.MonkeyPatch) -> list[Event]:
    """A list to which each flush, rename and removal is appended with its path.

    A rename also changes the paths of earlier events.
    """
    events: list[Event] = []
    fsync, rmtree = os.fsync, shutil.rmtree

    def flushing(handle: int) -> None:
        events.append(("flush", Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def noting(rename: Callable) -> Callable:
        def renaming(source: Path, target: Path) -> None:
            for place, (act, path) in enumerate(events):
                if path.is_relative_to(source):
                    events[place] = act, Path(target, path.relative_to(source))
            events.append(("rename", Path(target)))
            rename(source, target)

        return renaming

    def removing(path: Path, *rest: object, **keys: object) -> None:
        if Path(path).exists():
            events.append(("remove", Path(path)))
        rmtree(path, *rest, **keys)

    patch.setattr(os, "fsync", flushing)
    patch.setattr(os, "replace", noting(os.replace))
    patch.setattr(os, "rename", noting(os.rename))
    patch.setattr(shutil, "rmtree", removing)
    return events


def assert_spared(target: Path, events: list[Event]) -> None:
    """Check that `target` was flushed to the disk before it was renamed, and its folder afterwards."""
    renamed = events.index(("rename", target))
    content = [target, *target.rglob("*")]
    assert {path for act, path in events[:renamed] if act == "flush"} >= set(content)
    assert ("flush", target.parent) in events[renamed:]
