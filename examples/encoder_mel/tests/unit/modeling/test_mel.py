"""The recurrent encoder: exact in a batch, trained, saved and loaded, known to preflight."""

from pathlib import Path

import pytest
import torch

from abhinaya import preflight
from abhinaya.config import Config, parse
from abhinaya.config.system import MelSystem, Trained
from abhinaya.data.corpora.kinds.synthetic import Synthetic
from abhinaya.data.dataset import collate
from abhinaya.modeling import encoders
from abhinaya.prediction.predict import predict
from abhinaya.preflight.plan import Job, Plan
from abhinaya.runtime.errors import UserError
from support import speech_corpus

CPU = torch.device("cpu")


def system(**training: object) -> MelSystem:
    return parse(
        Trained,
        {
            "family": "mel",
            "encoder": {"mels": 20, "hidden": 8, "layers": 1},
            "head": {"hidden": 16, "dropout": 0.0, "attention_init": 0.1},
            "loss": {"name": "wce"},
            "training": {"epochs": 12, "learning_rate": 0.01, "effective_batch": 4, "batch_size": 4, **training},
        },
    )


def test_a_clip_gets_the_same_vectors_alone_and_in_a_batch(tmp_path: Path) -> None:
    rows = speech_corpus.make_manifest(tmp_path).nlargest(2, "duration").to_dict("records")
    loader, encoder = encoders.build(system(), 1, CPU)
    items = [{**loader.load(row, None), "labels": 0} for row in rows]
    assert len(items[0]["inputs"]) > len(items[1]["inputs"])
    batch = collate(items)
    vectors, lengths = encoder(batch["inputs"], batch["lengths"])
    alone, length = encoder(items[1]["inputs"][None], lengths[1:])
    assert vectors.shape == (2, int(lengths.max()), encoder.width)
    torch.testing.assert_close(vectors[1, : length[0]], alone[0])


def test_it_learns_and_is_restored(tmp_path: Path) -> None:
    manifest = speech_corpus.make_manifest(tmp_path)
    found = predict(speech_corpus.run(system(), manifest, tmp_path), manifest).set_index("FileName")
    known = manifest[manifest["split"].isin(["validation", "test"]) & (manifest["EmoClass"] != "S")]
    assert (found.loc[known["FileName"], "EmoClass"].to_numpy() == known["EmoClass"]).mean() > 0.6


def test_the_preflight_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = Config(corpus=Synthetic(kind="synthetic"), systems={"tones": system()})
    plan = Plan([Job("predict tones", [("predict", {"system": "tones"})], 1, {})])
    found = {finding.check: finding for finding in preflight.check(whole, plan)}
    assert not any(finding.failed for finding in found.values())
    assert "tones" in found


def test_a_key_without_effect_is_refused() -> None:
    with pytest.raises(UserError, match=r"`training\.gradient_checkpointing`: not for a recurrent network"):
        system(gradient_checkpointing=True)
