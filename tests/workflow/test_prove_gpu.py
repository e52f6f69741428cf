"""The CPU half of `make prove-gpu`: the same code at tiny sizes. vLLM is left out: it takes a minute to start."""

import json
import os
import subprocess
from pathlib import Path

from support import preloaded
from support.running import ROOT

PARTS = ("machine", "parity", "machinery", "training", "transcription")


def test_all_parts_at_tiny_sizes_on_the_cpu(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("workflow_scripts", "benchmarks"))
    options = ("--device", "cpu", "--shapes", "tiny", "--steps", "1", "--warm-up", "1", "--part-seconds", "900")
    done = subprocess.run(
        [preloaded.python(), "-m", "prove_gpu", *options, "--parts", *PARTS, "--output", output],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
    )
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    found = json.loads(output.read_text())
    assert found["machine"]["gpu"] is None
    checks = {(check["part"], check["name"]): check for check in found["checks"]}
    assert {check["status"] for check in found["checks"]} == {"passed", "measured"}
    assert {part for part, _ in checks} == set(PARTS)
    assert len(done.stdout.splitlines()) == len(found["checks"]) + 2  # one line a check, the first and the last
    for name in ("s1", "t2", "s2", "st1"):
        assert ("parity", f"{name} 4 x 8 against 1 x 32") in checks
        trained = [key for key in checks if key[0] == "training" and key[1].startswith(f"{name}, ")]
        assert all(checks[key]["figures"]["clips_per_second"] > 0 for key in trained) and trained
    resumed = checks["machinery", "s1 SIGTERM"]["figures"]
    assert resumed["resumed_from"].startswith("checkpoint-") and len(resumed["losses"]) == 3
