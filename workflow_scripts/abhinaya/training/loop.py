"""The training loop: optimiser steps, epochs, evaluations and checkpoints, in one process or in several.

    loop = Loop(...)
    loop.load(checkpoint)  # if there is one
    loop.run(agreement)

Every process runs the same loop on its own batches. DDP averages the gradients; only the first process writes files.
"""

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.data_loader import BatchSamplerShard
from accelerate.utils import gather, gather_object
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import BatchSampler, DataLoader
from tqdm import tqdm
from transformers import set_seed
from transformers.trainer_pt_utils import get_parameter_names

from abhinaya.config.system import Training
from abhinaya.data.dataset import LengthGrouped, Utterances, collate, largest_first
from abhinaya.data.schemas import KEY
from abhinaya.modeling.checkpoint import WEIGHTS, load_weights
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.losses import ClassLoss
from abhinaya.modeling.precision import autocast
from abhinaya.runtime import files, signals
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.training import resume
from abhinaya.training.agreement import Agreement, Stopped
from abhinaya.training.metrics import coverage_warning, scores

Batch = dict[str, Tensor]
MAX_NAMES = 4  # utterances in a message
NO_DECAY = ["bias", "layernorm", "rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]  # as in transformers' Trainer


class Loop:
    """A training of `classifier` after `step` optimiser steps."""

    def __init__(
        self,
        classifier: Classifier,
        loss: ClassLoss,
        data: dict[str, Utterances],
        training: Training,
        seed: int,
        checkpoints: Path,
        device: torch.device,
        processes: PartialState,
        workers: int,
    ) -> None:
        """Move the classifier to `device` and prepare it for training.

        Args:
            data: the splits `train` and `validation`.
            seed: of the batches, of dropout and of all other random numbers.
            checkpoints: folder of the checkpoints.
            workers: processes that load data for this one; 0: it loads them itself.
        """
        set_seed(seed)  # the training does not depend on how many random numbers were used before
        self.data, self.training, self.seed, self.checkpoints = data, training, seed, checkpoints
        self.device, self.processes, self.workers = device, processes, workers
        self.precision = autocast(training.precision, device)
        self.classifier, self.loss = classifier.to(device), loss.to(device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(classifier, training.weight_decay),
            lr=training.learning_rate,
            betas=(0.9, training.adam_beta2),
            eps=training.adam_epsilon,
            fused=True,  # all weights in one pass
        )
        self.model: nn.Module = classifier
        if processes.num_processes > 1:
            # Layer drop skips layers, and the mask embedding may be unused.
            self.model = DistributedDataParallel(classifier, find_unused_parameters=True)
        self.accumulation = accumulation(training, processes.num_processes)
        self.steps_per_epoch = math.ceil(len(data["train"]) / training.effective_batch)
        self.steps = training.epochs * self.steps_per_epoch
        self.step = 0
        self.best_step: int | None = None  # of the checkpoint with the highest macro-F1; the first if several are equal
        self.epochs: list[dict] = []  # completed, with their evaluation, as in `metrics.json`
        self.epoch_loss = torch.tensor(0.0, device=device)  # sum over the steps of the current epoch
        self.batch_losses: list[Tensor] = []  # of the current epoch, since the start of this process
        self.spent = 0.0  # seconds of the current epoch before an interruption
        self.began = 0.0  # start time of the current epoch, moved forward by interruptions
        self.trained: float | None = None  # end time of the last step of the current epoch

    def run(self, agreement: Agreement) -> None:
        """Train to the end, then load the weights of the best epoch.

        Raises:
            Stopped: a signal was received; a checkpoint is saved.
            UserError: the training diverged.
        """
        self.agreement = agreement
        quiet = not self.processes.is_main_process or not sys.stderr.isatty()
        with tqdm(total=self.steps, initial=self.step, unit="step", disable=quiet) as self.bar:
            for epoch in range(len(self.epochs), self.training.epochs):
                self.train_epoch(epoch)
                self.end_epoch(epoch, *self.evaluate())
        load_weights(self.classifier, self.checkpoint(self.best_step) / WEIGHTS)

    def train_epoch(self, epoch: int) -> None:
        """Do the remaining steps of an epoch; none if only its evaluation is missing."""
        self.began, self.spent = time.monotonic() - self.spent, 0.0
        train, done = self.data["train"], self.step - epoch * self.steps_per_epoch
        train.epoch = epoch
        order = LengthGrouped(train.sizes, self.training.effective_batch, self.seed)
        order.epoch = epoch
        batches = self.share(order, self.training.batch_size)[done * self.accumulation :]
        self.batch_losses = []
        random = resume.random_states(self.device)
        loaded = iter(self.loader("train", batches))  # uses a random number
        if done:  # which the run before the checkpoint has already used
            resume.set_random_states(random, self.device)
        self.model.train()
        self.loss.train()
        for start in range(0, len(batches), self.accumulation):
            sizes = [len(batch) for batch in batches[start : start + self.accumulation]]
            self.train_step(islice(loaded, len(sizes)), len(sizes), sum(sizes))
            self.step += 1
            self.end_step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # include all steps in the time
        self.trained = time.monotonic()
        self.check_losses(batches)

    def check_losses(self, batches: list[list[int]]) -> None:
        """Raise a `UserError` that names the utterances of the first of the `batches` whose loss is not finite.

        Checked once an epoch, since reading a loss would wait for the GPU.
        """
        finite = torch.stack(self.batch_losses).isfinite().tolist() if self.batch_losses else []
        self.batch_losses = []
        first = finite.index(False) if False in finite else None
        names = [] if first is None else self.names("train", batches[first])
        # In the other processes, the loss becomes NaN at their next step.
        found = [each for each in gather_object([(first, names)]) if each[0] is not None]
        if found:
            raise UserError(diverged("the loss", self.step, min(found, key=lambda each: each[0])[1]))

    def names(self, split: str, indices: Sequence[int]) -> list[str]:
        return [self.data[split].rows[index][KEY] for index in indices]

    def train_step(self, batches: Iterator[Batch], count: int, utterances: int) -> None:
        """One optimiser step from `count` batches with `utterances` utterances in this process.

        Its loss is the mean over the utterances of all processes, which have the same number each.
        """
        processes = self.processes.num_processes
        total = torch.tensor(processes * utterances, device=self.device)
        for number, batch in enumerate(batches, start=1):
            averages = number == count or processes == 1
            with contextlib.nullcontext() if averages else self.model.no_sync():
                outputs, labels = self.forward(self.model, batch)
                loss = self.loss(outputs["logits"], labels, total) * processes  # DDP divides by it
                loss.backward()
            self.epoch_loss += loss.detach()
            self.batch_losses.append(loss.detach())
        self.optimizer.step()
        self.optimizer.zero_grad()

    def forward(self, model: nn.Module, batch: Batch) -> tuple[Batch, Tensor]:
        """The outputs of `Classifier` and the labels (B,), on the device."""
        inputs = {name: value.to(self.device) for name, value in batch.items()}
        labels = inputs.pop("labels")
        with self.precision:
            return model(**inputs), labels

    def end_step(self) -> None:
        """Save a checkpoint if one is due, and stop after a signal.

        All processes stop at the same step. A single process stops at the step of the signal, several processes one or
        two steps later.
        """
        self.bar.update()
        number, every = self.agreement(), self.training.save_steps
        if number or (every and self.step % every == 0):
            self.save()
        if number:
            raise Stopped(number)

    @torch.no_grad()
    def evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (n, 8), labels (n,) and frame coverage (n,) of the validation split, longest first.

        They are the same in all processes.
        """
        self.model.eval()
        self.loss.eval()
        random = resume.random_states(self.device)  # before the loader uses a random number
        order = largest_first(self.data["validation"].sizes)  # little padding; the scores do not depend on the order
        parts = []
        for batch in self.loader("validation", self.share(order, self.training.eval_batch_size)):
            outputs, labels = self.forward(self.classifier, batch)
            parts.append([gather(part) for part in (outputs["logits"], labels, outputs["frame_coverage"])])
            self.end_batch(random)
        logits, labels, coverage = (torch.cat(tensors)[: len(order)] for tensors in zip(*parts, strict=True))
        return logits, labels, coverage

    def end_batch(self, random: dict) -> None:
        """Stop an evaluation after a signal. A resumed run repeats it with the `random` states of its start."""
        if number := self.agreement():
            self.save(random)
            raise Stopped(number)

    def end_epoch(self, epoch: int, logits: Tensor, labels: Tensor, coverage: Tensor) -> None:
        """Record the metrics of the epoch, save a checkpoint and print a line.

        Args:
            logits, labels, coverage: as from `evaluate`.

        Raises:
            UserError: the validation loss is not finite; names the utterances whose logits are not.
        """
        validation_loss = self.loss(logits, labels).item()
        measured = scores(logits.cpu().numpy(), labels.cpu().numpy()) | {"frame_coverage": coverage.mean().item()}
        if not math.isfinite(validation_loss):
            bad = torch.nonzero(~logits.isfinite().all(-1)).flatten().tolist()
            order = largest_first(self.data["validation"].sizes)
            names = self.names("validation", [order[place] for place in bad])
            raise UserError(diverged("the validation loss", self.step, names))
        loss = gather(self.epoch_loss).mean().item() / self.steps_per_epoch
        self.epoch_loss.zero_()
        now = time.monotonic()
        seconds, train_seconds = now - self.began, self.trained - self.began
        self.began, self.trained = now, None  # the next checkpoint belongs to the next epoch
        if self.best_step is None or measured["macro_f1"] > max(each["macro_f1"] for each in self.epochs):
            self.best_step = self.step
        losses = {"loss": loss, "validation_loss": validation_loss}
        times = {"seconds": seconds, "train_seconds": train_seconds}
        self.epochs.append({"epoch": epoch + 1, **losses, **measured, **times})
        if self.processes.is_main_process:
            self.bar.clear()
            print_line(
                f"epoch {epoch + 1}/{self.training.epochs}  loss {loss:.4f}  validation loss {validation_loss:.4f}  "
                f"macro-F1 {measured['macro_f1']:.4f}  ({seconds:.1f} s)"
            )
            if warning := coverage_warning([each["frame_coverage"] for each in self.epochs]):
                print_line(warning)
        self.save()

    def save(self, random: dict | None = None) -> None:
        """Save a checkpoint, then remove older ones except the best.

        Args:
            random: the random states for a resumed run; by default the current ones.
        """
        state_here = {"loss": self.epoch_loss.item(), "random": random or resume.random_states(self.device)}
        parts = gather_object([state_here])
        if self.processes.is_main_process:
            state = {
                "step": self.step,
                "best_step": self.best_step,
                "epochs": self.epochs,
                "seconds": (self.trained or time.monotonic()) - self.began,
                "processes": parts,
            }
            resume.save(self.checkpoint(self.step), self.classifier, self.optimizer, state)
            kept = {self.checkpoint(step) for step in (self.step, self.best_step) if step is not None}
            resume.remove_others(self.checkpoints, kept)
        self.processes.wait_for_everyone()

    def load(self, checkpoint: Path) -> None:
        """Continue from `checkpoint`; with the same number of processes, the result is the same to the byte."""
        load_weights(self.classifier, checkpoint / WEIGHTS)
        moments = torch.load(checkpoint / resume.OPTIMIZER, map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(moments)
        state = files.read_json(checkpoint / resume.STATE)
        self.step, self.best_step, self.epochs = state["step"], state["best_step"], state["epochs"]
        self.spent = state["seconds"]
        parts = state["processes"]
        losses = [math.nan if part["loss"] is None else part["loss"] for part in parts]
        if len(parts) == self.processes.num_processes:
            self.epoch_loss.fill_(losses[self.processes.process_index])
            resume.set_random_states(parts[self.processes.process_index]["random"], self.device)
        else:
            self.epoch_loss.fill_(sum(losses) / len(losses))  # the mean loss over all utterances

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"checkpoint-{step}"

    def share(self, order: Sequence[int] | LengthGrouped, batch_size: int) -> list[list[int]]:
        """The batches of this process, of the utterances in `order`.

        All processes have the same number of batches. With several processes all batches have the same size: the last
        ones are filled with the first utterances.
        """
        batches = BatchSampler(order, batch_size, drop_last=False)
        if self.processes.num_processes == 1:
            return list(batches)
        return list(BatchSamplerShard(batches, self.processes.num_processes, self.processes.process_index))

    def loader(self, split: str, batches: list[list[int]]) -> DataLoader:
        return DataLoader(
            self.data[split],
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=signals.ignore_in_worker,
        )


def diverged(loss: str, step: int, names: Sequence[str]) -> str:
    """The message for a loss that is not finite, with the utterances in which it first appeared."""
    where = f"{', '.join(map(printable, names[:MAX_NAMES]))}{', …' if len(names) > MAX_NAMES else ''}"
    return (
        f"training diverged: {loss} is not finite at step {step} or before, first with {len(names)} utterances "
        f"({where}); lower `training.learning_rate`, or check these utterances"
    )


def parameter_groups(classifier: Classifier, weight_decay: float) -> list[dict]:
    """The trained parameters for the optimiser: with weight decay, and, for biases and norms, without."""
    decayed = set(get_parameter_names(classifier, [nn.LayerNorm], NO_DECAY))
    trained = [(name, parameter) for name, parameter in classifier.named_parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for name, parameter in trained if name in decayed], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in trained if name not in decayed], "weight_decay": 0.0},
    ]


def accumulation(training: Training, processes: int) -> int:
    """The number of batches of each process in an optimiser step.

    Raises:
        UserError: the effective batch is not divisible.
    """
    per_pass = training.batch_size * processes
    if training.effective_batch % per_pass:
        raise UserError(
            f"training.effective_batch: {training.effective_batch} is not a multiple of batch_size x processes = "
            f"{per_pass}; change one of them"
        )
    return training.effective_batch // per_pass
