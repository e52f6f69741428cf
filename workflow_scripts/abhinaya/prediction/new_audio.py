"""Labelling recordings that are in no corpus, with one system or with an ensemble's members."""

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

SECONDS = 10.0  # longest segment where no system sets a limit
MOST = 200  # rows on the screen
AUDIO = (  # what --audio takes
    "audio files, folders of them, lists of files (.csv with a column path or FileName, .txt; relative paths start "
    "from the list's folder)"
)
OUTPUT = "CSV to write, a row for each segment: path, start, end, emotion, probabilities"
TRANSCRIPTS = Path("corpus", "transcripts.parquet")  # under results/
WAYS = (
    "--transcribe-like a transcripts.parquet that WhisperX made here, or --transcripts-settings "
    '\'{"model": "large-v3"}\''
)


def add_options(group: argparse._ArgumentGroup) -> None:
    """The options of new audio that predict.py and predict_ensemble.py share."""
    group.add_argument(
        "--segment-seconds",
        type=float,
        metavar="S",
        help=f"cut longer recordings where they are quiet (default: at what the systems take, else {SECONDS:g})",
    )
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--transcripts-settings",
        metavar="SETTINGS",
        help="how to transcribe: the configuration's section `transcripts` as JSON, or a JSON/YAML file",
    )
    source.add_argument(
        "--transcribe-like",
        type=Path,
        metavar="PARQUET",
        help="transcribe as this transcripts.parquet was made (default: that of the corpus trained on)",
    )


@dataclass(frozen=True)
class Job:
    """What to label, how, and where to write it: the options of the two scripts."""

    paths: list[Path]  # of the recordings
    rejected: list[tuple[str, str]]  # what the user named in vain, and why
    output: Path
    segment_seconds: float | None
    transcripts_settings: str | None
    transcribe_like: Path | None
    cpus: int
    gpus: int

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Job":
        """Find the recordings and check the output, for a mistake there is told before anything heavy is imported.

        Raises:
            UserError: as `recordings.find`; nothing is found; the output would replace a recording, or cannot be made.
        """
        paths, rejected = recordings.find(options.audio)
        given = {name: getattr(options, name) for name in cls.__dataclass_fields__ if hasattr(options, name)}
        files.check_targets([options.output], [*options.audio, *paths])
        job = cls(paths=paths, rejected=rejected, **given)
        files.check_targets([job._rejected_csv], [*options.audio, *paths])
        if not paths:
            job._tell(rejected, any_left=False)
        return job

    def label(
        self,
        systems: Mapping[str, System],
        results: Path,
        combine: Callable[[dict[str, pd.DataFrame]], pd.DataFrame],
    ) -> None:
        """Label the recordings with `systems`, one after the other; write the table and show it.

        Args:
            results: folder of the systems' own corpus, whose transcripts tell how to transcribe.
            combine: makes one table of predictions of those of all systems, by name.

        Raises:
            UserError: no recording can be read; a segment would be longer than a system hears; nobody tells how to
                transcribe; or as the systems raise.
        """
        from abhinaya.runtime.devices import claim  # torch; not for --help

        claim(self.cpus, self.gpus)  # tells at once that there are too few
        limit = self._limit(systems)
        speaks = self.transcripts_settings is not None or self.transcribe_like is not None
        speaks = speaks or any(system.reads_transcripts for system in systems.values())
        settings = self._transcripts(results) if speaks else None
        with tempfile.TemporaryDirectory(prefix="abhinaya-") as folder:
            rows, unusable = recordings.cut(self.paths, limit, Path(folder))
            rejected = self.rejected + unusable
            self._tell(rejected, any_left=len(rows) > 0)
            machine = Machine(self.cpus, self.gpus)
            if settings is not None:
                rows = transcribed(rows, *settings, Path(folder), machine)
            found = {}
            for name, system in systems.items():
                if len(systems) > 1:
                    print_line(f"{name}:")
                log = self.output.with_name(f"{self.output.stem}.{name}.server.log")
                found[name] = system.label(rows, machine, log)
                free(machine)
        table = described(rows, combine(found))
        self._write_rejected(rejected)
        files.write_csv(table, self.output)
        show(table)
        print(self.output)

    def _limit(self, systems: Mapping[str, System]) -> float:
        """Seconds of the longest segment."""
        hears = {name: system.max_seconds for name, system in systems.items() if system.max_seconds is not None}
        least = min(hears, key=hears.get, default=None)
        wanted = self.segment_seconds
        if wanted is None:
            return SECONDS if least is None else hears[least]
        if not wanted >= recordings.LEAST:
            raise UserError(f"--segment-seconds {wanted:g}: too short; give at least {recordings.LEAST:g}")
        if least is not None and wanted > hears[least]:
            raise UserError(f"--segment-seconds {wanted:g}: {least} hears {hears[least]:g} s; give no more")
        return wanted

    def _transcripts(self, results: Path) -> tuple[Transcripts, int]:
        """How to transcribe, and the seed."""
        if self.transcripts_settings is not None:
            settings, seed = parse(Transcripts, self.transcripts_settings, where="--transcripts-settings"), SEED
            if settings.source != "whisperx":
                raise UserError("--transcripts-settings: new audio has no transcripts yet; set `source: whisperx`")
        else:
            source = results / TRANSCRIPTS if self.transcribe_like is None else self.transcribe_like
            if not source.is_file():
                raise UserError(f"{source}: no such file, to transcribe alike; give {WAYS}")
            made = files.read_metadata(source)
            if "options" not in made:
                raise UserError(f"{source}: was not made by transcribing here; give {WAYS}")
            settings = parse(Transcripts, {"model": made["model"], **made["options"]}, where=str(source))
            seed = made["seed"]
        return settings.model_copy(update={"shards": 1, "utterances": "all"}), seed

    @property
    def _rejected_csv(self) -> Path:
        return self.output.with_name(f"{self.output.stem}.rejected.csv")

    def _tell(self, rejected: list[tuple[str, str]], any_left: bool) -> None:
        """What cannot be labelled, on the screen; where nothing else is left, also in its file, and that is the end."""
        for path, reason in rejected:
            print_line(f"rejected: {printable(path)}: {printable(reason)}")
        if not any_left:
            self._write_rejected(rejected)
            raise UserError(f"none of the audio can be labelled; {self._rejected_csv} tells why")

    def _write_rejected(self, rejected: list[tuple[str, str]]) -> None:
        files.write_csv(pd.DataFrame(rejected, columns=recordings.REJECTED), self._rejected_csv)


def transcribed(rows: pd.DataFrame, settings: Transcripts, seed: int, folder: Path, machine: Machine) -> pd.DataFrame:
    """`rows` with the column `text`, by WhisperX."""
    library_logging.whisperx()
    from abhinaya.transcription.shards import transcribe_shard  # takes seconds to import

    path = folder / "transcripts.parquet"
    transcribe_shard(rows, settings, 0, seed, path, "cuda" if machine.gpus else "cpu", machine.cpus)
    return transcripts.joined(rows, path)


def free(machine: Machine) -> None:
    """Give back what a system took, for the next one."""
    gc.collect()
    if machine.gpus:
        import torch

        torch.cuda.empty_cache()


def described(rows: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each segment: `path`, `start`, `end` (s), `EmoClass`, `emotion`, `p_A` … `p_U`, `text` where there is
    one, and what else `predictions` hold (an ensemble's votes)."""
    features = rows[[KEY, "recording", "start", "end", *({"text"} & {*rows.columns})]]
    table = features.merge(predictions.drop(columns="Split"), on=KEY, validate="one_to_one")
    table = table.rename(columns={"recording": "path"}).assign(emotion=table["EmoClass"].map(EMOTIONS))
    table[["start", "end"]] = table[["start", "end"]].round(3)
    first = ["path", "start", "end", "EmoClass", "emotion", *PROBABILITIES, *({"text"} & {*table.columns})]
    return table[[*first, *(column for column in table.columns if column not in (*first, KEY))]]


def show(table: pd.DataFrame) -> None:
    """Print a table of `described`, and for a recording of several segments a row for the whole of it."""
    members = voters(table)
    shown = Table(box=box.SIMPLE, pad_edge=False)
    shown.add_column("recording", overflow="fold", min_width=10)
    shown.add_column("seconds", justify="right", no_wrap=True)
    for heading in ("emotion", "next", *[" ".join(members)] * bool(members)):
        shown.add_column(heading, no_wrap=True)
    if "text" in table:
        shown.add_column("text", overflow="fold", min_width=10)
    for path, segments in table.head(MOST).groupby("path", sort=False):
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
            shown.add_row("", "all of it", *best(mean, CLASSES[np.argmax(mean)]), style="bold")
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width of its own
    console.print(shown)
    for note in _notes(table, members):
        console.print(note, style="dim", highlight=False, markup=False)


def overall(segments: pd.DataFrame) -> np.ndarray:
    """The mean probabilities (8,) of a recording's segments, weighted by their length."""
    return np.average(segments[list(PROBABILITIES)], axis=0, weights=segments["end"] - segments["start"])


def best(probabilities: Sequence[float], letter: str) -> tuple[str, str]:
    """The label with its probability, and the likeliest other emotion with its own."""
    others = [other for other in CLASSES if other != letter]
    second = max(others, key=lambda other: probabilities[INDEX[other]])
    return tuple(f"{EMOTIONS[each]} {probabilities[INDEX[each]]:.2f}" for each in (letter, second))


def _notes(table: pd.DataFrame, members: list[str]) -> list[str]:
    found = []
    if members:
        letters = ", ".join(f"{letter} {word}" for letter, word in EMOTIONS.items())
        found.append(
            f"The emotion is the members' vote, its probability their mean, so another's may be higher. {letters}."
        )
    if table["path"].duplicated().any():
        found.append("All of it: the mean of the segments' probabilities, weighted by their length.")
    if len(table) > MOST:
        found.append(f"{len(table)} segments in all; those not shown are in the file.")
    return found
