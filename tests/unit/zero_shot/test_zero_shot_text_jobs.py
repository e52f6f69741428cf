"""Labelling jobs: stored responses, restarts of the server, the key, the summary and the script."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from abhinaya.config.zero_shot import ZeroShotSystem
from abhinaya.data import schemas
from abhinaya.labels import CLASSES
from abhinaya.runtime import files
from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import client, text
from abhinaya.zero_shot.predictions import AUDIT
from abhinaya.zero_shot.response_store import ResponseStore
from abhinaya.zero_shot.server import Backend, connect
from support.chat_server import RETRY_AT_ONCE, ChatServer, ReceivedRequest, Reply
from support.text_labelling import (
    EXPECTED,
    KEY,
    KEYWORDS,
    TEXTS,
    StandInServer,
    by_keyword,
    keyword,
    no_connection,
    rows,
    settings,
)

pytestmark = pytest.mark.usefixtures("chat_environment")
SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "label_zero_shot.py"


class TestStoredResponses:
    def test_two_jobs_do_not_share_a_store(self, run: Callable, tmp_path: Path) -> None:
        with (
            ResponseStore(tmp_path / "store").alone(),
            pytest.raises(UserError, match="store: another job is adding"),
        ):
            run(None, connect_to=no_connection)

    def test_second_run_sends_no_requests(self, run: Callable) -> None:
        with ChatServer(by_keyword) as server:
            first, _, summary = run(server)
        assert summary["requests"] == {"sent": len(TEXTS), "stored": 0}
        assert summary["backend"] == {"kind": "endpoint", "url": server.url}
        again, _, summary = run(server, connect_to=no_connection)
        assert again.equals(first)
        assert summary["requests"] == {"sent": 0, "stored": len(TEXTS)}
        assert summary["backend"] is None and summary["labels_per_second"] is None
        assert summary["tokens"]["generated"] == 2 * len(TEXTS), "stored responses count"

    def test_only_new_transcripts_are_requested(self, run: Callable) -> None:
        with ChatServer(by_keyword) as server:
            run(server, TEXTS[:5])
            run(server, TEXTS)
        assert Counter(server.texts) == Counter(TEXTS)

    def test_the_stored_row(self, run: Callable, tmp_path: Path) -> None:
        with ChatServer(by_keyword) as server:
            run(server, ["so <what>"])
        (row,) = ResponseStore(tmp_path / "store").read().to_dict("records")
        assert (row["model"], row["user"], row["answer"]) == ("tested", "sentence: so (what)", "surprise")
        assert (row["finish_reason"], row["letters"], row["prompt_tokens"]) == ("stop", None, 3)
        assert row["generated_tokens"] == 2 and 0 < row["seconds"] < 20
        assert pd.Timestamp(row["requested_at"]).tzname() == "UTC"

    def test_responses_before_a_key_failure_are_kept(self, run: Callable) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            return Reply(status=401, message="expired") if len(server.received) > 10 else by_keyword(request)

        with ChatServer(rule) as server:
            with pytest.raises(UserError, match=r"CHAT_KEY|`endpoint.key_variable`"):
                run(server, concurrency=1)
            server.rule = by_keyword
            run(server)
        assert Counter(server.texts) == Counter(TEXTS) + Counter([server.texts[10]])

    @pytest.mark.slow
    def test_ended_job_requests_only_missing_responses(self, tmp_path: Path) -> None:
        """The job is ended three times, each after 15 more responses and with 8 open requests."""
        texts = [f"{word}, said number {number}" for number, word in enumerate(list(KEYWORDS) * 8)]
        answered: list[str] = []
        quota, turn, ended = 0.0, threading.Lock(), threading.Event()

        def rule(request: ReceivedRequest) -> Reply:
            with turn:
                if len(answered) < quota:
                    answered.append(request.text)
                    return by_keyword(request)
            ended.wait(timeout=180)
            return Reply(close=True)

        def stored() -> set[str]:
            return set(ResponseStore(tmp_path / "store").read()["user"].str.removeprefix("sentence: "))

        environment = os.environ | {"CHAT_KEY": KEY}
        with ChatServer(rule) as server:
            command = script(tmp_path, texts, server.url)
            for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                quota, before, ended = quota + 15, len(server.received), threading.Event()
                job = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
                deadline = time.monotonic() + 60
                while (server.open < 8 or stored() != set(answered)) and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert server.open == 8 and stored() == set(answered)
                job.send_signal(ending)
                assert job.wait(timeout=30) != 0
                assert stored() == set(answered)
                assert len(server.received) - before == 15 + 8
                ended.set()
                while server.open:
                    time.sleep(0.01)
            assert not (tmp_path / "preds.csv").exists()
            quota = float("inf")
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, done.stderr
        assert sorted(answered) == sorted(texts), "one response for each"
        predictions = schemas.read_predictions(tmp_path / "preds.csv")
        assert predictions["EmoClass"].tolist() == [keyword(text) for text in texts]
        summary = files.read_json(tmp_path / "labelling.json")
        assert summary["requests"] == {"sent": len(texts) - 45, "stored": 45}


class TestVllmServer:
    @pytest.fixture(autouse=True)
    def retries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_RETRIES", 1)

    def ending(self, after: int) -> tuple[StandInServer, Callable[[ReceivedRequest], Reply]]:
        stand_in = StandInServer([])

        def rule(request: ReceivedRequest) -> Reply:
            if len(stand_in.servers[stand_in.restarts].received) > after:
                stand_in.has_ended = True
            return (
                Reply(status=500, message="engine", headers=RETRY_AT_ONCE)
                if stand_in.has_ended
                else by_keyword(request)
            )

        return stand_in, rule

    def test_dead_server_is_restarted_for_the_remaining_requests(self, run: Callable) -> None:
        stand_in, rule = self.ending(after=10)
        with ChatServer(rule) as first, ChatServer(by_keyword) as second:
            stand_in.servers = [first, second]
            predictions, _, summary = run(None, concurrency=1, connect_to=stand_in.connect)
        assert predictions["EmoClass"].tolist() == EXPECTED
        assert summary["backend"]["restarts"] == 1
        assert set(first.texts[:10]).isdisjoint(second.texts)
        assert len(second.texts) == len(TEXTS) - 10

    def test_second_crash_is_reported(self, run: Callable) -> None:
        stand_in, rule = self.ending(after=5)
        with ChatServer(rule) as first, ChatServer(rule) as second:
            stand_in.servers = [first, second]
            with pytest.raises(UserError, match="twice"):
                run(None, connect_to=stand_in.connect)

    def test_running_server_that_fails_is_reported(self, run: Callable) -> None:
        with ChatServer(lambda request: Reply(status=500, message="oh", headers=RETRY_AT_ONCE)) as server:
            stand_in = StandInServer([server])
            with pytest.raises(UserError, match=r"vLLM: .*\(HTTP 500: oh\)"):
                run(None, connect_to=stand_in.connect)
        assert stand_in.restarts == 0

    def test_requests_use_the_served_name_and_no_proxy(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with ChatServer(by_keyword) as server:
            run(None, ["tears"], connect_to=StandInServer([server]).connect)
        assert server.received[0].body["model"] == "served"
        assert server.received[0].choice and server.received[0].headers["authorization"] == f"Bearer {KEY}"

    def test_proxy_is_used_for_endpoints(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endpoint may be reachable only through the proxy of the environment."""
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        with ChatServer(by_keyword) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
            chosen = settings("http://somewhere.invalid/v1")
            direct = partial(connect, chosen, Path("log"), 1, 0, 1)
            run(None, ["tears"], connect_to=direct, endpoint=chosen.endpoint.model_dump())
        assert proxy.received[0].headers["host"] == "somewhere.invalid"


class TestKey:
    def test_openai_variables_are_not_sent(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_ORG_ID", "private-org")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "private-project")
        monkeypatch.setenv("OPENAI_ADMIN_KEY", "private-admin")
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: private-header\nAuthorization: Bearer private")
        with ChatServer(by_keyword) as server:
            run(server, ["tears"])
        (request,) = server.received
        assert "private" not in str(request.headers)
        assert not {"openai-organization", "openai-project", "x-mine"} & set(request.headers)
        assert request.headers["authorization"] == f"Bearer {KEY}"

    def test_no_key_is_sent_without_key_variable(self, tmp_path: Path) -> None:
        with ChatServer(by_keyword) as server:
            chosen = ZeroShotSystem.model_validate(
                {"family": "zero_shot", "model": "tested", "endpoint": {"url": server.url}}
            )
            with connect(chosen, tmp_path / "log", 1, 0, 1) as backend:
                text.label(rows(["tears"]), chosen, CLASSES, tmp_path / "store", lambda: _context(backend), 1, 9)
        assert "authorization" not in server.received[0].headers
        assert "sk-another-one" not in str(server.received[0].headers)

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 503])
    def test_key_is_never_printed(
        self,
        run: Callable,
        status: int,
        tmp_path: Path,
        capfd: pytest.CaptureFixture,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The server repeats the key in every message, and the client logs at debug level."""
        monkeypatch.setenv("OPENAI_LOG", "debug")
        for name in (None, "openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.DEBUG)
        caplog.set_level(logging.DEBUG)
        message = f"{'x' * 280} your key is {KEY}, isn't it"

        def rule(request: ReceivedRequest) -> Reply:
            if "tears" in request.text or status in (401, 404, 429, 503):
                return Reply(status=status, message=message, headers=RETRY_AT_ONCE, content="sad")
            return by_keyword(request)

        output = ""
        with ChatServer(rule) as server:
            try:
                _, audit, summary = run(server)
                output = audit.to_csv() + json.dumps(summary) + repr(audit["reason"].tolist())
            except UserError as error:
                output = repr(error) + str(error) + repr(error.__cause__)
        assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.received)
        captured = capfd.readouterr()
        everything = output + captured.out + captured.err + caplog.text
        assert "sk-0123" not in everything
        loggers = {record.name.split(".")[0] for record in caplog.records}
        assert not loggers & {"openai", "httpx2", "httpcore2"}, "no request is logged"
        stored = ResponseStore(tmp_path / "store").read().to_csv()
        assert "sk-0123" not in stored


class TestSummary:
    def test_counts_and_cost(self, run: Callable, capsys: pytest.CaptureFixture) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            if len(request.text) > 30:
                return Reply(status=400, message="long")
            return Reply("dunno") if "odd" in request.text else by_keyword(request)

        with ChatServer(rule) as server:
            _, _, summary = run(server, ["tears", "tears", "odd one", "", "what a " + "long " * 9, "damn you"])
        assert summary["counts"] == {"labelled": 3, "empty": 1, "unparsable": 1, "refused": 1}
        assert (summary["mode"], summary["prompt"], summary["utterances"], summary["transcripts"]) == (
            "word",
            "paper",
            6,
            4,
        )
        assert summary["tokens"] == {"prompt": 2 + 3 + 3, "generated": 6, "generated_per_label": 1.5}
        assert summary["labels_per_second"] == pytest.approx(4 / summary["seconds"])
        assert summary["calibration_texts"] is None
        json.dumps(summary, allow_nan=False)
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith("3 labelled, 1 empty, 1 unparsable, 1 refused; ") and last.endswith(" labels/s")

    def test_missing_token_counts_are_null(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        from support import chat_server

        complete = chat_server._completion
        monkeypatch.setattr(chat_server, "_completion", lambda *given: complete(*given) | {"usage": None})
        with ChatServer(by_keyword) as server:
            _, audit, summary = run(server, ["tears"])
        assert audit["generated_tokens"].isna().all()
        assert summary["tokens"] == {"prompt": None, "generated": None, "generated_per_label": None}

    def test_notes(self) -> None:
        counts = {"labelled": 3, "empty": 7, "unparsable": 2, "refused": 0}
        chosen = settings(max_characters=50)
        rest = {"cut": 0, "prior_texts": None}
        assert text.notes({"counts": counts, "prior_texts": None, "cut": 3}, chosen) == [
            "7 empty transcripts and 2 unparsable responses were labelled neutral, the fallback.",
            "Transcripts truncated to 50 characters: 3.",
        ]
        one = {"labelled": 3, "empty": 0, "unparsable": 0, "refused": 1}
        assert text.notes({"counts": one} | rest, chosen) == ["1 refused request was labelled neutral, the fallback."]
        rest["prior_texts"] = {"used": 3, "given": 3}
        assert text.notes({"counts": one | {"refused": 0}} | rest, chosen) == []


class TestCommand:
    def test_files(self, tmp_path: Path) -> None:
        with ChatServer(by_keyword) as server:
            done = subprocess.run(
                script(tmp_path, [*TEXTS, "", "tears " * 500], server.url),
                capture_output=True,
                text=True,
                env=os.environ | {"CHAT_KEY": KEY},
            )
        assert done.returncode == 0, done.stderr
        predictions = schemas.read_predictions(tmp_path / "preds.csv")
        assert predictions["EmoClass"].tolist() == [*EXPECTED, "N", "S"]
        audit = pd.read_parquet(tmp_path / "responses.parquet")
        assert audit.columns.tolist() == AUDIT.names and len(audit) == len(TEXTS) + 2
        assert files.read_metadata(tmp_path / "responses.parquet")["name"] == "t1"
        summary = files.read_json(tmp_path / "labelling.json")
        assert (summary["name"], summary["settings"]["endpoint"]["url"]) == ("t1", server.url)
        assert {"abhinaya", "git", "openai", "pandas"} <= summary["versions"].keys()
        assert summary["notes"] == [
            "1 empty transcript was labelled neutral, the fallback.",
            "Transcripts truncated to 2000 characters: 1.",
        ]
        written = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
        assert KEY not in written + done.stdout + done.stderr
        assert "26 labelled" not in done.stderr and "25 labelled, 1 empty" in done.stderr

    def test_missing_transcript_is_reported(self, tmp_path: Path) -> None:
        command = script(tmp_path, TEXTS, "http://127.0.0.1:9/v1")
        kept = pd.read_parquet(tmp_path / "transcripts.parquet").iloc[:-3]
        files.write_parquet(kept, schemas.TRANSCRIPTS, tmp_path / "transcripts.parquet")
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"CHAT_KEY": KEY})
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ") and "no transcript for 3 " in line and "clip_0022.wav" in line

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import runpy, sys; sys.argv = ['label_zero_shot.py', '--help']\n"
            f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
            "except SystemExit: print(*sys.modules)"
        )
        environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert "--response-dir" in done.stdout
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "argparse" in loaded and not loaded & {"torch", "vllm", "whisperx", "transformers", "openai"}


@contextmanager
def _context(backend: Backend) -> Iterator[Backend]:
    yield backend


def script(folder: Path, texts: list[str], url: str) -> list[str]:
    """The command line that labels `texts`; its tables are written to `folder`."""
    table = rows(texts).assign(path="x.wav", duration=1.0)
    unused = table.iloc[:1].assign(FileName="unused.wav", split="train")
    schemas.write_manifest(pd.concat([table, unused]), folder / "manifest.parquet")
    files.write_parquet(pd.concat([table, unused]), schemas.TRANSCRIPTS, folder / "transcripts.parquet")
    named = {
        "manifest": "manifest.parquet",
        "transcripts": "transcripts.parquet",
        "output": "preds.csv",
        "responses": "responses.parquet",
        "summary": "labelling.json",
        "response-dir": "store",
        "server-log": "server.log",
    }
    section = {
        "family": "zero_shot",
        "model": "tested",
        "endpoint": {"url": url, "key_variable": "CHAT_KEY", "structured_output": True},
    }
    paths = [word for name, file in named.items() for word in (f"--{name}", str(folder / file))]
    fixed = ["--name", "t1", "--settings", json.dumps(section), "--concurrency", "8"]
    return [sys.executable, str(SCRIPT), *fixed, *paths]
