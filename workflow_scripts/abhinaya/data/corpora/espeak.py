"""Speech from eSpeak NG, using the shared library and voices of the package `espeakng_loader`."""

import ctypes
import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from abhinaya.runtime.errors import UserError

FIX = "reinstall the package espeakng-loader"

# Constants of eSpeak NG's C interface (speak_lib.h).
_SYNCHRONOUS = 2  # espeak_Synth returns when every sample has passed through the callback
_DONT_EXIT = 0x8000  # report missing voices instead of exiting
_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4, "word_gap": 7}
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Prosody:
    """Prosody of a sentence, in eSpeak NG's units."""

    pitch: int  # 0 to 99; 50 is the voice's default
    range: int  # pitch range: 0 (monotone) to 99
    rate: int  # words per minute, 80 to 450
    volume: int  # 0 to 200; many voices clip above 100
    word_gap: int  # pause between words, in 10 ms


@dataclass(frozen=True)
class Request:
    """A sentence and a voice: a language with an optional variant, as in ``en-us+f3``."""

    text: str
    voice: str
    prosody: Prosody


def speak(requests: Sequence[Request]) -> Iterator[tuple[np.ndarray, int]]:
    """Synthesise each request: (samples,) int16, and the sampling rate in Hz.

    eSpeak NG carries state (noise, flutter, phase) from one sentence to the next and cannot be reset. A new process
    that speaks the requests in order makes the output reproducible.

    Raises:
        UserError: the library or its voices cannot be loaded, or a request fails.
    """
    with _process() as process:
        yield from process.map(_speak, requests, chunksize=16)


def check() -> None:
    """Raise a `UserError` unless the library and its voices can be loaded."""
    with _process() as process:
        process.submit(_start).result()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))


def _start() -> None:
    _engine()


def _speak(request: Request) -> tuple[np.ndarray, int]:
    return _engine().speak(request), _engine().sampling_rate


@functools.cache
def _engine() -> "_Engine":
    return _Engine()


class _Engine:
    """The library; initialised once per process, since its state is global."""

    def __init__(self) -> None:
        self._library, data = _load()
        self.sampling_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT)
        if self.sampling_rate <= 0:
            raise UserError(f"eSpeak NG: no usable voices found in {data}; {FIX}")
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else the noise of consonants is seeded by the clock
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._collect)  # keep a reference: the library holds none
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, request: Request) -> np.ndarray:
        """Samples (samples,) int16 at `sampling_rate`."""
        self._check(self._library.espeak_SetVoiceByName(request.voice.encode()), f"voice {request.voice!r} not found")
        for name, number in _PARAMETERS.items():
            self._library.espeak_SetParameter(number, getattr(request.prosody, name), 0)
        self._chunks.clear()
        text = request.text.encode()
        status = self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _UTF8, None, None)
        self._check(status, f"synthesis failed for {request.text!r}")
        if not self._chunks:
            raise UserError(f"eSpeak NG: no samples for {request.text!r}; {FIX}")
        return np.concatenate(self._chunks)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # continue

    @staticmethod
    def _check(status: int, problem: str) -> None:
        if status:
            raise UserError(f"eSpeak NG: {problem} (status {status}); {FIX}")


def _load() -> tuple[ctypes.CDLL, str]:
    """The shared library and the folder of its voices."""
    try:
        import espeakng_loader  # needed only for the synthetic corpus

        return ctypes.CDLL(espeakng_loader.get_library_path()), espeakng_loader.get_data_path()
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(f"eSpeak NG: the library cannot be loaded ({error}); {FIX}") from None
