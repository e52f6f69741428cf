"""Failures of a chat server: retries, rate limits, rejected requests, malformed responses."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from abhinaya.runtime.errors import UserError
from abhinaya.zero_shot import client
from support.chat_server import RETRY_AT_ONCE, ChatServer, ReceivedRequest, Reply
from support.messages import assert_names
from support.text_labelling import (
    EXPECTED,
    SCORED,
    TEXTS,
    by_keyword,
    by_letter,
)

pytestmark = pytest.mark.usefixtures("chat_environment")


class TestFailures:
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503])
    def test_temporary_failure_is_retried(self, run: Callable, status: int) -> None:
        seen: Counter[str] = Counter()

        def rule(request: ReceivedRequest) -> Reply:
            seen[request.text] += 1
            if seen[request.text] <= 2:
                return Reply(status=status, message="busy", headers=RETRY_AT_ONCE)
            return by_keyword(request)

        with ChatServer(rule) as server:
            predictions, _, _ = run(server, TEXTS[:8])
        assert predictions["EmoClass"].tolist() == EXPECTED[:8]
        assert set(seen.values()) == {3}

    def test_retry_after_is_respected(self, run: Callable) -> None:
        moments: list[float] = []

        def rule(request: ReceivedRequest) -> Reply:
            moments.append(time.monotonic())
            return by_keyword(request) if len(moments) > 1 else Reply(status=429, headers={"retry-after": "0.7"})

        with ChatServer(rule) as server:
            run(server, ["tears"])
        assert moments[1] - moments[0] >= 0.7, "the client's stand_in delay is at most 0.5 s"

    @pytest.mark.slow
    def test_closed_connection_and_timeout_are_retried(self, run: Callable) -> None:
        seen: Counter[str] = Counter()

        def rule(request: ReceivedRequest) -> Reply:
            seen[request.text] += 1
            if seen[request.text] > 1:
                return by_keyword(request)
            return Reply(close=True) if "tears" in request.text else Reply(delay=1.5)

        with ChatServer(rule) as server:
            predictions, _, _ = run(server, ["tears", "yippee"], seconds=1)
        assert predictions["EmoClass"].tolist() == ["S", "H"]
        assert seen == {"tears": 2, "yippee": 2}

    def test_persistent_failure_is_reported_and_responses_are_kept(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = Reply(status=503, message="over capacity", headers=RETRY_AT_ONCE)
        with ChatServer(lambda request: broken if "tears" in request.text else by_keyword(request)) as server:
            with pytest.raises(UserError) as caught:
                run(server, concurrency=1)
            assert_names(str(caught.value), f"endpoint {server.url}: ", "HTTP 503: over capacity", "run again")
            before = set(server.texts) - {server.texts[-1]}
            server.rule = by_keyword
            count = len(server.received)
            run(server)
        assert not before & set(server.texts[count:])

    def test_connection_failure_is_reported(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        with ChatServer(by_keyword) as server:
            pass
        with pytest.raises(UserError) as caught:
            run(server)
        assert str(caught.value).startswith(f"endpoint {server.url}: connection failed (")
        assert str(caught.value).endswith("); correct `endpoint.url` or start the server")

    def test_server_that_ends_during_labelling_is_reported(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_RETRIES", 0)

        def rule(request: ReceivedRequest) -> Reply:
            if len(server.received) == 5:
                threading.Thread(target=server.stop).start()
            return Reply(close=True) if len(server.received) >= 5 else by_keyword(request)

        with ChatServer(rule) as server, pytest.raises(UserError, match="run again to resume"):
            run(server, concurrency=1)

    def test_short_rate_limits_do_not_end_the_job(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        """Three responses per 0.3 s: the job takes longer than `MAX_RATE_LIMITED`, but no single limit does."""
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        monkeypatch.setattr(client, "MAX_RATE_LIMITED", 0.9)
        windows: Counter[int] = Counter()

        def rule(request: ReceivedRequest) -> Reply:
            window = int(time.monotonic() / 0.3)
            windows[window] += 1
            return Reply(status=429, message="3 per window") if windows[window] > 3 else by_keyword(request)

        with ChatServer(rule) as server:
            predictions, _, _ = run(server, TEXTS[:18], concurrency=6)
        assert predictions["EmoClass"].tolist() == EXPECTED[:18]
        assert len(windows) > client.MAX_RATE_LIMITED / 0.3
        lines = [line for line in capsys.readouterr().err.splitlines() if "rate limit" in line]
        assert len(lines) == 1 and "HTTP 429: 3 per window" in lines[0]

    def test_rate_limit_pauses_all_requests(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        monkeypatch.setattr(client, "RATE_LIMIT_PAUSE", 0.5)
        monkeypatch.setattr(client, "MAX_RATE_LIMITED", 5.0)
        moments: list[float] = []
        limited = threading.Event()

        def rule(request: ReceivedRequest) -> Reply:
            moments.append(time.monotonic())
            number, reply = len(moments), by_keyword(request)
            if number == 5:
                limited.set()
                return Reply(status=429)
            if 2 <= number <= 4:  # open while another request is limited
                limited.wait(timeout=10)
                reply.delay = 0.2
            return reply

        with ChatServer(rule) as server:
            run(server, TEXTS[:12], concurrency=4)
        assert moments[5] - moments[4] >= 0.5

    def test_long_rate_limit_is_reported(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "MAX_RETRIES", 0)
        begin = time.monotonic()
        with (
            ChatServer(lambda request: Reply(status=429, message="quota")) as server,
            pytest.raises(UserError, match=r"\(HTTP 429: quota\)"),
        ):
            run(server)
        assert client.MAX_RATE_LIMITED <= time.monotonic() - begin < 5

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            (400, "rejects the requests (HTTP 400: no such thing); correct `endpoint.url`, `endpoint.parameters`"),
            (422, "rejects the requests (HTTP 422: no such thing)"),
            (404, "rejects the requests (HTTP 404: no such thing); correct `model` or `endpoint.url`"),
            (401, "rejects the key (HTTP 401: no such thing); set CHAT_KEY (`endpoint.key_variable`) to a valid key"),
            (403, "rejects the key (HTTP 403: no such thing)"),
            (402, "rejects the requests (HTTP 402: no such thing)"),
        ],
    )
    def test_failure_of_the_first_request_is_reported(self, run: Callable, status: int, words: str) -> None:
        with (
            ChatServer(lambda request: Reply(status=status, message="no such\n thing")) as server,
            pytest.raises(UserError) as caught,
        ):
            run(server)
        assert words in str(caught.value) and "\n" not in str(caught.value)
        assert len(server.received) == (3 if status in (400, 422) else 1)
        assert server.most_open == 1

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_single_rejected_probe_does_not_end_the_job(self, run: Callable, status: int) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            return Reply(status=status, message="filter") if len(request.text) < 8 else by_keyword(request)

        with ChatServer(rule) as server:
            _, audit, summary = run(server, ["fuck", "fuck it", "tears and more", "what is it all", "damn you and all"])
        assert audit["status"].tolist() == ["refused", "refused", "labelled", "labelled", "labelled"]
        assert len(server.received) == 5 and summary["counts"]["refused"] == 2

    def test_html_page_is_reported(self, run: Callable) -> None:
        with (
            ChatServer(lambda request: Reply(raw="<html>\nWelcome</html>")) as server,
            pytest.raises(UserError, match=r"<html> Welcome.*`endpoint\.url`"),
        ):
            run(server)

    @pytest.mark.parametrize(
        "reply",
        [
            {"choices": "abc"},
            {"choices": ["abc"]},
            {"choices": [{"message": None}]},
            {"choices": [{"text": "happy"}]},
            {"choices": {}},
            [],
            None,
            3,
        ],
    )
    def test_malformed_response_counts_as_refused(self, run: Callable, reply: object) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            return Reply(raw=json.dumps(reply)) if request.text == "odd one" else by_keyword(request)

        with ChatServer(rule) as server:
            _, audit, _ = run(server, ["so", "odd one", "tears"])
        assert audit["status"].tolist() == ["labelled", "refused", "labelled"]
        assert audit["reason"][1].startswith("not a chat completion: ")

    @pytest.mark.parametrize("content", [["happy"], [{"type": "text", "text": "hap"}, {"type": "text", "text": "py"}]])
    @pytest.mark.parametrize(
        "other",
        [
            {},
            {"usage": {}},
            {"usage": {"prompt_tokens": "a", "completion_tokens": 1.5}},
            {"usage": {"prompt_tokens": -1, "completion_tokens": 10**30}},
            {"usage": [3], "model": 7},
            {"choices": [{"finish_reason": 3, "logprobs": {"content": "x"}}]},
        ],
    )
    def test_nonstandard_response_fields_are_accepted(self, run: Callable, content: list, other: dict) -> None:
        answer = "happy" if content == ["happy"] else content
        ((choice,),) = (other.get("choices", [{}]),)
        reply = other | {"choices": [choice | {"message": {"content": answer}}]}
        with ChatServer(lambda request: Reply(raw=json.dumps(reply))) as server:
            _, audit, summary = run(server, ["so"], structured_output=False)
        assert audit["status"].tolist() == ["labelled"] and audit["EmoClass"].tolist() == ["H"]
        assert summary["tokens"] == {"prompt": None, "generated": None, "generated_per_label": None}

    def test_invalid_utf8_is_stored_as_a_question_mark(self, run: Callable) -> None:
        with ChatServer(lambda request: Reply("happy \ud83d")) as server:
            assert run(server, ["so"])[1]["answer"].tolist() == ["happy ?"]

    @pytest.mark.parametrize(
        "logprobs",
        [
            {"content": [{"token": "A", "logprob": -0.1}]},
            {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": None}]},
            {"content": [{"token": "A", "logprob": -0.1, "top_logprobs": []}]},
            {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1}]},
            {"content": []},
            [],
        ],
    )
    def test_nonstandard_log_probabilities_are_reported(self, run: Callable, logprobs: object) -> None:
        reply = {"choices": [{"message": {"content": "A"}, "logprobs": logprobs}]}
        with (
            ChatServer(lambda request: Reply(raw=json.dumps(reply))) as server,
            pytest.raises(UserError, match="log-probabilities"),
        ):
            run(server, **SCORED)

    def test_forbidden_text_is_refused_when_the_key_is_valid(self, run: Callable) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            return Reply(status=403, message="flagged") if "tears" in request.text else by_keyword(request)

        with ChatServer(rule) as server:
            for _ in range(2):  # with a valid key in this run, and then in the store
                _, audit, _ = run(server)
                assert audit["status"].tolist() == ["refused" if "tears" in text else "labelled" for text in TEXTS]
        assert audit["reason"].dropna().unique().tolist() == ["HTTP 403: flagged"]

    def test_rejected_request_gets_the_fallback_and_is_repeated_later(self, run: Callable) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            if len(request.text) > 30:
                return Reply(status=400, message="the prompt is too long")
            return by_keyword(request)

        texts = [*TEXTS, "tears " * 10]
        with ChatServer(rule) as server:
            predictions, audit, summary = run(server, texts)
            assert predictions["EmoClass"].tolist() == [*EXPECTED, "N"]
            assert audit["status"].tolist() == ["labelled"] * len(TEXTS) + ["refused"]
            assert audit["reason"].iloc[-1] == "HTTP 400: the prompt is too long"
            assert summary["counts"]["refused"] == 1
            again, _, summary = run(server, texts)  # the only request, but not reported as a failure
            assert again.equals(predictions)
            assert summary["requests"] == {"sent": 1, "stored": len(TEXTS)}
            server.rule = by_keyword
            assert run(server, texts)[0]["EmoClass"].tolist() == [*EXPECTED, "S"]

    def test_rejection_in_one_order_refuses_the_row(self, run: Callable) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            if "tears" in request.text and "A. happy" in request.body["messages"][0]["content"]:
                return Reply(status=422, message="no")
            return by_letter(request)

        with ChatServer(rule) as server:
            _, audit, _ = run(server, ["tears", "what", "help"], **SCORED)
        assert audit["status"].tolist() == ["refused", "labelled", "labelled"]

    def test_many_rejections_are_reported(self, run: Callable) -> None:
        def rule(request: ReceivedRequest) -> Reply:
            return Reply(status=400, message="filtered") if len(request.text) > 2 else by_keyword(request)

        with (
            ChatServer(rule) as server,
            pytest.raises(UserError, match=r"3 of 5 transcripts .*\(HTTP 400: filtered\)"),
        ):
            run(server, ["a", "bc", "tears", "what", "damn"])

    def test_refusals_are_counted_by_transcript(self, run: Callable) -> None:
        """One of eight orders is rejected: an eighth of the requests, but every transcript."""

        def rule(request: ReceivedRequest) -> Reply:
            first = request.body["messages"][0]["content"].split("A. ")[1].startswith("contempt")
            return Reply(status=400, message="no") if first and request.text in TEXTS else by_letter(request)

        with ChatServer(rule) as server, pytest.raises(UserError, match=r"4 of 4 transcripts"):
            run(server, TEXTS[:4], **SCORED)


class TestNoAnswer:
    @pytest.mark.parametrize("mode", [{}, SCORED])
    @pytest.mark.parametrize("content", [None, "", " \n"])
    def test_a_cut_off_response_is_explained_and_asked_again(
        self, run: Callable, content: str | None, mode: dict
    ) -> None:
        """A model that reasons reaches `max_tokens` before its answer. After the server is repaired, all is asked."""
        good = by_letter if mode else by_keyword
        with ChatServer(lambda request: Reply(content, finish_reason="length")) as server:
            with pytest.raises(UserError) as caught:
                run(server, TEXTS[:8], **mode)
            assert_names(str(caught.value), "cut off", "max_tokens")
            server.rule = good
            predictions, _, summary = run(server, TEXTS[:8], **mode)
        assert predictions["EmoClass"].tolist() == EXPECTED[:8]
        assert summary["requests"]["stored"] == 0

    def test_single_responses_without_an_answer_are_refused(self, run: Callable) -> None:
        with ChatServer(lambda request: Reply(None) if request.text == TEXTS[1] else by_keyword(request)) as server:
            _, audit, _ = run(server, TEXTS[:8])
            assert audit["status"].tolist().count("refused") == 1
            assert "no answer" in audit["reason"][1]
            server.rule = by_keyword
            predictions, _, summary = run(server, TEXTS[:8])
        assert predictions["EmoClass"].tolist() == EXPECTED[:8]
        assert summary["requests"]["sent"] == 1
