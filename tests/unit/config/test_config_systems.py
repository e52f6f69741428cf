"""Keys of zero-shot systems, and the features of frozen encoders that systems share."""

from typing import Any

import pytest

from abhinaya import config
from abhinaya.config import features
from abhinaya.config.system import SpeechSystem
from abhinaya.runtime.errors import UserError
from support.configurations import changed, error_of
from support.messages import assert_names

ZERO_SHOT_ERRORS = {
    "model": ("random:llama", "random"),
    "fallback": ("H", "'H'", "A, N"),
    "resources.concurrency": (1001, "1000", "1001"),
    "server.arguments.api_key": ("k", "remove it"),
}
ENDPOINT_ERRORS = [
    *(("url", url, "http(s)") for url in ("http://[::1/v1", "http://x:abc/v1", "http://x:99999/v1", "x/v1")),
    *(("url", url, "http(s)") for url in ("http://x y/v1", "http://x/v1\n", "http://", "me:secret@x/v1")),
    *(
        ("url", url, "`key_variable`")
        for url in ("http://me:secret@x/v1", "http://x/v1?key=abc", "http://x/v1#key=abc")
    ),
    *(("key_variable", value, "environment variable") for value in ("MY-KEY", "sk-proj-abc123", "")),
    ("parameters.messages", [], "remove it"),
    ("parameters.model", "z", "remove it"),
    ("parameters.stream", True, "remove it"),
    ("parameters.n", 2, "remove it"),
    ("parameters.logprobs", None, "remove it"),
    ("parameters.top_logprobs", 5, "remove it"),
    ("parameters.structured_outputs", {}, "remove it"),
    ("parameters.seed", 3, "null"),
]
WORDS = {"mode": "word"}
LETTERS = {"mode": "scored"}
PROMPT_ERRORS = [
    (WORDS, "system", "one of {emotion}", ["{emotion}", "{count}, {emotions}"]),
    (WORDS, "system", "What is {text}", ["{text}", "{count}, {emotions}"]),
    (WORDS, "system", "{options}", ["{options}", "{count}, {emotions}"]),
    (WORDS, "user", "{text} {txt}", ["{txt}", "{count}, {emotions}, {text}"]),
    (WORDS, "user", "hi", ["{text}"]),
    (LETTERS, "system", "one of {emotions}", ["{options}"]),
    (LETTERS, "system", "{options} {text}", ["{text}", "{count}, {emotions}, {options}"]),
]


def zero_shot(**keys: Any) -> dict:
    return changed(("systems.t1", {"family": "zero_shot", "model": "m", "fallback": "A"} | keys))


@pytest.mark.parametrize("key", ZERO_SHOT_ERRORS)
def test_invalid_zero_shot_setting_is_reported(key: str) -> None:
    value, *parts = ZERO_SHOT_ERRORS[key]
    values = zero_shot()
    *sections, last = key.split(".")
    inner = values["systems"]["t1"]
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    assert_names(error_of(values), f"configuration: `systems.t1.{key}`: ", *parts)


@pytest.mark.parametrize(("key", "value", "part"), ENDPOINT_ERRORS)
def test_invalid_endpoint_is_reported_without_secrets(key: str, value: Any, part: str) -> None:
    section = {"url": "http://x/v1"}
    if key.startswith("parameters."):
        section["parameters"] = {key.removeprefix("parameters."): value}
    else:
        section[key] = value
    message = error_of(zero_shot(endpoint=section))
    assert_names(message, f"configuration: `systems.t1.endpoint.{key}`: ", part)
    assert not any(secret in message for secret in ("secret", "key=abc", "sk-proj"))


def test_valid_endpoints_are_accepted() -> None:
    parameters = {"seed": None, "temperature": 0.5, "max_tokens": None, "reasoning_effort": "low"}
    for url in ("https://api.openai.com/v1", "http://[::1]:8000/v1", "http://127.0.0.1:8000/v1/"):
        config.validate(zero_shot(endpoint={"url": url, "key_variable": "My_Key2", "parameters": parameters}))


def test_endpoint_has_no_revision() -> None:
    values = zero_shot(endpoint={"url": "http://x/v1"}, revision="abc")
    assert_names(error_of(values), "`systems.t1.revision`: ", "`endpoint`")


@pytest.mark.parametrize(("prompt", "key", "text", "parts"), PROMPT_ERRORS)
def test_invalid_prompt_is_reported(prompt: dict, key: str, text: str, parts: list[str]) -> None:
    assert_names(error_of(zero_shot(prompt=prompt | {key: text})), f"`systems.t1.prompt.{key}`: ", *parts)


def frozen(**changes: Any) -> dict:
    encoder = {"model": "m", "freeze": "all"} | changes
    return {"family": "speech", "encoder": encoder, "loss": {"name": "wce"}}


def test_losses_and_seeds_share_the_features_of_a_frozen_encoder() -> None:
    """Only random weights depend on the seed."""
    random = frozen(model="random:wavlm")
    trained = {"family": "speech", "encoder": {"model": "m"}, "loss": {"name": "wce"}}
    systems = {"s1": frozen(), "s1_copy": frozen(feature_shards=1), "random": random, "tuned": trained}
    values = {"corpus": {"kind": "synthetic"}, "systems": systems, "seeds": [1, 2]}
    checked = config.validate(values | {"tables": {"losses": {"systems": ["s1", "random"]}}})
    by_run = features.by_run(checked)
    shared = {"s1", "s1_wfl", "s1_vs", "s1_seed1", "s1_seed2", "s1_copy", "s1_copy_seed1", "s1_copy_seed2", "s1_probe"}
    separate = ({"random", "random_wfl", "random_vs", "random_probe"}, {"random_seed1"}, {"random_seed2"})
    groups = [{run for run, settings in by_run.items() if settings.key == key} for key in features.extractions(checked)]
    assert groups == [shared, *separate]
    assert [by_run[run].seed for run in ("s1", "random", "random_seed2")] == [None, 1234, 2]


def test_only_result_settings_change_the_cache() -> None:
    def key(training: dict | None = None, **changes: Any) -> str:
        system = config.parse(SpeechSystem, frozen(**changes) | {"training": training or {}})
        return features.of(system, 1).key

    same = {key(), key({"epochs": 3}), key(feature_shards=4), key({"eval_batch_size": 2})}
    assert len(same) == 1
    changed_keys = [key({"precision": "bf16"}), key(layer=1), key(max_seconds=5.0), key(revision="abc")]
    assert len({*same, *changed_keys}) == 1 + len(changed_keys)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": {"model": "m"}}, "`encoder.freeze`: 'convolutions': a trained encoder"),
        ({"encoder": {"model": "m", "freeze": "all"}, "seed": 1}, "`seed`: required with a `random:` encoder"),
        ({"encoder": {"model": "random:wavlm", "freeze": "all"}}, "`seed`: required with a `random:` encoder"),
    ],
)
def test_features_that_cannot_be_cached_are_reported(settings: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        config.parse(features.AnyFeatures, {"family": "speech"} | settings)
    assert words in str(caught.value)


def test_shared_features_need_equal_shards() -> None:
    message = error_of(changed(("systems.s1", frozen()), ("systems.s2", frozen(feature_shards=2))))
    assert_names(message, "`systems.s2.encoder.feature_shards`: ", "s1")
    trained = frozen(freeze="convolutions", feature_shards=2)
    assert_names(error_of(changed(("systems.s1", trained))), "`systems.s1.encoder.feature_shards`: ", "convolutions")


def test_a_fine_tuned_checkpoint_needs_a_trained_encoder() -> None:
    message = error_of(changed(("systems.s1", frozen() | {"fine_tuned": "s1.pth"})))
    assert_names(message, "`systems.s1.fine_tuned`: ", "freeze: all")


def test_systems_that_share_a_cache_need_equal_settings() -> None:
    def speech_llm(**audio_encoder: Any) -> dict:
        features = {"whisper": "w", "beats": "b.pt", "cache": True} | audio_encoder
        return {
            "family": "salmonn",
            "encoder": {"audio_encoder": features, "language_model": "l"},
            "loss": {"name": "vs"},
        }

    config.validate(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm())))
    config.validate(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm(max_seconds=5.0, shards=2))))
    for other in ({"shards": 2}, {"resources": {"gpu": 1}}):
        message = error_of(changed(("systems.s2", speech_llm()), ("systems.st1", speech_llm(**other))))
        assert_names(message, "`systems.st1.encoder.audio_encoder`: ", "s2", "`shards`", "`resources`")
