"""The patch of Snakemake's SIGTERM handler."""

import subprocess
import sys
import threading
import time
from inspect import unwrap
from types import SimpleNamespace

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from abhinaya.runtime import snakemake_sigterm
from abhinaya.runtime.errors import UserError
from support.running import ROOT, TEST_CONFIG


def test_patched_handler_does_not_block_the_thread_that_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "exit_gracefully", unwrap(JobScheduler.exit_gracefully))
    snakemake_sigterm.patch()
    scheduler = SimpleNamespace(_lock=threading.Lock(), _open_jobs=threading.Semaphore(0), _user_kill=None)
    with scheduler._lock:
        JobScheduler.exit_gracefully(scheduler, 15, None)
        time.sleep(0.05)
        assert scheduler._user_kill is None
    assert scheduler._open_jobs.acquire(timeout=10)
    assert scheduler._user_kill == "graceful"


def test_patching_twice_has_no_further_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JobScheduler, "exit_gracefully", unwrap(JobScheduler.exit_gracefully))
    snakemake_sigterm.patch()
    patched = JobScheduler.exit_gracefully
    snakemake_sigterm.patch()
    assert JobScheduler.exit_gracefully is patched


def test_upstream_handler_still_blocks_on_the_lock() -> None:
    """When this fails, abhinaya/runtime/snakemake_sigterm.py can be removed."""
    scheduler = SimpleNamespace(_lock=threading.Lock(), _open_jobs=threading.Semaphore(0), _user_kill=None)
    with scheduler._lock:
        handler = threading.Thread(target=unwrap(JobScheduler.exit_gracefully), args=(scheduler, 15, None))
        handler.start()
        handler.join(0.2)
        assert handler.is_alive()
    handler.join(10)
    assert scheduler._user_kill == "graceful"


HANDLER_MISSING = r"^Snakemake [\d.]+: .*snakemake_sigterm\.py.*envs/requirements\.in"


def test_missing_handler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(JobScheduler, "exit_gracefully")
    with pytest.raises(UserError, match=HANDLER_MISSING):
        snakemake_sigterm.patch()


def test_missing_scheduler_module_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "snakemake.scheduling.job_scheduler", None)
    with pytest.raises(UserError, match=HANDLER_MISSING):
        snakemake_sigterm.patch()


@pytest.mark.slow
def test_snakemake_exits_with_one_line_if_the_handler_is_missing() -> None:
    code = "from snakemake.scheduling.job_scheduler import JobScheduler; del JobScheduler.exit_gracefully\n"
    code += "from snakemake.cli import main; main()"
    words = ["-n", "--configfile", str(TEST_CONFIG)]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Using ")]
    assert len(lines) == 1 and lines[0].startswith("error: Snakemake ")
