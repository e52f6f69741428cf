"""Operations, idle time and projections of `make prove-gpu`."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prove_gpu import speed
from transformers import LlamaConfig, LlamaModel


def test_operations_of_a_llama_by_hand() -> None:
    layers, width, inner, tokens = 2, 64, 128, 48
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": 4}
    model = LlamaModel(LlamaConfig(vocab_size=32, **sizes))
    inputs = torch.zeros(1, tokens, dtype=torch.long)
    products = layers * tokens * (4 * width**2 + 3 * width * inner)  # query, key, value, output; gate, up, down
    attention = layers * 2 * tokens**2 * width  # scores, and their sum of values
    forward = 2 * (products + attention)
    found = speed.operations(lambda: model(inputs))
    assert found == pytest.approx(forward, rel=0.001)  # the rotary tables take a few more
    found = speed.operations(lambda: model(inputs).last_hidden_state.sum().backward())
    assert found == pytest.approx(3 * forward, rel=0.001)


def test_hours() -> None:
    assert speed.hours(20 * 66_977 / 3600) == pytest.approx(1.0)
    assert speed.hours(1.0, epochs=3) == pytest.approx(3 * 66_977 / 3600)


def test_peak_is_a_plausible_speed() -> None:
    assert 1e8 < speed.peak(torch.device("cpu")) < 1e14


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8))
def test_the_union_of_intervals(pairs: list[tuple[int, int]]) -> None:
    intervals = [(start, start + length) for start, length in pairs]
    assert speed.covered(intervals) == len({second for start, end in intervals for second in range(start, end)})
