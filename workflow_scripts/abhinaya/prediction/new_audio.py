"""Labelling new recordings with one system or with an ensemble's members."""

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from abhinaya.config import parse
from abhinaya.config.transcripts import Transcripts
from abhinaya.data import schemas
from abhinaya.data.schemas import KEY, PROBABILITIES
from abhinaya.evaluation.voting import VOTE, voters
from abhinaya.labels import CLASSES, EMOTIONS, INDEX
from abhinaya.prediction import recordings
from abhinaya.prediction.systems import SEED, System, max_seconds
from abhinaya.runtime import files, library_logging
from abhinaya.runtime.console import printable
from abhinaya.runtime.errors import UserError, print_line
from abhinaya.transcription import transcripts

SECONDS = 10.0  # longest segment if no system has a limit
MAX_ROWS = 200  # segments printed
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


class Job:
    """Labels new audio, with the options `args` of predict.py or predict_ensemble.py.

    The recordings are found and the output path is checked at once, before slow imports.

    Raises:
        UserError: as `recordings.find`; nothing was found; the output would replace a recording or cannot be written.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        files.check_csv_name(args.output)
        self.paths, self.rejected = recordings.find(args.audio)  # rejected: paths with reasons
        files.check_targets([args.output], [*args.audio, *self.paths])
        self.rejected_csv = args.output.with_name(f"{args.output.stem}.rejected.csv")
        files.check_targets([self.rejected_csv], [*args.audio, *self.paths])
        if not self.paths:
            self._stop_without_audio()

    def label(
        self,
        systems: Mapping[str, System],
        results: Path,
        combine: Callable[[dict[str, pd.DataFrame]], pd.DataFrame],
    ) -> None:
        """Label the recordings with each of `systems`; write and print the table.

        Args:
            results: results folder of the systems' corpus, whose transcripts record the settings.
            combine: combines the predictions of all systems (by name) into one table.

        Raises:
            UserError: no recording can be read; segments would be longer than a system's limit; no settings of WhisperX
                are known; or as the systems raise.
        """
        from abhinaya.runtime.devices import claim  # slow to import; not needed for --help

        args, output = self.args, self.args.output
        claim(args.cpus, args.gpus)  # report missing GPUs at once
        limit = self._limit(systems)
        needs_text = args.transcripts_settings is not None or args.transcribe_like is not None
        needs_text = needs_text or any(system.settings.reads_transcripts for system in systems.values())
        settings = self._whisperx_settings(results) if needs_text else None
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as folder:
            rows, unreadable = recordings.cut(self.paths, limit, Path(folder))
            self.rejected += unreadable
            if rows.empty:
                self._stop_without_audio()
            self._print_rejected()
            if settings is not None:
                rows = transcribe(rows, *settings, Path(folder), args.cpus, args.gpus)
            predictions = {}
            for name, system in systems.items():
                if len(systems) > 1:
                    print_line(f"{name}:")
                log = output.with_name(f"{output.stem}.{name}.server.log")
                predictions[name] = system.label(rows, args.cpus, args.gpus, log)
                schemas.check_probabilities(predictions[name], name)
                free_memory(args.gpus)
        table = segment_table(rows, combine(predictions))
        self._write_rejected()
        files.write_csv(table, output)
        show(table)
        print(output)

    def _limit(self, systems: Mapping[str, System]) -> float:
        """The maximum length of a segment in seconds."""
        limits = {name: max_seconds(system) for name, system in systems.items() if max_seconds(system) is not None}
        shortest = min(limits, key=limits.get, default=None)
        requested = self.args.segment_seconds
        if requested is None:
            return SECONDS if shortest is None else limits[shortest]
        if not requested >= recordings.MIN_SEGMENT:
            raise UserError(f"--segment-seconds {requested:g}: too short; use at least {recordings.MIN_SEGMENT:g}")
        if shortest is not None and requested > limits[shortest]:
            raise UserError(
                f"--segment-seconds {requested:g}: {shortest} processes at most {limits[shortest]:g} s; use no more"
            )
        return requested

    def _whisperx_settings(self, results: Path) -> tuple[Transcripts, int]:
        """The settings of WhisperX and the seed."""
        if self.args.transcripts_settings is not None:
            settings, seed = parse(Transcripts, self.args.transcripts_settings, where="--transcripts-settings"), SEED
            if settings.source != "whisperx":
                raise UserError("--transcripts-settings: new audio has no transcripts; set `source: whisperx`")
        else:
            source = self.args.transcribe_like or results / TRANSCRIPTS
            if not source.is_file():
                raise UserError(f"{source}: file not found, needed for the settings of WhisperX; give {FIX}")
            metadata = files.read_metadata(source)
            if "options" not in metadata:
                raise UserError(f"{source}: not transcribed by this workflow; give {FIX}")
            settings = parse(Transcripts, {"model": metadata["model"], **metadata["options"]}, where=str(source))
            seed = metadata["seed"]
        return settings.model_copy(update={"shards": 1, "utterances": "all"}), seed

    def _print_rejected(self) -> None:
        for path, reason in self.rejected:
            print_line(f"rejected: {printable(path)}: {printable(reason)}")

    def _write_rejected(self) -> None:
        files.write_csv(pd.DataFrame(self.rejected, columns=("path", "reason")), self.rejected_csv)

    def _stop_without_audio(self) -> None:
        """Print and write what was rejected, and raise a `UserError`."""
        self._print_rejected()
        self._write_rejected()
        raise UserError(f"none of the audio can be labelled; see {self.rejected_csv} for the reasons")


def transcribe(
    rows: pd.DataFrame, settings: Transcripts, seed: int, folder: Path, cpus: int, gpus: int
) -> pd.DataFrame:
    """`rows` with the column `text`, transcribed by WhisperX; `folder` is for temporary files."""
    library_logging.whisperx()
    from abhinaya.transcription.shards import transcribe_shard  # slow to import

    path = folder / "transcripts.parquet"
    transcribe_shard(rows, settings, 0, seed, path, "cuda" if gpus else "cpu", cpus)
    return transcripts.joined(rows, path)


def free_memory(gpus: int) -> None:
    """Free the memory of a system for the next one."""
    gc.collect()
    if gpus:
        import torch

        torch.cuda.empty_cache()


def segment_table(rows: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each segment: `path`, `start`, `end` (s), `EmoClass`, `emotion`, `p_A` … `p_U`, `text` if present,
    and further columns of `predictions` (an ensemble's votes)."""
    text = [column for column in rows if column == "text"]
    segments = rows[[KEY, "recording", "start", "end", *text]].rename(columns={"recording": "path"})
    table = segments.merge(predictions.drop(columns="Split"), on=KEY, validate="one_to_one")
    table = table.assign(emotion=table["EmoClass"].map(EMOTIONS)).round({"start": 3, "end": 3})
    first = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES, *text]
    return table[[*first, *table.columns.difference([*first, KEY], sort=False)]]


def show(table: pd.DataFrame) -> None:
    """Print a `segment_table`, with an extra row for each recording of several segments."""
    members = voters(table)
    shown = Table(box=box.SIMPLE, pad_edge=False)
    shown.add_column("recording", overflow="fold", min_width=10)
    shown.add_column("seconds", justify="right", no_wrap=True)
    for heading in filter(None, ("emotion", "next", " ".join(members))):
        shown.add_column(heading, no_wrap=True)
    if "text" in table:
        shown.add_column("text", overflow="fold", min_width=10)
    for path, segments in table.head(MAX_ROWS).groupby("path", sort=False):
        for number, row in enumerate(segments.to_dict("records")):
            label, second = top_two([row[column] for column in PROBABILITIES], row["EmoClass"])
            cells = [f"{label} (tie)" if row.get("tie") else label, second]
            if members:
                cells.append(" ".join(row[f"{VOTE}{member}"].ljust(len(member)) for member in members))
            if "text" in row:
                cells.append(Text(printable(row["text"])))
            name = "" if number else printable(path)
            shown.add_row(Text(name), f"{row['start']:.1f}–{row['end']:.1f}", *cells)
        whole = table[table["path"] == path]
        if len(whole) > 1:
            mean = mean_probabilities(whole)
            shown.add_row("", "whole recording", *top_two(mean, CLASSES[np.argmax(mean)]), style="bold")
    console = Console(width=None if sys.stdout.isatty() else 120)  # fixed width for log files
    console.print(shown)
    note = partial(console.print, style="dim", highlight=False, markup=False)
    if members:
        letters = ", ".join(f"{letter} {word}" for letter, word in EMOTIONS.items())
        note(f"The emotion is the members' vote with their mean probability; another may be more probable. {letters}.")
    if table["path"].duplicated().any():
        note("Whole recording: the mean of the segments' probabilities, weighted by their length.")
    if len(table) > MAX_ROWS:
        note(f"{len(table)} segments in total; see the file for those not printed.")


def mean_probabilities(segments: pd.DataFrame) -> np.ndarray:
    """The mean probabilities (8,) of a recording's segments, weighted by their length."""
    return np.average(segments[list(PROBABILITIES)], axis=0, weights=segments["end"] - segments["start"])


def top_two(probabilities: Sequence[float], letter: str) -> tuple[str, str]:
    """The label with its probability, and the next most probable emotion with its probability."""
    others = [other for other in CLASSES if other != letter]
    second = max(others, key=lambda other: probabilities[INDEX[other]])
    return tuple(f"{EMOTIONS[each]} {probabilities[INDEX[each]]:.2f}" for each in (letter, second))
