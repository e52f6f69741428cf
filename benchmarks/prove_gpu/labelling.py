"""Labels a second of the zero-shot labelling (T1's code) with a vLLM server of our own and random weights.

The model has the size of LLaMA-3.1-8B (`--load-format=dummy`: vLLM makes up the weights). Answers are restricted to the
emotions' names, so that random weights answer in the usual length.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from abhinaya.config import load, parse
from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from prove_gpu import systems
from prove_gpu.arguments import Options
from prove_gpu.checks import Check

MODEL = "meta-llama/Llama-3.1-8B"  # the size of the table's T1 with 8B
SYSTEM = "t1_8b"
TRANSCRIPTS = {"real": 4096, "tiny": 8}
WARM_UP = {"real": 512, "tiny": 2}
SECONDS = 5.8  # of speech in a transcript
START_MINUTES = 5
REQUEST_SECONDS = 120


def run(options: Options) -> Iterator[Check]:
    if find_spec("vllm") is None:
        yield Check("packages", "skipped", "vllm is not installed")
        return
    from prove_gpu.architectures import folder_for_server

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = server_settings(str(folder_for_server(MODEL, options.shapes, folder)), options)
        with started(settings, folder, options) as server:
            seconds = server.describe()["start_seconds"]
            yield Check("start", "measured", f"{seconds:.0f} s to the first answer", {"seconds": seconds})
            label(server, settings, "warm up", WARM_UP[options.shapes], folder)
            yield measured(server, settings, folder, options)


def server_settings(model: str, options: Options) -> ZeroShotSystem:
    """The paper's smaller T1 with `model`."""
    paper = load(systems.PAPER).tables.systems[SYSTEM]
    arguments = {"load_format": "dummy"} | ({} if options.gpus else {"enforce_eager": True})
    server = paper.server.model_dump() | {"arguments": arguments}
    if not options.gpus:
        server |= {"dtype": "float32", "cpu_kv_cache_gb": 1}
    return parse(ZeroShotSystem, paper.model_dump() | {"model": model, "server": server})


@contextmanager
def started(settings: ZeroShotSystem, folder: Path, options: Options):
    """Our server class; without `server.connect`, which refuses a model without weights."""
    from abhinaya.zero_shot.server import Vllm

    server = Vllm(settings, settings.model, None, folder / "log", options.cpus, options.gpus, START_MINUTES)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        print((folder / "log").read_text(errors="replace"))  # to the log of this part


def measured(server, settings: ZeroShotSystem, folder: Path, options: Options) -> Check:
    count = TRANSCRIPTS[options.shapes]
    begin = time.perf_counter()
    summary = label(server, settings, "measured", count, folder)
    speed = count / (time.perf_counter() - begin)
    tokens = summary["tokens"]
    figures = {"labels_per_second": speed, "transcripts": count, "tokens": tokens, "counts": summary["counts"]}
    concurrency = settings.resources.concurrency
    if summary["requests"]["sent"] != count:
        return Check("labels", "failed", f"{summary['requests']['sent']} of {count} requests were sent", figures)
    length = f"{tokens['prompt'] / count:.0f} + {tokens['generated_per_label']:.1f} tokens a label"
    return Check("labels", "measured", f"{speed:.1f} labels/s, {concurrency} at a time, {length}", figures)


def label(server, settings: ZeroShotSystem, name: str, count: int, folder: Path) -> dict:
    """The summary of labelling `count` transcripts, all different."""
    from abhinaya.zero_shot import text

    texts = [f"{name} {number} {systems.text_of(SECONDS)}" for number in range(count)]
    rows = pd.DataFrame({schemas.KEY: texts, "split": "test", "text": texts})
    concurrency = settings.resources.concurrency
    _, _, summary = text.label(
        rows, settings, CLASSES, folder / name, lambda: nullcontext(server), concurrency, REQUEST_SECONDS, few=True
    )
    return summary
