"""The statistics that standardise pooled vectors, from the training split."""

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from abhinaya.config.system import Training
from abhinaya.data.dataset import Utterances, by_size, collate
from abhinaya.modeling.classifier import PooledClassifier
from abhinaya.modeling.precision import autocast


def fit(classifier: PooledClassifier, utterances: Utterances, training: Training, workers: int) -> None:
    """Set mean and standard deviation of the pooled vectors of `utterances`, in one pass before the training.

    Every process of a training makes the whole pass.

    Args:
        classifier: on its device.
        workers: processes that load data.
    """
    scaler = StandardScaler().fit(pooled_vectors(classifier, utterances, training, workers))
    mean, deviation = (torch.from_numpy(values) for values in (scaler.mean_, np.sqrt(scaler.var_)))
    classifier.standardisation.set_statistics(mean, deviation)


@torch.inference_mode()
def pooled_vectors(
    classifier: PooledClassifier, utterances: Utterances, training: Training, workers: int
) -> np.ndarray:
    """The pooled vectors of `utterances` in their order, (n, W) float64."""
    classifier.eval()
    device = classifier.untrained.device
    batches = by_size(utterances.sizes, training.eval_batch_size)
    loaded = DataLoader(utterances, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    vectors = np.empty((len(utterances), classifier.width))
    for rows, batch in zip(batches, loaded, strict=True):
        batch.pop("labels")
        with autocast(training.precision, device):
            pooled = classifier.pooled(**{name: value.to(device) for name, value in batch.items()})[0]
        vectors[rows] = pooled.double().cpu().numpy()
    return vectors
