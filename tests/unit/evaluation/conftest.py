"""Fixtures of the tests of the evaluation."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def quick_garbage_collection() -> Iterator[None]:
    """Exclude existing objects from garbage collection, which statsmodels triggers at each correction."""
    gc.freeze()
    yield
    gc.unfreeze()
