"""The weights of all processes of a machine must fit into the job's memory."""

import pytest
import torch
from torch import nn

from abhinaya.config import parse
from abhinaya.config.system import TextSystem
from abhinaya.preflight import memory
from abhinaya.runtime.errors import UserError
from support.messages import assert_names


class Llama(nn.Module):
    """13 billion frozen weights and 50 million trained ones, without values."""

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.base = nn.Parameter(torch.empty(13_000_000_000, dtype=torch.float16), requires_grad=False)
            self.trained = nn.Parameter(torch.empty(50_000_000))


def settings(mem_mb: int, gpu: int = 0, **training: object) -> TextSystem:
    training = {"effective_batch": 32, "batch_size": 4} | training
    resources = {"gpu": gpu, "mem_mb": mem_mb}
    values = {"family": "text", "encoder": {"model": "m"}, "loss": {"name": "vs"}}
    return parse(TextSystem, values | {"training": training, "resources": resources})


@pytest.mark.parametrize(
    ("keys", "needed"),
    [
        ({"gpu": 4, "fsdp": True}, 104_800),  # 4 x (26 + 0.2) GB
        ({"gpu": 4}, 800),  # to the GPUs directly
        ({}, 52_200),  # float32 on a CPU
        ({"precision": "bf16"}, 26_200),
    ],
)
def test_the_weights_of_all_processes_are_needed(keys: dict, needed: int) -> None:
    memory.check(settings(needed, **keys), Llama())
    with pytest.raises(UserError) as caught:
        memory.check(settings(needed - 1, **keys), Llama())
    assert_names(str(caught.value), "`resources.mem_mb`", str(needed - 1), f"raise it above {needed}")
    assert ("4 processes" in str(caught.value)) == ("gpu" in keys)
