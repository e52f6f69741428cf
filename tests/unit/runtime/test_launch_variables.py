"""Variables of a launcher are believed only in the processes of the project's own launcher."""

import os

import pytest

from abhinaya.runtime import errors
from abhinaya.runtime.launch_variables import LAUNCHED, is_launched

LEFT = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    "variables",
    [
        LEFT,
        LEFT | {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"},
        {"PMI_SIZE": "4", "PMI_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
        {"ACCELERATE_USE_FSDP": "true"},
        {LAUNCHED: "1", "WORLD_SIZE": "2"},
    ],
)
def test_leftovers_are_removed_before_a_script_begins(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        assert not is_launched()
        errors.run(lambda: seen.append(variables.keys() & os.environ.keys()))
    assert seen == [set()]


def test_processes_of_the_own_launcher_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = LEFT | {"LOCAL_RANK": "0", LAUNCHED: "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_launched()
    errors.run(lambda: None)
    assert os.environ.items() >= variables.items()
