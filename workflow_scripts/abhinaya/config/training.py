"""The sections `training` and `resources` of a trained system."""

from pydantic import Field

from abhinaya.config.base import Precision, Resources, Section


class Training(Section):
    """Optimisation (paper: AdamW, lr 1e-5, 20 epochs, effective batch 32; the authors' code: a constant lr)."""

    epochs: int = Field(20, ge=1, description="number of epochs")
    learning_rate: float = Field(1e-5, gt=0, description="constant learning rate")
    weight_decay: float = Field(
        0.0, ge=0, description="AdamW's weight decay; default with a frozen encoder and plain `head.pooling`: 1.0"
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of each training label that is divided among all classes; default with a frozen encoder "
        "and plain `head.pooling`: 0.1",
    )
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="AdamW's second beta (the authors' T2: 0.99)")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW's epsilon (the authors' T2: 1e-6)")
    effective_batch: int = Field(32, ge=1, description="utterances per optimiser step over all GPUs and nodes")
    batch_size: int = Field(8, ge=1, description="utterances per GPU and forward pass; gradients are accumulated")
    eval_batch_size: int = Field(16, ge=1, description="utterances per forward pass in evaluation")
    precision: Precision = "auto"
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory, more time"
    )
    fsdp: bool = Field(
        False,
        description="shard the frozen weights over several GPUs (FSDP): less memory, more communication",
    )
    save_steps: int | None = Field(
        None,
        ge=1,
        description="additionally save a checkpoint every this many optimiser steps; null: only after each epoch and "
        "at SIGTERM",
    )


class TrainingResources(Resources):
    """Resources of a training job."""

    nodes: int = Field(
        1, ge=1, description="number of machines, each with `gpu`, `cpus` and `mem_mb`; several need SLURM"
    )

    @property
    def processes(self) -> int:
        """Number of training processes: one per GPU, or one per machine without GPUs."""
        return max(1, self.gpu) * self.nodes
