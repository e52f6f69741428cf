"""Sharding the frozen weights of a language model over the processes of a training with PyTorch's FSDP2."""

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from abhinaya.modeling.classifier import Classifier
from abhinaya.runtime.errors import UserError


def shard(classifier: Classifier, device: torch.device) -> None:
    """Shard the frozen weights of the language model's layers over the processes, on `device`.

    A layer's weights are gathered for its forward and its backward pass, and freed afterwards. Trained weights,
    embeddings and all other modules are not sharded; DDP averages the gradients as usual, and ignores the shards.

    All processes must call this with the complete classifier on the CPU. Layers are moved to the device one at a time,
    so it never holds the complete model.

    Raises:
        UserError: the language model has no transformer layers that transformers marks as such.
    """
    encoder = classifier.encoder
    layers = [part for part in encoder.model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise UserError("training.fsdp: this language model has no layers that can be sharded; set it to false")
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    trained = {parameter for parameter in classifier.parameters() if parameter.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    # The encoder has no shards; as the root module it lets a layer be gathered while another one computes.
    fully_shard(encoder, mesh=mesh, ignored_params=set(encoder.parameters()))
    shards = [name for name, parameter in classifier.named_parameters() if isinstance(parameter, DTensor)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(classifier, shards)
