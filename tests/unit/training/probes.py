"""A probe on a small frozen Whisper with random weights."""

from abhinaya.config import parse
from abhinaya.config.system import SpeechSystem
from support.speech_corpus import WHISPER


def system(kind: str, **changed: object) -> SpeechSystem:
    encoder = {"model": "random:whisper", "config": WHISPER, "freeze": "all", "min_seconds": 0.3, "max_seconds": 0.5}
    return parse(SpeechSystem, {"family": "speech", "encoder": encoder, "head": {"kind": kind}} | changed)
