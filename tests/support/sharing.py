"""Trains a small system in one of several processes of torchrun, with complete and with sharded frozen weights.

`… sharing.py MODELS FOLDER FAMILY/RUN …` uses the models in the folder MODELS. For each run it writes to the folder
FOLDER/FAMILY/RUN the `model/`, and the memory use of each process during the run, `held-RANK.json`.
"""

import gc
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "workflow_scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
import torch
from torch.distributed.tensor import DTensor

from abhinaya.config.system import TrainedSystem
from abhinaya.runtime import files
from abhinaya.training.loop import Loop
from support import salmonn_parts, speech_corpus, text_corpus

RUNS = {  # options of `training`, and whether the training is interrupted
    "whole": [({}, False)],
    "shared": [({"fsdp": True}, False)],
    "recomputed": [({"fsdp": True, "gradient_checkpointing": True}, False)],
    "resumed": [({"fsdp": True}, True), ({"fsdp": True}, False)],
}


def made(family: str, models: Path, **options: object) -> tuple[TrainedSystem, pd.DataFrame]:
    options |= {"epochs": 2, "batch_size": 1}  # two batches per step and process: gradients are accumulated
    if family == "text":
        return text_corpus.system(models / "llama", **options), text_corpus.make_manifest(models)
    clip = {"speech_window": "clip", "window": "clip", "max_seconds": 2.0}
    return salmonn_parts.system(models, audio_encoder=clip, **options), salmonn_parts.make_manifest(models)


def held(model: torch.nn.Module) -> dict[str, int]:
    """Number of weights in the frozen layers, in this process's shards of them, and bytes of all its tensors."""
    gc.collect()
    shares = [parameter for parameter in model.parameters() if isinstance(parameter, DTensor)]
    kinds = ((thing, type(thing)) for thing in gc.get_objects())
    alive = (thing for thing, kind in kinds if issubclass(kind, torch.Tensor) and not issubclass(kind, DTensor))
    storages = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in alive)}
    return {
        "whole": sum(share.numel() for share in shares),
        "own": sum(share.to_local().numel() for share in shares),
        "bytes": sum(storages.values()),
    }


def train(settings: TrainedSystem, manifest: pd.DataFrame, folder: Path, interrupted: bool) -> None:
    train_epoch = Loop.train_epoch

    def watched(self: Loop, epoch: int) -> None:
        if epoch == 1:
            files.write_json(held(self.classifier), folder / f"held-{os.environ['RANK']}.json")
            if interrupted:
                raise speech_corpus.Stop
        train_epoch(self, epoch)

    Loop.train_epoch = watched
    try:
        speech_corpus.run(settings, manifest, folder)
    except speech_corpus.Stop:
        assert interrupted
    Loop.train_epoch = train_epoch


if __name__ == "__main__":
    models, folder, *names = sys.argv[1:]
    for name in names:
        family, run = name.split("/")
        for options, interrupted in RUNS[run]:
            train(*made(family, Path(models), **options), Path(folder, name), interrupted)
