"""Training a classifier: transformers' Trainer with the paper's losses, resumable after a kill."""

import hashlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch.utils.data import Dataset
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from abhinaya.config.base import result_settings
from abhinaya.config.system import TrainedSystem
from abhinaya.data import schemas
from abhinaya.data.dataset import Utterances, Vectors, collate
from abhinaya.labels import CLASSES
from abhinaya.modeling import losses
from abhinaya.modeling.checkpoint import build, check_replaceable, parameters, save_model
from abhinaya.modeling.classifier import Classifier
from abhinaya.modeling.precision import autocast, is_bf16
from abhinaya.pretrained.hub import source_digests
from abhinaya.runtime import files, signals
from abhinaya.runtime.devices import claim
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.training.fsdp import shard
from abhinaya.training.trainer import Checkpoints, ClassifierTrainer, Epochs, Stopped
from abhinaya.transcription.transcripts import check_text, short_enough

FINGERPRINT = "fingerprint.json"
# Keys of `training` that change memory and safety, and no result.
COST_ONLY = ("batch_size", "eval_batch_size", "gradient_checkpointing", "fsdp", "save_steps")


def train(
    name: str,
    settings: TrainedSystem,
    manifest: pd.DataFrame,
    seed: int,
    checkpoints: Path,
    output: Path,
    cpus: int = 2,
    gpus: int = 0,
    features: Sequence[Path] = (),
) -> None:
    """Train system `name` and write its model folder: weights, `config.json`, `metrics.json`.

    Args:
        manifest: all utterances; `split` tells train and validation; with `text` for a system that reads transcripts.
        checkpoints: folder of a run in progress; a later call with the same task goes on from there;
            removed at the end.
        output: the model folder, written last and whole.
        cpus: cores: to compute with, or, beside a GPU, to load audio with.
        gpus: GPUs to train on (one process each, started by torchrun); 0 is the CPU.
        features: shards of cached features, for a speech LLM.

    Raises:
        UserError: a split without utterances or with one that has none of the eight emotions, too few GPUs, an encoder
            that cannot be loaded.
        SystemExit: a signal; a checkpoint is saved.
    """
    check_text(settings, manifest)
    device, workers = claim(cpus, gpus)
    check_replaceable(output)
    rows = {split: manifest[manifest["split"] == split].reset_index(drop=True) for split in ("train", "validation")}
    for split, part in rows.items():
        if part.empty:
            raise UserError(f"manifest: no utterance in the {split} split; check the corpus's partitions")
        for file, letter in part.loc[~part["EmoClass"].isin(CLASSES), [schemas.KEY, "EmoClass"]].itertuples(
            index=False
        ):
            raise UserError(
                f"manifest: EmoClass {letter!r} of {file} in the {split} split is none of {', '.join(CLASSES)}; leave "
                "its split empty"
            )
    rows["train"], left_out = short_enough(settings, rows["train"])
    counts = [int((rows["train"]["EmoClass"] == letter).sum()) for letter in CLASSES]
    set_seed(seed)
    classifier, loader = build(settings, counts, seed, device, features)
    arguments = _arguments(settings, checkpoints, seed, workers, device)
    with arguments.main_process_first(local=False):  # it clears away what the others must not find
        if arguments.process_index == 0:  # the fingerprint reads all of the models: once for all processes
            resume = _checkpoint_of(fingerprint(settings, rows, seed), checkpoints)
        else:
            resume = get_last_checkpoint(str(checkpoints))
    if resume and arguments.process_index == 0:
        print_line(f"resuming from {resume}")
    data: dict[str, Dataset] = {
        "train": Utterances(rows["train"], loader, seed),
        "validation": Utterances(rows["validation"], loader),
    }
    remarks = left_out + [f"{split}: {remark}" for split, part in data.items() for remark in part.remarks]
    if arguments.process_index == 0:
        for remark in remarks:
            print_line(remark)
    if settings.encoder.frozen:
        data = _encoded(classifier, data, checkpoints, settings, workers, arguments)
    if settings.training.fsdp and arguments.world_size > 1:
        shard(classifier, arguments.device)
    elif settings.training.fsdp:
        print_line("training.fsdp: no effect, for one process alone keeps all weights")
    trainer = ClassifierTrainer(
        model=classifier,
        args=arguments,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        data_collator=collate,
        compute_loss_func=_loss_function(settings, counts, arguments.device),
        compute_metrics=macro_f1,
    )
    trainer.model_accepts_loss_kwargs = False  # the count of a step goes to the loss, not to the encoder
    trainer.remove_callback(PrinterCallback)  # `Epochs` tells it in one line
    started = time.monotonic()
    _run(trainer, settings.training.save_steps, resume)
    seconds = time.monotonic() - started
    memory = _peak_memory(trainer)
    trainer.accelerator.wait_for_everyone()  # all have read the best checkpoint before it goes
    if trainer.is_world_process_zero():
        metrics = _metrics(trainer, settings, len(rows["train"]), seconds, resume) | memory
        save_model(name, settings, classifier, counts, seed, metrics, remarks, output)
        shutil.rmtree(checkpoints)


def _run(trainer: ClassifierTrainer, save_steps: int | None, resume: str | None) -> None:
    """Train to the end, or leave at a signal."""
    with signals.SignalRecorder() as noted:
        checkpoints = Checkpoints(trainer, noted, save_steps)
        trainer.add_callback(checkpoints)
        trainer.add_callback(Epochs(trainer))
        try:
            trainer.train(resume_from_checkpoint=resume)
            return
        except Stopped:
            trainer.accelerator.wait_for_everyone()  # torchrun ends the others as soon as one is gone
    if trainer.is_world_process_zero():
        name, step = signal.Signals(checkpoints.number).name, trainer.state.global_step
        print_line(f"stopped by {name}; start again to go on from step {step} of {trainer.state.max_steps}")
    sys.exit(128 + checkpoints.number)  # as a shell tells of it


def macro_f1(prediction: EvalPrediction) -> dict[str, float]:
    """Macro-F1 (the paper's measure), UAR and accuracy of logits (n, 8)."""
    guess, truth = prediction.predictions.argmax(-1), prediction.label_ids
    return {
        "macro_f1": float(f1_score(truth, guess, average="macro", zero_division=0)),
        "uar": float(recall_score(truth, guess, average="macro", labels=np.unique(truth), zero_division=0)),
        "accuracy": float(accuracy_score(truth, guess)),
    }


def fingerprint(settings: TrainedSystem, rows: dict[str, pd.DataFrame], seed: int) -> dict[str, str]:
    """What a checkpoint belongs to: settings, seed and data. Another task must not go on from it.

    Settings that only trade memory for time do not count: after a lack of memory one changes them and goes on.
    """
    columns = [schemas.KEY, "EmoClass", "duration", *(["text"] if settings.reads_transcripts else [])]
    content = {split: hashlib.sha256(part[columns].to_csv().encode()).hexdigest() for split, part in rows.items()}
    chosen = result_settings(settings)
    for key in COST_ONLY:
        del chosen["training"][key]
    base = json.dumps(source_digests(settings.encoder.sources))
    return {"settings": json.dumps(chosen, sort_keys=True), "base": base, "seed": str(seed), **content}


def _checkpoint_of(task: dict[str, str], checkpoints: Path) -> str | None:
    """The last checkpoint of this very task; those of another are removed."""
    record = checkpoints / FINGERPRINT
    if checkpoints.is_dir() and any(checkpoints.iterdir()) and not record.is_file():
        raise UserError(f"{checkpoints}: holds other files than checkpoints; name a new or empty folder")
    if not record.is_file() or files.read_json(record) != task:
        if record.is_file():
            print_line(f"{checkpoints}: checkpoints of other settings or data; starting afresh")
            shutil.rmtree(checkpoints)
        files.write_json(task, record)
    for folder in checkpoints.glob("checkpoint-*"):
        if not _is_whole(folder):
            shutil.rmtree(folder)
    return get_last_checkpoint(str(checkpoints))


def _is_whole(checkpoint: Path) -> bool:
    """Whether Trainer finished it: it writes the state last."""
    try:
        return "global_step" in files.read_json(checkpoint / "trainer_state.json")
    except UserError:
        return False


def _arguments(
    settings: TrainedSystem, checkpoints: Path, seed: int, workers: int, device: torch.device
) -> TrainingArguments:
    training = settings.training
    processes = int(os.environ.get("WORLD_SIZE", 1))
    if training.effective_batch % (training.batch_size * processes):
        raise UserError(
            f"training.effective_batch: {training.effective_batch} is not a multiple of batch_size x processes = "
            f"{training.batch_size * processes}; change one of them"
        )
    on_cpu = device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        seed=seed,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.eval_batch_size,
        gradient_accumulation_steps=training.effective_batch // (training.batch_size * processes),
        optim="adamw_torch",
        learning_rate=training.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=training.weight_decay,
        adam_beta2=training.adam_beta2,
        adam_epsilon=training.adam_epsilon,
        max_grad_norm=0.0,  # neither the paper nor the authors' code clips gradients
        bf16=is_bf16(settings, device),
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and processes > 1 else None,
        ddp_find_unused_parameters=True,  # layer drop skips layers, and the mask embedding may have no use
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        greater_is_better=True,
        dataloader_num_workers=workers,
        dataloader_pin_memory=not on_cpu,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=not sys.stderr.isatty(),
        report_to=[],
        log_level="error",
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else Trainer spreads a batch over every GPU in sight
    return arguments


def _encoded(
    classifier: Classifier,
    data: dict[str, Utterances],
    checkpoints: Path,
    settings: TrainedSystem,
    workers: int,
    arguments: TrainingArguments,
) -> dict[str, Dataset]:
    """The vectors of the frozen encoder; crops are deterministic since they are made once."""
    data["train"].seed = None
    encoder = classifier.encoder.eval().to(arguments.device)
    rank = arguments.process_index  # each process keeps its own copy: no waiting, no half-read file
    return {
        split: Vectors(
            utterances,
            encoder,
            checkpoints / f"vectors-{split}-{rank}.f32",
            settings.training.eval_batch_size,
            workers,
            autocast(settings, arguments.device),
        )
        for split, utterances in data.items()
    }


def _loss_function(settings: TrainedSystem, counts: list[int], device: torch.device) -> object:
    loss = losses.build(settings.loss, counts).to(device)

    def compute(
        outputs: dict[str, torch.Tensor], labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        return loss(outputs["logits"], labels, num_items_in_batch)

    return compute


def _metrics(trainer: Trainer, settings: TrainedSystem, utterances: int, seconds: float, resume: str | None) -> dict:
    """What `metrics.json` tells, but for the memory.

    `loss` of an epoch: the mean over all its steps, and `seconds`: training and evaluation, however often it was broken
    off; `train_seconds`: training alone, by the first process's clock.
    `seconds_per_step` and `utterances_per_second` (of all processes together): from the median epoch's
    `train_seconds`. `seconds`: this run's, since its last resumption, with loading and checkpoints.
    """
    history = trainer.state.log_history
    losses_by_epoch = {round(entry["epoch"]): entry["loss"] for entry in history if "loss" in entry}
    epochs = [
        {
            "epoch": round(entry["epoch"]),
            "loss": losses_by_epoch[round(entry["epoch"])],
            "validation_loss": entry["eval_loss"],
            "macro_f1": entry["eval_macro_f1"],
            "uar": entry["eval_uar"],
            "accuracy": entry["eval_accuracy"],
            "seconds": entry["seconds"],
            "train_seconds": entry["train_seconds"],
        }
        for entry in history
        if "eval_macro_f1" in entry
    ]
    train_seconds = float(np.median([epoch["train_seconds"] for epoch in epochs]))
    sizes = parameters(trainer.model)
    return {
        "epochs": epochs,
        "best_epoch": max(epochs, key=lambda epoch: epoch["macro_f1"])["epoch"],  # the first of equals, as Trainer's
        "steps": trainer.state.global_step,
        "seconds": seconds,
        "seconds_per_step": train_seconds / -(-utterances // settings.training.effective_batch),
        "utterances_per_second": utterances / train_seconds,
        "resumed_from": resume and Path(resume).name,
        "device": str(trainer.args.device),
        "processes": trainer.args.world_size,
        "parameters": sizes["all"],
        "trainable_parameters": sizes["trained"],
    }


def _peak_memory(trainer: Trainer) -> dict[str, int | None]:
    """`peak_memory_mb` (resident) and `peak_gpu_memory_mb` (torch's tensors), each of the process that had most.

    To be called in all processes. Since a resumption, if there was one; without the processes that load audio.
    """
    device = trainer.args.device
    on_gpu = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    own = torch.tensor([[resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10, on_gpu // 2**20]], device=device)
    most, most_on_gpu = trainer.accelerator.gather(own).amax(0).tolist()
    return {"peak_memory_mb": most, "peak_gpu_memory_mb": most_on_gpu if device.type == "cuda" else None}
