"""Sharing the frozen weights of a language model among the processes of a training, by PyTorch's FSDP2."""

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
    """Leave each process its share of the frozen weights in the language model's layers, on `device`.

    A layer is whole on a device only while it computes, forward and backward: its shares are gathered, and dropped
    again. What is trained stays whole everywhere, and so do embeddings and what is no part of the language model; DDP
    averages the gradients, as without shares, and is told to leave the shares alone.

    To be called in all processes, with the classifier still on the CPU, where each process has loaded all of it. The
    layers move to the device one by one, which therefore never holds the whole model.

    Raises:
        UserError: the language model has no layers that transformers knows as such.
    """
    encoder = classifier.encoder
    layers = [part for part in encoder.model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not layers:
        raise UserError("training.fsdp: this language model has no layers to share out; set it to false")
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    trained = {parameter for parameter in classifier.parameters() if parameter.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=trained)
    # The encoder itself has no shares, but as their root it lets one layer's shares travel while another computes.
    fully_shard(encoder, mesh=mesh, ignored_params=set(encoder.parameters()))
    shares = [name for name, parameter in classifier.named_parameters() if isinstance(parameter, DTensor)]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(classifier, shares)
