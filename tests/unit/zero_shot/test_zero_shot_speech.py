"""Zero-shot SALMONN: responses and their independence of the batch, parsing, stored responses."""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import RobertaConfig, RobertaForCausalLM

from abhinaya import config
from abhinaya.config import parse
from abhinaya.config.base import result_settings, settings_json
from abhinaya.config.zero_shot import Decoding, SalmonnZeroShot
from abhinaya.data import schemas
from abhinaya.data.dataset import by_size, collate
from abhinaya.labels import CLASSES
from abhinaya.modeling.encoders.salmonn import pretrained_weights, speech_llm
from abhinaya.modeling.encoders.salmonn.prompt import PROMPTS, padded_left
from abhinaya.modeling.feature_cache import index_schema
from abhinaya.pretrained.loading import read_weights
from abhinaya.reporting import table as report
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import speech
from abhinaya.zero_shot.predictions import AUDIT, STATUSES
from abhinaya.zero_shot.response_store import ResponseStore
from support import running, salmonn_parts
from support.cached import cached
from support.messages import assert_names
from support.salmonn_parts import CLIPS

CPU = torch.device("cpu")
CLIP = {"speech_window": "clip", "window": "clip"}
SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "label_zero_shot.py"
DECODINGS = [Decoding(beams=1, max_new_tokens=6), Decoding(beams=4, max_new_tokens=6)]


@pytest.fixture(scope="module")
def rows(parts: Path) -> pd.DataFrame:
    manifest = salmonn_parts.make_manifest(parts)
    return manifest[manifest["split"] != "train"].reset_index(drop=True)


def system(
    folder: Path, parts: dict | None = None, audio_encoder: dict | None = None, **keys: object
) -> SalmonnZeroShot:
    """A small speech LLM with greedy decoding; Q-Former and LoRA are random unless `parts` has a checkpoint."""
    files = {"whisper": str(folder / "whisper"), "beats": str(folder / "beats.pt")}
    speech_llm = {"audio_encoder": files | CLIP | (audio_encoder or {}), "language_model": str(folder / "llama")} | (
        parts or {}
    )
    defaults = {"decoding": {"beams": 1, "max_new_tokens": 4}, "batch_size": 3}
    return parse(SalmonnZeroShot, {"family": "salmonn_zero_shot", "encoder": speech_llm} | defaults | keys)


def build(settings: SalmonnZeroShot) -> tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm]:
    loader, model = speech_llm.build(settings.encoder, 7, CPU, False, (), settings.question)
    return loader, model.eval()


@pytest.fixture(scope="module")
def trained(parts: Path) -> tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm]:
    return build(system(parts, {"checkpoint": str(parts / "salmonn.pth")}))


def batch(loader: speech_llm.PromptLoader, folder: Path, clips: Sequence[str]) -> dict[str, Tensor]:
    table, _ = loader.prepare(pd.DataFrame({"path": [str(folder / f"{clip}.wav") for clip in clips]}))
    made = collate([{**loader.load(row, None), "labels": 0} for row in table.to_dict("records")])
    del made["labels"]
    return made


def greedy(model: speech_llm.SpeechLlm, inputs: dict[str, Tensor], max_tokens: int, end: int) -> list[int]:
    """Greedy decoding of one clip, token by token, without padding, mask and cache."""
    vectors, _ = model.read(**inputs)
    found: list[int] = []
    while len(found) < max_tokens and end not in found:
        found.append(int(model.causal(inputs_embeds=vectors, use_cache=False).logits[0, -1].argmax()))
        vectors = torch.cat([vectors, model.causal.get_input_embeddings()(torch.tensor([[found[-1]]]))], dim=1)
    return found


def label(
    rows: pd.DataFrame,
    settings: SalmonnZeroShot,
    store: Path,
    features: Sequence[Path] = (),
    classes: Sequence[str] = CLASSES,
    seed: int = 7,
) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    return speech.label(rows, settings, classes, seed, store, CPU, 0, features)


@pytest.fixture
def label_stored(rows: pd.DataFrame, tmp_path: Path) -> Callable:
    """Label `rows` by stored responses: (text, finish reason) for each row."""

    def labelled(settings: SalmonnZeroShot, found: Sequence[tuple[str, str]], classes: Sequence[str] = CLASSES):
        responses = [
            {"request": key, "answer": text, "finish_reason": how, "prompt_tokens": 40, "generated_tokens": 3}
            | {"software": "transformers", "requested_at": "2025"}
            for key, (text, how) in zip(speech._keys(rows, settings, 7, False), found, strict=True)
        ]
        ResponseStore(tmp_path / "store").write(responses)
        return label(rows, settings, tmp_path / "store", classes=classes)

    return labelled


@pytest.mark.parametrize("decoding", DECODINGS, ids=["greedy", "beams"])
@torch.inference_mode()
def test_responses_do_not_depend_on_the_batch(
    trained: tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm], parts: Path, decoding: Decoding
) -> None:
    loader, model = trained
    alone = {clip: model.answer(**batch(loader, parts, [clip]), decoding=decoding, end=2) for clip in CLIPS}
    assert len({length for _, (length,) in alone.values()}) > 1  # so some are padded
    for clips in (CLIPS, CLIPS[::-1], "cab" * 2):
        found, lengths = model.answer(**batch(loader, parts, clips), decoding=decoding, end=2)
        assert [([one], [length]) for one, length in zip(found, lengths, strict=True)] == [alone[c] for c in clips]


@torch.inference_mode()
def test_responses_equal_those_of_a_plain_loop(
    trained: tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm], parts: Path
) -> None:
    loader, model = trained
    expected = {clip: greedy(model, batch(loader, parts, [clip]), 6, 2) for clip in CLIPS}
    assert len(set(map(tuple, expected.values()))) > 1  # they extract_features
    found, _ = model.answer(**batch(loader, parts, CLIPS), decoding=DECODINGS[0], end=2)
    assert found == list(expected.values())
    end = expected["a"][2]  # one of them stops, the others go on
    found, _ = model.answer(**batch(loader, parts, CLIPS), decoding=DECODINGS[0], end=end)
    assert found == [greedy(model, batch(loader, parts, [clip]), 6, end) for clip in CLIPS]
    assert found[0][-1] == end and len({len(ids) for ids in found}) > 1


@torch.inference_mode()
def test_more_beams_find_more_probable_responses(
    trained: tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm], parts: Path
) -> None:
    loader, model = trained

    def likelihood(clip: str, ids: list[int]) -> float:
        vectors, _ = model.read(**batch(loader, parts, [clip]))
        words = model.causal.get_input_embeddings()(torch.tensor([ids]))
        logits = model.causal(inputs_embeds=torch.cat([vectors, words], dim=1)).logits[0, vectors.shape[1] - 1 : -1]
        return float(logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum())

    found = [model.answer(**batch(loader, parts, CLIPS), decoding=each, end=2)[0] for each in DECODINGS]
    one, four = (sum(map(likelihood, CLIPS, each)) for each in found)
    assert four > one


def test_generation_settings_of_the_model_are_ignored(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "llama", tmp_path / "llama")
    own = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 9.0, "min_new_tokens": 6, "num_beams": 3}
    (tmp_path / "llama/generation_config.json").write_text(json.dumps(own))
    found = []
    for folder in (parts, tmp_path):
        loader, model = build(system(parts, {"language_model": str(folder / "llama")}))
        with torch.inference_mode():
            found.append(model.answer(**batch(loader, parts, CLIPS), decoding=DECODINGS[0], end=2))
    assert found[0] == found[1]


def test_padding_moves_to_the_left() -> None:
    inputs, lengths = torch.tensor([[1.0, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]])[..., None], torch.tensor([2, 4, 1])
    moved, mask = padded_left(inputs, lengths)
    assert moved[..., 0].tolist() == [[0, 0, 1, 2], [3, 4, 5, 6], [0, 0, 0, 7]]
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]]


def test_question_is_in_salmonns_template(parts: Path) -> None:
    assert system(parts).question == PROMPTS[0]
    loader, _ = build(system(parts, question="How does {she} feel?"))
    after = batch(loader, parts, ["a"])["after"][0]
    assert loader.prompt.tokenizer.decode(after) == "</Speech> How does {she} feel?\nASSISTANT:"


def test_weights_of_the_trained_model_keep_their_names(
    parts: Path, trained: tuple[speech_llm.PromptLoader, speech_llm.SpeechLlm]
) -> None:
    settings = system(parts, {"checkpoint": str(parts / "salmonn.pth")}).encoder
    _, classifier = speech_llm.build(settings, 7, CPU, False)
    expected, (_, model) = classifier.state_dict(), trained
    found = {name: weight for name, weight in model.state_dict().items() if not name.startswith("causal.")}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {name for name, _ in model.named_parameters() if name.startswith("causal.")} == {"causal.lm_head.weight"}


def test_cached_equals_uncached(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    settings = system(parts)
    shards = cached(settings, rows, tmp_path)
    on_the_fly = label(rows, settings, tmp_path / "one")
    from_disk = label(rows, system(parts, audio_encoder={"cache": True}), tmp_path / "two", shards)
    assert on_the_fly[1].equals(from_disk[1])
    assert on_the_fly[1]["answer"].nunique() > 1 and on_the_fly[1]["answer"].str.len().min() > 0


def test_long_clip_is_cropped_in_the_middle(
    parts: Path, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random crop would give another response in each run."""
    features: dict[int, Tensor] = {}
    answer = speech_llm.SpeechLlm.answer

    def listening(self: speech_llm.SpeechLlm, waveform: Tensor, **rest: object) -> tuple:
        features.update(enumerate(waveform))
        return answer(self, waveform=waveform, **rest)

    monkeypatch.setattr(speech_llm.SpeechLlm, "answer", listening)
    seconds = rows["duration"].min() / 2
    brief = system(parts, audio_encoder={"max_seconds": seconds, "min_seconds": 0.2}, batch_size=len(rows))
    label(rows, brief, tmp_path / "store")
    order = by_size(rows["duration"].clip(upper=seconds).tolist(), len(rows))[0]
    for place, row in enumerate(order):
        whole, _ = soundfile.read(rows["path"][row], dtype="float32")
        count = int(seconds * 16_000)
        start = (len(whole) - count) // 2
        np.testing.assert_array_equal(features[place], whole[start : start + count])


def test_other_responses_than_emotions_get_the_fallback(label_stored: Callable, parts: Path) -> None:
    answers = ["Happy.", "The speaker is angry", "sad or happy", "not sad", "melancholic", "", "Neutral", "fearful"]
    ends = ["stop"] * 6 + ["length", "stop"]
    settings = system(parts, fallback="S")
    predictions, audit, summary = label_stored(settings, list(zip(answers, ends, strict=True)), "AHNS")
    assert audit["EmoClass"].tolist() == list("HASSSSSS")
    assert audit["status"].tolist() == ["labelled"] * 2 + ["unparsable"] * 6  # fear is none of the four
    assert audit["answer"].tolist() == answers and audit["text"].isna().all()
    assert audit.columns.tolist() == AUDIT.names
    assert predictions.columns.tolist() == list(schemas.PREDICTIONS)
    expected = np.eye(8)[[CLASSES.index(letter) for letter in audit["EmoClass"]]]
    np.testing.assert_array_equal(predictions[list(schemas.PROBABILITIES)], expected)
    assert summary["counts"] == {"labelled": 2, "empty": 0, "unparsable": 6, "refused": 0}
    assert summary["requests"] == {"sent": 0, "stored": 8} and summary["labels_per_second"] is None
    assert speech.notes(summary, settings)[1:] == ["6 unparsable responses were labelled sad, the fallback."]


def test_random_parts_are_noted_and_a_trained_model_must_give_labels(label_stored: Callable, parts: Path) -> None:
    gibberish = [("qeel", "stop")] * 8
    _, _, summary = label_stored(system(parts), gibberish)
    note = "Random weights: Q-Former and LoRA. This tests the software, not the model."
    assert speech.notes(summary, system(parts))[0] == note
    trained = system(parts, {"checkpoint": str(parts / "salmonn.pth")})
    with pytest.raises(UserError, match=r"none of 8 utterances .*'qeel'.*`question`"):
        label_stored(trained, gibberish)
    assert speech.notes({"counts": dict.fromkeys(STATUSES, 0)}, trained) == []


class Stop(Exception):
    """Stands in for a signal that ends the job."""


def test_resumed_job_uses_the_same_batches(
    parts: Path, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int]] = []
    answer = speech_llm.SpeechLlm.answer

    def counted(self: speech_llm.SpeechLlm, after: Tensor, **rest: object) -> tuple:
        if len(batches) == 2 and stops:
            raise Stop
        batches.append(rest["waveform_lengths"].tolist())
        return answer(self, after, **rest)

    monkeypatch.setattr(speech_llm.SpeechLlm, "answer", counted)
    stops = False
    whole, (undisturbed, batches) = label(rows, system(parts), tmp_path / "whole"), (batches, [])
    assert [len(batch) for batch in undisturbed] == [3, 3, 2]
    stops = True
    with pytest.raises(Stop):
        label(rows, system(parts), tmp_path / "store")
    stops = False
    _, audit, summary = label(rows, system(parts), tmp_path / "store")
    assert batches == undisturbed
    assert summary["requests"] == {"sent": 2, "stored": 6}
    assert audit.equals(whole[1])
    changed = rows.copy()
    changed.loc[4, "duration"] += 1
    more = label(pd.concat([changed, rows.head(1).assign(FileName="new.wav")]), system(parts), tmp_path / "store")
    assert more[2]["requests"] == {"sent": 2, "stored": 7}


def test_result_settings_change_the_request(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    def keys(settings: SalmonnZeroShot, seed: int = 7, bf16: bool = False) -> set[str]:
        return set(speech._keys(rows, settings, seed, bf16))

    plain = keys(system(parts))
    assert len(plain) == len(rows)
    for same in (
        system(parts, batch_size=1, fallback="A", description="other words", resources={"cpus": 1}),
        system(parts, audio_encoder={"shards": 9}),
    ):
        assert keys(same) == plain
    trained = {"checkpoint": str(parts / "salmonn.pth")}
    others = [
        keys(system(parts), bf16=True),
        keys(system(parts), seed=8),
        keys(system(parts, question="Angry?")),
        keys(system(parts, decoding={"beams": 2, "max_new_tokens": 4})),
        keys(system(parts, {"layer": 1})),
        keys(system(parts, audio_encoder={"max_seconds": 3.0})),
        keys(system(parts, trained)),
        keys(system(parts, {"language_model": f"{parts}/../{parts.name}/llama"})),
    ]
    assert len(set.union(plain, *others)) == (1 + len(others)) * len(rows)
    assert keys(system(parts, trained), seed=8) == keys(system(parts, trained))  # no random weights


@pytest.mark.parametrize("changed", ["whisper/config.json", "beats.pt", "llama/tokenizer_config.json", "salmonn.pth"])
def test_changed_model_file_changes_the_request(changed: str, parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(parts, tmp_path / "parts")
    settings = system(tmp_path / "parts", {"checkpoint": str(tmp_path / "parts/salmonn.pth")})
    before = speech._keys(rows, settings, 7, False)
    with (tmp_path / "parts" / changed).open("ab") as file:
        file.write(b"\n")
    assert set(before).isdisjoint(speech._keys(rows, settings, 7, False))


def test_changed_clip_changes_the_request(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Also if its length is the same; a new time stamp changes nothing."""
    for clip in CLIPS:
        shutil.copy(parts / f"{clip}.wav", tmp_path)
    here = rows.assign(path=[str(tmp_path / Path(path).name) for path in rows["path"]])
    before = speech._keys(here, system(parts), 7, False)
    os.utime(tmp_path / "b.wav", (1, 1))
    assert speech._keys(here, system(parts), 7, False) == before
    waveform, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    soundfile.write(tmp_path / "a.wav", waveform[::-1], rate)
    after = speech._keys(here, system(parts), 7, False)
    changed = [one != other for one, other in zip(before, after, strict=True)]
    assert changed == [Path(path).name == "a.wav" for path in here["path"]] and any(changed)


def test_features_of_another_revision_change_the_request(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    settings = system(parts, audio_encoder={"cache": True})
    schema = index_schema(("speech", "audio"))
    shards = [tmp_path / f"{shard}.parquet" for shard in range(3)]
    for shard, commit in zip(shards, ("one", "one", "two"), strict=True):
        files.write_parquet(pd.DataFrame(columns=schema.names), schema, shard, {"revision": commit})
    one, both, other = (
        speech._keys(rows, settings, 7, False, features) for features in (shards[:1], shards[:2], shards[2:])
    )
    assert one == both  # the number of shards has no effect
    assert set(one).isdisjoint(other)


def test_responses_in_half_precision(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    _, audit, summary = label(rows, system(parts, precision="bf16"), tmp_path / "store")
    assert summary["requests"]["sent"] == len(audit) and audit["generated_tokens"].between(1, 4).all()


def without_output_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_model_without_output_layer_is_reported(parts: Path, tmp_path: Path) -> None:
    shutil.copytree(parts / "llama", tmp_path / "llama")
    without_output_layer(tmp_path / "llama")
    with pytest.raises(UserError) as caught:
        build(system(parts, {"language_model": str(tmp_path / "llama")}))
    assert_names(str(caught.value), str(tmp_path / "llama"), "1 weights are missing", "lm_head.weight")
    settings = json.loads((tmp_path / "llama/config.json").read_text())
    (tmp_path / "llama/config.json").write_text(json.dumps(settings | {"tie_word_embeddings": True}))
    _, model = build(system(parts, {"language_model": str(tmp_path / "llama")}))  # its words are the output layer
    assert model.causal.lm_head.weight is model.causal.get_input_embeddings().weight


def test_models_that_cannot_generate_text_are_reported(parts: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    shutil.copytree(parts / "llama", tmp_path / "roberta")
    RobertaForCausalLM(RobertaConfig(vocab_size=512, **small)).save_pretrained(tmp_path / "roberta")
    with pytest.raises(UserError, match=r"a roberta cannot generate text; use a LLaMA$"):
        build(system(parts, {"language_model": str(tmp_path / "roberta")}))
    state = read_weights(parts / "salmonn.pth")
    head = {name: torch.zeros(1) for name in pretrained_weights.HEAD}
    path = tmp_path / "tuned.pth"
    torch.save({pretrained_weights.FINE_TUNED + name: value for name, value in state.items()} | head, path)
    with pytest.raises(UserError) as caught:
        build(system(parts, {"checkpoint": str(path)}))
    assert_names(str(caught.value), f"{path}: ", "fine-tuned as a classifier")


def test_store_in_use_is_reported(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    with ResponseStore(tmp_path / "store").alone(), pytest.raises(UserError, match="another job is adding"):
        label(rows, system(parts), tmp_path / "store")


def test_fallback_outside_the_corpus_classes_is_reported(parts: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^fallback 'N': .*A, H$"):
        label(rows, system(parts), tmp_path / "store", classes="AH")


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"encoder": {"transcript": True}}, "encoder.transcript"),
        ({"encoder": {"max_words": 9}}, "encoder.max_words"),
        ({"encoder": {"max_words": None}}, "encoder.max_words"),
        ({"encoder": {"max_text_tokens": 9}}, "encoder.max_text_tokens"),
        ({"resources": {"gpu": 2}}, "resources.gpu"),
        ({"question": ""}, "question"),
        ({"decoding": {"beams": 0}}, "decoding.beams"),
        ({"decoding": {"max_new_tokens": 0}}, "decoding.max_new_tokens"),
        ({"decoding": {"temperature": 0.7}}, "decoding.temperature"),
        ({"batch_size": 0}, "batch_size"),
        ({"fallback": "X"}, "fallback"),
        ({"loss": {"name": "wfl"}}, "loss"),
    ],
)
def test_invalid_settings_are_reported(changes: dict, key: str) -> None:
    speech_llm = {"audio_encoder": {"whisper": "w", "beats": "b.pt"}, "language_model": "l"} | changes.pop(
        "encoder", {}
    )
    with pytest.raises(UserError) as error:
        parse(SalmonnZeroShot, {"family": "salmonn_zero_shot", "encoder": speech_llm} | changes)
    assert str(error.value).startswith(f"configuration: `{key}`: ") and "\n" not in str(error.value)


def test_inconsistent_sections_are_reported() -> None:
    audio_encoder = {"whisper": "w", "beats": "b.pt", "cache": True}
    zero_shot = {"family": "salmonn_zero_shot", "encoder": {"audio_encoder": audio_encoder, "language_model": "l"}}
    trained = {
        "family": "salmonn",
        "loss": {"name": "wfl"},
        "encoder": {"audio_encoder": audio_encoder, "language_model": "l"},
    }
    corpus = {"kind": "csv", "table": "t.csv", "classes": ["A", "H"]}
    with pytest.raises(UserError, match=r"`systems.z.fallback`: 'N' .*A, H$"):
        config.validate({"corpus": corpus, "systems": {"z": zero_shot}})
    trained["encoder"] = {"audio_encoder": audio_encoder | {"shards": 9}, "language_model": "l"}
    with pytest.raises(UserError, match=r"`systems.z.encoder.audio_encoder`: shares its features with s2"):
        config.validate({"corpus": {"kind": "synthetic"}, "systems": {"s2": trained, "z": zero_shot}})


def test_report_shows_model_prompt_and_counts(parts: Path, label_stored: Callable) -> None:
    settings = system(parts, {"checkpoint": str(parts / "salmonn.pth")})
    _, _, summary = label_stored(settings, [("happy", "stop")] * 7 + [("glad", "stop")])
    table = report.labelling_table({"z": {"name": "z", "settings": result_settings(settings), **summary}})
    (name, *numbers) = table.rows[0]
    assert name.detail.endswith(f"salmonn.pth, prompt {PROMPTS[0]}, mode speech") and "llama" in name.detail
    assert [cell.text for cell in numbers] == ["8", "7", "0", "1", "0", "–", "3.00"]


@pytest.mark.slow
def test_script_labels_validation_and_test(parts: Path, tmp_path: Path) -> None:
    manifest = salmonn_parts.make_manifest(parts)
    schemas.write_manifest(manifest, tmp_path / "manifest.parquet")
    files = {"output": "preds.csv", "responses": "responses.parquet", "summary": "labelling.json"}
    files["response-dir"] = "store"
    options = [item for option, name in files.items() for item in (f"--{option}", tmp_path / name)]
    settings = settings_json(system(parts))
    command = [SCRIPT, "--name", "z", "--settings", settings, "--seed", "7", "--cpus", "1", *options]
    command += ["--manifest", tmp_path / "manifest.parquet", "--classes", *"AHNS"]
    done = running.python(*command)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d labelled, 0 empty, \d unparsable, 0 refused; [\d.]+ labels/s$", done.stderr, re.MULTILINE)
    expected = manifest[manifest["split"] != "train"]
    assert schemas.read_predictions(tmp_path / "preds.csv")["FileName"].tolist() == sorted(expected["FileName"])
    assert len(pd.read_parquet(tmp_path / "responses.parquet")) == len(expected)
    summary = json.loads((tmp_path / "labelling.json").read_text())
    assert summary["name"] == "z" and summary["mode"] == "speech" and summary["notes"]
    again = running.python(*command)
    assert again.returncode == 0 and again.stderr.endswith("refused; all from stored responses\n")
    broken = running.python(*command, "--classes", "A")
    assert broken.stderr == "error: fallback 'N': not a class of the corpus; choose from A\n"
