"""The statistics that standardise pooled vectors, from the training split."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from abhinaya.config.system import Training
from abhinaya.data.dataset import Utterances, by_size, collate
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.precision import autocast


def fit(classifier: Classifier, utterances: Utterances, training: Training, workers: int) -> None:
    """Set mean and standard deviation of the pooled vectors of `utterances`, in one pass before the training.

    Every process of a training makes the whole pass.

    Args:
        classifier: on its device.
        workers: processes that load data.
    """
    scaler = StandardScaler()
    for vectors in pooled_batches(classifier, utterances, training, workers):
        scaler.partial_fit(vectors)
    mean, deviation = (torch.from_numpy(values) for values in (scaler.mean_, np.sqrt(scaler.var_)))
    classifier.standardisation.set_statistics(mean, deviation)


@torch.inference_mode()
def pooled_batches(
    classifier: Classifier, utterances: Utterances, training: Training, workers: int
) -> Iterator[np.ndarray]:
    """Yield the pooled vectors of `utterances` in batches (b, W) float64, largest first."""
    classifier.eval()
    device = classifier.untrained.device
    batches = by_size(utterances.sizes, training.eval_batch_size)
    for batch in DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers):
        batch.pop("labels")
        with autocast(training.precision, device):
            pooled = classifier.pooled(**{name: value.to(device) for name, value in batch.items()})[0]
        yield pooled.double().cpu().numpy()
