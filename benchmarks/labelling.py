"""Labels a second by a vLLM of our own: many requests at once against one at a time.

One server, the demo's model, alternating turns over transcripts that no turn has seen before (vLLM would remember
them). Both ways are `abhinaya.zero_shot.text` itself, from the transcripts to the stored answers.
With `--mode scored` a
label is as many requests as there are orders of the options; those of the prior count into the time.
The CPU time of a label shows what limits the speed: this process, which sends the requests, or the server.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import psutil

from abhinaya.config import load, parse
from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.data import schemas
from abhinaya.data.corpora import sentences
from abhinaya.labels import CLASSES
from abhinaya.runtime import errors, files

ROOT = Path(__file__).parents[1]
SEED = 1234


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml", help="whose zero-shot system to measure")
    parser.add_argument("--system", default="t1", help="its name there")
    parser.add_argument("--mode", choices=("word", "scored"), default="word", help="of the prompt")
    parser.add_argument("--transcripts", type=int, default=48, help="how many a turn")
    parser.add_argument("--concurrency", type=int, default=32, help="requests at once")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="CPU cores of the server")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of the server")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/labelling.json", help="JSON to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    system = load(options.config).systems.get(options.system)
    if not isinstance(system, ZeroShotSystem):
        raise errors.UserError(f"{options.config}: no zero-shot system {options.system!r}; name one with --system")
    if system.prompt.mode != options.mode:
        system = parse(ZeroShotSystem, system.model_dump() | {"prompt": {"mode": options.mode}})
    result = measure(system, options)
    files.write_json(result, options.output)
    print(f"{result['transcripts']} transcripts a turn, median of {options.repeats}; mode {options.mode}")
    for way, found in result["ways"].items():
        cpu = ", ".join(f"{of} {1000 * seconds:.1f} ms" for of, seconds in found["cpu_seconds_per_label"].items())
        print(f"{way:12}{found['labels_per_second']:8.2f} labels/s{found['ratio']:8.2f} x; CPU time of a label: {cpu}")
    server, tokens = result["server"], result["generated_tokens_per_label"]
    print(f"{'–' if tokens is None else f'{tokens:.2f}'} tokens generated per label")
    if server["kind"] == "vllm":
        print(f"server: {server['start_seconds']:.0f} s to its first completion, peak {server['peak_memory_mb']} MB")


def measure(system: ZeroShotSystem, options: argparse.Namespace) -> dict:
    """Speed of each way, and what the server cost."""
    from abhinaya.zero_shot import server, text

    ways = {"together": options.concurrency, "one by one": 1}
    turns = pools(options.transcripts, options.repeats * len(ways) + 1)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with (
        tempfile.TemporaryDirectory() as folder,
        server.connect(system, Path(folder, "log"), options.cpus, options.gpus, start_minutes=30) as server,
    ):

        def label(texts: list[str], concurrency: int) -> dict:
            rows = pd.DataFrame({schemas.KEY: texts, "split": "test", "text": texts})
            with tempfile.TemporaryDirectory(dir=folder) as store:
                _, _, found = text.label(
                    rows, system, CLASSES, Path(store), lambda: nullcontext(server), concurrency, 600
                )
            return found

        label(turns.pop(), options.concurrency)  # warm up
        tokens = []
        for _ in range(options.repeats):
            for way, concurrency in ways.items():
                started, before = time.perf_counter(), cpu_seconds()
                found = label(turns.pop(), concurrency)
                seconds[way].append(time.perf_counter() - started)
                used[way].append({of: after - before[of] for of, after in cpu_seconds().items()})
                tokens.append(found["tokens"]["generated_per_label"])
        described = server.describe()
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "transcripts": options.transcripts,
        "options": {name: str(value) for name, value in vars(options).items()},
        "generated_tokens_per_label": None if None in tokens else statistics.mean(tokens),
        "server": described,
        "ways": {
            way: {
                "seconds": seconds[way],
                "labels_per_second": options.transcripts / medians[way],
                "ratio": medians["one by one"] / medians[way],
                "cpu_seconds_per_label": {
                    of: statistics.median(turn[of] for turn in used[way]) / options.transcripts for of in used[way][0]
                },
            }
            for way in ways
        },
    }


def cpu_seconds() -> dict[str, float]:
    """CPU time so far of this process and, if it started a server, of the server's processes."""
    processes = psutil.Process().children(recursive=True)
    server = {"server": sum(sum(process.cpu_times()[:2]) for process in processes)} if processes else {}
    return {"client": time.process_time(), **server}


def pools(size: int, count: int) -> list[list[str]]:
    """`count` lists of `size` sentences of the synthetic corpus, all different."""
    known = sorted({text for letter in CLASSES for text in sentences.emotional(letter, "train")})
    known += sorted(set(sentences.plain("train")) - set(known))
    if size * count > len(known):
        raise errors.UserError(f"--transcripts: {size * count} needed in all, there are {len(known)}; take fewer")
    random.Random(SEED).shuffle(known)
    return [known[start : start + size] for start in range(0, size * count, size)]


if __name__ == "__main__":
    errors.run(main)
