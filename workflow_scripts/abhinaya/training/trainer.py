"""transformers' Trainer for a classifier: its batches, its checkpoints, and how it ends at a signal and goes on."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, rotate_checkpoints

from abhinaya.data.dataset import LengthGrouped, largest_first
from abhinaya.modeling.checkpoint import WEIGHTS, load_weights, save_weights
from abhinaya.modeling.classifier import Classifier
from abhinaya.runtime import files, signals
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.training.fsdp import is_sharded


class Stopped(Exception):
    """A signal ended the training; the last checkpoint is of this very step."""


class ClassifierTrainer(Trainer):
    """Trainer that stores only what training changes, and batches by length, in training from seed and epoch alone.

    It also goes on within an epoch, its mean loss and its time included, and between an epoch and its evaluation.
    """

    began = 0.0  # when the epoch did, had it never been broken off
    trained: float | None = None  # when the epoch's last step ended
    unevaluated: str | None = None  # the checkpoint to go on from, whose epoch lacks its evaluation

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGrouped:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGrouped(dataset.sizes, step, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> list[int]:
        """An order for batches of neighbours in size; the scores do not depend on it."""
        return largest_first(eval_dataset.sizes)

    def evaluation_loop(self, *args: Any, **keys: Any) -> EvalLoopOutput:
        """As Trainer's, but with the loss of the set: its own counts those clips twice that fill up a last batch."""
        found = super().evaluation_loop(*args, **keys)
        logits, labels = (torch.as_tensor(part).to(self.args.device) for part in (found.predictions, found.label_ids))
        found.metrics["eval_loss"] = self.compute_loss_func({"logits": logits}, labels).item()
        return found

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: DataLoader | None = None) -> nn.Module:
        if not training or not is_sharded(model):
            return super()._wrap_model(model, training, dataloader)
        # accelerate refuses DDP over shares, for it cannot know that DDP was told to leave them alone.
        model = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        return DistributedDataParallel(model, find_unused_parameters=self.args.ddp_find_unused_parameters)

    def _get_dataloader(self, *args: Any, **keys: Any) -> DataLoader:
        loader = super()._get_dataloader(*args, **keys)
        getattr(
            loader, "base_dataloader", loader
        ).worker_init_fn = signals.ignore_in_worker  # under accelerate's wrapper
        return loader

    def _init_training_state(
        self, max_steps: int, steps: int, epochs: int, resume: str | None, trial: None
    ) -> tuple[int, int]:
        """Where to go on: the epoch, from 0, and how many of its batches to skip: all, where only the end is left."""
        epoch, batches = super()._init_training_state(max_steps, steps, epochs, resume, trial)
        step = self.state.global_step
        evaluated = any("eval_loss" in entry and entry["step"] == step for entry in self.state.log_history)
        if resume is None or batches or evaluated:
            return epoch, batches
        self.unevaluated = resume
        return epoch - 1, steps * self.args.gradient_accumulation_steps

    def _save_checkpoint(self, model: nn.Module, trial: None) -> None:
        """As Trainer's, but older ones, except for the best, go only when this one is on the disk."""
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process writes a part
        if self.args.should_save:
            files.flush(Path(self.args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"))
            rotate_checkpoints(self.args.output_dir, 1, self.state.best_model_checkpoint, use_mtime=True)

    def _save_rng_state(self, output_dir: str) -> None:
        """Likewise each process's own: its share of the epoch's loss so far, and the time spent."""
        super()._save_rng_state(output_dir)
        epoch = {
            "loss": self._tr_loss.item(),
            "since_step": self._globalstep_last_logged,
            "seconds": (self.trained or time.monotonic()) - self.began,
        }
        files.write_json(epoch, self._epoch_file(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if checkpoint and self._epoch_file(checkpoint).is_file():  # not where there are more processes than before
            epoch = files.read_json(self._epoch_file(checkpoint))
            self._tr_loss.fill_(epoch["loss"])
            self._globalstep_last_logged = epoch["since_step"]
            self.began = time.monotonic() - epoch["seconds"]

    def _epoch_file(self, checkpoint: str) -> Path:
        return Path(checkpoint, f"epoch_{self.args.process_index}.json")

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # Saved before its evaluation already, the same: a kill while it is written again would spoil it.
        if not Path(output_dir, TRAINER_STATE_NAME).is_file():
            super()._save_optimizer_and_scheduler(output_dir)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.model, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Classifier | None = None) -> None:
        load_weights(model or self.model, Path(resume_from_checkpoint, WEIGHTS))

    def _load_best_model(self) -> None:
        load_weights(self.model, Path(self.state.best_model_checkpoint, WEIGHTS))


class Epochs(TrainerCallback):
    """Tells the data which epoch it is, and the user how the epoch went."""

    def __init__(self, trainer: ClassifierTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.trainer.began, self.trainer.trained = time.monotonic(), None
        self.trainer.train_dataset.epoch = int(state.epoch)  # no whole number where it goes on within an epoch
        sampler = _innermost_sampler(self.trainer.callback_handler.train_dataloader)
        sampler.epoch = int(state.epoch)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()  # what was begun is part of the epoch
        self.trainer.trained = time.monotonic()  # Trainer evaluates after this

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict, **_: object
    ) -> None:
        if not np.isfinite(metrics["eval_loss"]):
            raise UserError(
                f"training diverged: the validation loss of epoch {round(state.epoch)} is no number; lower "
                "`training.learning_rate`"
            )
        began, self.trainer.began = self.trainer.began, time.monotonic()
        seconds = self.trainer.began - began
        state.log_history[-1] |= {"seconds": seconds, "train_seconds": self.trainer.trained - began}
        self.trainer.trained = None  # a checkpoint from here on is of the next epoch
        if state.is_world_process_zero:
            loss = next(entry["loss"] for entry in reversed(state.log_history) if "loss" in entry)
            print_line(
                f"epoch {round(state.epoch)}/{round(args.num_train_epochs)}  loss {loss:.4f}  "
                f"validation loss {metrics['eval_loss']:.4f}  macro-F1 {metrics['eval_macro_f1']:.4f}  "
                f"({seconds:.1f} s)"
            )


class Agreement:
    """The number of a signal that one of the processes got, told to all of them at the same call.

    A call shares what this process has noted and returns what was shared at the call before. Meanwhile the numbers
    travel between CPUs, so that no process waits for another one that is late by less than a step, nor for its GPU. To
    be made and called in all processes, equally often; one process alone shares nothing and learns at once.
    """

    def __init__(self, noted: signals.SignalRecorder) -> None:
        self.noted = noted
        several = distributed.is_initialized() and distributed.get_world_size() > 1
        # Of its own, for NCCL has no CPU numbers, and no other communication may come in between.
        self.group = distributed.new_group(backend="gloo") if several else None
        self.number = torch.tensor(0)
        self.sharing: distributed.Work | None = None

    def __call__(self) -> int:
        """The signal's number; 0: none."""
        if self.group is None:
            return self.noted.number
        if self.sharing:
            self.sharing.wait()
        agreed = int(self.number)
        if not agreed:  # else all processes end, and ask no more
            self.number = torch.tensor(self.noted.number)
            self.sharing = distributed.all_reduce(self.number, distributed.ReduceOp.MAX, self.group, async_op=True)
        return agreed


class Checkpoints(TrainerCallback):
    """Checkpoints besides those at the end of each epoch: every so many steps, and at a signal, which ends training.

    All processes end at the same step, whichever of them the signal reaches first: one alone at the step that the
    signal came in, several one or two steps later.
    """

    def __init__(self, trainer: ClassifierTrainer, noted: signals.SignalRecorder, every: int | None) -> None:
        self.trainer, self.every = trainer, every
        self.agreement = Agreement(noted)
        self.number = 0  # of the signal that all processes know of

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self._stops() or (self.every and state.global_step % self.every == 0):
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.trainer.unevaluated:
            self.trainer._load_rng_state(self.trainer.unevaluated)
            self.trainer.unevaluated = None
        self.random = torch.get_rng_state()  # evaluation draws from it

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if self._stops():
            torch.set_rng_state(self.random)
            self.trainer._save_checkpoint(self.trainer.model, None)
            raise Stopped

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        if self.number:
            raise Stopped

    def _stops(self) -> bool:
        self.number = self.agreement()
        return bool(self.number)


def _innermost_sampler(dataloader: object) -> LengthGrouped:
    """Our sampler, under whatever accelerate wrapped it in to share it between processes."""
    sampler = dataloader.batch_sampler
    while not isinstance(sampler, LengthGrouped):
        sampler = getattr(sampler, "batch_sampler", None) or sampler.sampler
    return sampler
