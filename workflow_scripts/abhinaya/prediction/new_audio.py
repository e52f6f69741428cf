"""Labelling new recordings with one system or with an ensemble's members."""

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from abhinaya.config import parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation.voting import VOTE, voters
from abhinaya.labels import CLASSES, EMOTIONS, INDEX
from abhinaya.prediction import recordings
from abhinaya.prediction.systems import SEED, Machine, System
from abhinaya.runtime import files, library_logging
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.transcription import transcripts

SECONDS = 10.0  # longest segment if no system has a limit
MAX_ROWS = 200  # rows printed
AUDIO = (  # help of --audio
    "audio files, folders of them, lists of files (.csv with a column path or FileName, .txt; relative paths are "
    "relative to the list)"
)
OUTPUT = "CSV to write, one row per segment: path, start, end, emotion, probabilities"
TRANSCRIPTS = Path("corpus", "transcripts.parquet")  # under results/
FIX = (
    "--transcribe-like a transcripts.parquet of this workflow from WhisperX, or --transcripts-settings "
    '\'{"model": "large-v3"}\''
)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options for new audio of predict.py and predict_ensemble.py."""
    group.add_argument(
        "--segment-seconds",
        type=float,
        metavar="S",
        help=f"maximum length of a segment; longer recordings are cut in pauses (default: the systems' limit, else "
        f"{SECONDS:g})",
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--transcripts-settings",
        metavar="SETTINGS",
        help="settings of WhisperX: the configuration's section `transcripts`, as JSON, or a JSON or YAML file",
    )
    source.add_argument(
        "--transcribe-like",
        type=Path,
        metavar="PARQUET",
        help="use the settings recorded in this transcripts.parquet (default: that of the training corpus)",
    )


@dataclass(frozen=True)
class Job:
    """The options of predict.py and predict_ensemble.py for new audio."""

    paths: list[Path]  # of the recordings
    rejected: list[tuple[str, str]]  # given paths that cannot be used, with reasons
    output: Path
    segment_seconds: float | None
    transcripts_settings: str | None
    transcribe_like: Path | None
    cpus: int
    gpus: int

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Job":
        """Find the recordings and check the output path, before slow imports.

        Raises:
            UserError: as `recordings.find`; nothing was found; the output would replace a recording or cannot be
                written.
        """
        paths, rejected = recordings.find(args.audio)
        given = {name: getattr(args, name) for name in cls.__dataclass_fields__ if hasattr(args, name)}
        files.check_targets([args.output], [*args.audio, *paths])
        job = cls(paths=paths, rejected=rejected, **given)
        files.check_targets([job._rejected_csv], [*args.audio, *paths])
        if not paths:
            job._report(rejected, any_left=False)
        return job

    def label(
        self,
        systems: Mapping[str, System],
        results: Path,
        combine: Callable[[dict[str, pd.DataFrame]], pd.DataFrame],
    ) -> None:
        """Label the recordings with `systems`, one after the other; write and print the table.

        Args:
            results: results folder of the systems' corpus, whose transcripts record the settings.
            combine: combines the predictions of all systems (by name) into one table.

        Raises:
            UserError: no recording can be read; segments would be longer than a system's limit; no settings of WhisperX
                are known; or as the systems raise.
        """
        from abhinaya.runtime.devices import claim  # slow to import; not needed for --help

        claim(self.cpus, self.gpus)  # report missing GPUs at once
        limit = self._limit(systems)
        needs_text = self.transcripts_settings is not None or self.transcribe_like is not None
        needs_text = needs_text or any(system.reads_transcripts for system in systems.values())
        settings = self._transcripts(results) if needs_text else None
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as folder:
            rows, unusable = recordings.cut(self.paths, limit, Path(folder))
            rejected = self.rejected + unusable
            self._report(rejected, any_left=len(rows) > 0)
            machine = Machine(self.cpus, self.gpus)
            if settings is not None:
                rows = transcribed(rows, *settings, Path(folder), machine)
            predictions = {}
            for name, system in systems.items():
                if len(systems) > 1:
                    print_line(f"{name}:")
                log = self.output.with_name(f"{self.output.stem}.{name}.server.log")
                predictions[name] = system.label(rows, machine, log)
                free(machine)
        table = described(rows, combine(predictions))
        self._write_rejected(rejected)
        files.write_csv(table, self.output)
        show(table)
        print(self.output)

    def _limit(self, systems: Mapping[str, System]) -> float:
        """The maximum length of a segment in seconds."""
        limits = {name: system.max_seconds for name, system in systems.items() if system.max_seconds is not None}
        shortest = min(limits, key=limits.get, default=None)
        requested = self.segment_seconds
        if requested is None:
            return SECONDS if shortest is None else limits[shortest]
        if not requested >= recordings.MIN_SEGMENT:
            raise UserError(f"--segment-seconds {requested:g}: too short; use at least {recordings.MIN_SEGMENT:g}")
        if shortest is not None and requested > limits[shortest]:
            raise UserError(
                f"--segment-seconds {requested:g}: {shortest} processes at most {limits[shortest]:g} s; use no more"
            )
        return requested

    def _transcripts(self, results: Path) -> tuple[Transcripts, int]:
        """The settings of WhisperX and the seed."""
        if self.transcripts_settings is not None:
            settings, seed = parse(Transcripts, self.transcripts_settings, where="--transcripts-settings"), SEED
            if settings.source != "whisperx":
                raise UserError("--transcripts-settings: new audio has no transcripts; set `source: whisperx`")
        else:
            source = results / TRANSCRIPTS if self.transcribe_like is None else self.transcribe_like
            if not source.is_file():
                raise UserError(f"{source}: file not found, needed for the settings of WhisperX; give {FIX}")
            metadata = files.read_metadata(source)
            if "options" not in metadata:
                raise UserError(f"{source}: not transcribed by this workflow; give {FIX}")
            settings = parse(Transcripts, {"model": metadata["model"], **metadata["options"]}, where=str(source))
            seed = metadata["seed"]
        return settings.model_copy(update={"shards": 1, "utterances": "all"}), seed

    @property
    def _rejected_csv(self) -> Path:
        return self.output.with_name(f"{self.output.stem}.rejected.csv")

    def _report(self, rejected: list[tuple[str, str]], any_left: bool) -> None:
        """Print what cannot be labelled; if nothing else is left, also write its file and raise a `UserError`."""
        for path, reason in rejected:
            print_line(f"rejected: {printable(path)}: {printable(reason)}")
        if not any_left:
            self._write_rejected(rejected)
            raise UserError(f"none of the audio can be labelled; see {self._rejected_csv} for the reasons")

    def _write_rejected(self, rejected: list[tuple[str, str]]) -> None:
        files.write_csv(pd.DataFrame(rejected, columns=recordings.REJECTED), self._rejected_csv)


def transcribed(rows: pd.DataFrame, settings: Transcripts, seed: int, folder: Path, machine: Machine) -> pd.DataFrame:
    """`rows` with the column `text`, by WhisperX."""
    library_logging.whisperx()
    from abhinaya.transcription.shards import transcribe_shard  # slow to import

    path = folder / "transcripts.parquet"
    transcribe_shard(rows, settings, 0, seed, path, "cuda" if machine.gpus else "cpu", machine.cpus)
    return transcripts.joined(rows, path)


def free(machine: Machine) -> None:
    """Free the memory of a system for the next one."""
    gc.collect()
    if machine.gpus:
        import torch

        torch.cuda.empty_cache()


def described(rows: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each segment: `path`, `start`, `end` (s), `EmoClass`, `emotion`, `p_A` … `p_U`, `text` if present,
    and further columns of `predictions` (an ensemble's votes)."""
    segments = rows[[KEY, "recording", "start", "end", *({"text"} & {*rows.columns})]]
    table = segments.merge(predictions.drop(columns="Split"), on=KEY, validate="one_to_one")
    table = table.rename(columns={"recording": "path"}).assign(emotion=table["EmoClass"].map(EMOTIONS))
    table[["start", "end"]] = table[["start", "end"]].round(3)
    first = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES, *({"text"} & {*table.columns})]
    return table[[*first, *(column for column in table.columns if column not in (*first, KEY))]]


def show(table: pd.DataFrame) -> None:
    """Print a table of `described`, with an extra row for each recording of several segments."""
    members = voters(table)
    shown = Table(box=box.SIMPLE, pad_edge=False)
    shown.add_column("recording", overflow="fold", min_width=10)
    shown.add_column("seconds", justify="right", no_wrap=True)
    for heading in ("emotion", "next", *[" ".join(members)] * bool(members)):
        shown.add_column(heading, no_wrap=True)
    if "text" in table:
        shown.add_column("text", overflow="fold", min_width=10)
    for path, segments in table.head(MAX_ROWS).groupby("path", sort=False):
        for number, row in enumerate(segments.to_dict("records")):
            tie = " (tie)" if row.get("tie") else ""
            label, runner_up = best([row[column] for column in PROBABILITIES], row["EmoClass"])
            votes = [" ".join(row[f"{VOTE}{member}"].ljust(len(member)) for member in members)] * bool(members)
            text = [Text(printable(row["text"]))] if "text" in row else []
            name = "" if number else printable(path)
            shown.add_row(Text(name), f"{row['start']:.1f}–{row['end']:.1f}", label + tie, runner_up, *votes, *text)
        whole = table[table["path"] == path]
        if len(whole) > 1:
            mean = overall(whole)
            shown.add_row("", "whole recording", *best(mean, CLASSES[np.argmax(mean)]), style="bold")
    console = Console(width=None if sys.stdout.isatty() else 120)  # fixed width for log files
    console.print(shown)
    for note in _notes(table, members):
        console.print(note, style="dim", highlight=False, markup=False)


def overall(segments: pd.DataFrame) -> np.ndarray:
    """The mean probabilities (8,) of a recording's segments, weighted by their length."""
    return np.average(segments[list(PROBABILITIES)], axis=0, weights=segments["end"] - segments["start"])


def best(probabilities: Sequence[float], letter: str) -> tuple[str, str]:
    """The label with its probability, and the next most probable emotion with its probability."""
    others = [other for other in CLASSES if other != letter]
    second = max(others, key=lambda other: probabilities[INDEX[other]])
    return tuple(f"{EMOTIONS[each]} {probabilities[INDEX[each]]:.2f}" for each in (letter, second))


def _notes(table: pd.DataFrame, members: list[str]) -> list[str]:
    notes = []
    if members:
        letters = ", ".join(f"{letter} {word}" for letter, word in EMOTIONS.items())
        notes.append(
            f"The emotion is the members' vote with their mean probability, so another may be more probable. {letters}."
        )
    if table["path"].duplicated().any():
        notes.append("Whole recording: the mean of the segments' probabilities, weighted by their length.")
    if len(table) > MAX_ROWS:
        notes.append(f"{len(table)} segments in total; see the file for those not printed.")
    return notes
