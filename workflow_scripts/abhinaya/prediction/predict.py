"""Prediction with a trained classifier."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances, by_size, collate
from abhinaya.labels import CLASSES
from abhinaya.modeling.checkpoint import load_model
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.precision import autocast
from abhinaya.runtime.devices import claim
from abhinaya.runtime.errors import UserError
from abhinaya.transcription.transcripts import check_text


def predict(
    folder: Path, manifest: pd.DataFrame, cpus: int = 2, gpus: int = 0, features: Sequence[Path] = ()
) -> pd.DataFrame:
    """Predict the emotion of each utterance of `manifest` in `schemas.PREDICTED` with the model in `folder`.

    Args:
        manifest: all utterances, with `text` for a system that reads transcripts.
        features: indices of cached features, for a frozen encoder; without them, features are computed here.

    Returns:
        a table with the columns `schemas.PREDICTIONS`. Probabilities are the softmax over the classes of the training
        data; the other classes have 0.

    Raises:
        UserError: as `load_model`; nothing to predict; too few GPUs; outputs that are not finite.
    """
    device, workers = claim(cpus, min(gpus, 1))
    rows = manifest[manifest["split"].isin(schemas.PREDICTED)].reset_index(drop=True)
    if rows.empty:
        raise UserError("manifest: no validation or test utterances; check the corpus's splits")
    classifier, loader, settings = load_model(folder, device, features)
    check_text(settings, rows)
    utterances = Utterances(rows, loader)
    for remark in utterances.remarks:
        print(remark, file=sys.stderr)
    probabilities = _probabilities(classifier, utterances, settings, device, workers)
    table = pd.DataFrame(probabilities.numpy(), columns=list(schemas.PROBABILITIES))
    table.insert(0, schemas.KEY, rows[schemas.KEY])
    schemas.check_probabilities(table, folder)
    table.insert(1, "Split", rows["split"])
    table.insert(2, "EmoClass", [CLASSES[index] for index in probabilities.argmax(-1)])
    return table


def _probabilities(
    classifier: Classifier, utterances: Utterances, settings: TrainedSystem, device: torch.device, workers: int
) -> torch.Tensor:
    """(n, 8) float64, in the order of `utterances`."""
    batches = by_size(utterances.sizes, settings.training.eval_batch_size)
    batched = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    probabilities = torch.empty(len(utterances), len(CLASSES), dtype=torch.float64)
    with torch.inference_mode():
        for indices, batch in zip(batches, tqdm(batched, desc="predicting", unit="batch", mininterval=5), strict=True):
            batch.pop("labels")
            with autocast(settings.training.precision, device):  # not around data loading, which is fp32
                logits = classifier(**{name: value.to(device) for name, value in batch.items()})["logits"]
            probabilities[indices] = logits.double().softmax(-1).cpu()
    return probabilities
