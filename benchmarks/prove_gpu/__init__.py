"""Proves the GPU code on one GPU: correctness, restarts, speed and memory at the paper's sizes, without a network.

    python -m prove_gpu                              # with benchmarks/ and workflow_scripts/ in PYTHONPATH
    python -m prove_gpu --device cpu --shapes tiny   # the same code without a GPU

Weights are random: speed, memory and rounding do not depend on training. Each part is a process of its own.
"""

PARTS = {  # name: most seconds it may take
    "machine": 60,
    "parity": 150,
    "machinery": 180,
    "training": 480,
    "transcription": 240,
    "labelling": 420,
}
