"""Snakemake ends at SIGTERM, whatever it is doing."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from abhinaya.runtime import snakemake_sigterm
from abhinaya.runtime.errors import UserError
from support.running import ROOT, TEST_CONFIG


def test_the_handler_waits_for_a_lock_that_its_own_thread_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "exit_gracefully", JobScheduler.exit_gracefully)
    snakemake_sigterm.mend()
    scheduler = SimpleNamespace(_lock=threading.Lock(), _open_jobs=threading.Semaphore(0), _user_kill=None)
    with scheduler._lock:
        JobScheduler.exit_gracefully(scheduler, 15, None)
        time.sleep(0.05)
        assert scheduler._user_kill is None
    assert scheduler._open_jobs.acquire(timeout=10)
    assert scheduler._user_kill == "graceful"


def test_mending_twice_changes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "exit_gracefully", JobScheduler.exit_gracefully)
    snakemake_sigterm.mend()
    mended = JobScheduler.exit_gracefully
    snakemake_sigterm.mend()
    assert JobScheduler.exit_gracefully is mended


def test_snakemakes_own_handler_still_waits_for_the_lock() -> None:
    """Once it does not, abhinaya/runtime/snakemake_sigterm.py can go."""
    scheduler = SimpleNamespace(_lock=threading.Lock(), _open_jobs=threading.Semaphore(0), _user_kill=None)
    with scheduler._lock:
        handler = threading.Thread(target=JobScheduler.exit_gracefully, args=(scheduler, 15, None))
        handler.start()
        handler.join(0.2)
        assert handler.is_alive()
    handler.join(10)
    assert scheduler._user_kill == "graceful"


NOT_THERE = (
    r"^Snakemake [\d.]+ lacks the handler of SIGTERM that abhinaya/runtime/snakemake_sigterm\.py mends \(.*\); install "
)


def test_a_handler_of_another_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(JobScheduler, "exit_gracefully")
    with pytest.raises(UserError, match=NOT_THERE):
        snakemake_sigterm.mend()


def test_a_handler_of_another_module_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake.scheduling.job_scheduler", None)
    with pytest.raises(UserError, match=NOT_THERE):
        snakemake_sigterm.mend()


@pytest.mark.slow
def test_snakemake_stops_with_that_line() -> None:
    code = "from snakemake.scheduling.job_scheduler import JobScheduler; del JobScheduler.exit_gracefully\n"
    code += "from snakemake.cli import main; main()"
    words = ["-n", "--configfile", str(TEST_CONFIG)]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if not line.startswith("Using ")]
    assert len(told) == 1 and told[0].startswith("error: Snakemake ")
