"""The judge's client: what it asks, what it keeps, and what it refuses to read."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_qllm.benchmarks import judge as judging
from pytest_qllm.benchmarks.judge import Endpoint, Judge, Question
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

sys.path.append(str(Path(__file__).parents[2] / "integration"))
from local_judge import LocalJudge, completion, serving


def number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def ask(*prompts: str) -> list[Question[int]]:
    return [Question(prompt, "a number", number) for prompt in prompts]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def server() -> Iterator[LocalJudge]:
    """Says how long the prompt is."""
    with serving(LocalJudge(lambda messages: str(len(messages[0]["content"])))) as running:
        yield running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "WAITS", (0.01, 0.01))


def at(server: LocalJudge, store: Store, **words: object) -> Judge:
    return Judge(Endpoint(**{"url": server.url, "model": "m", **words}), store)  # type: ignore[arg-type]


def test_judgements_come_in_the_order_of_the_questions(server, store):
    prompts = ["a" * count for count in (5, 2, 9, 1, 7, 3)]
    assert at(server, store).judgements(ask(*prompts)) == [5, 2, 9, 1, 7, 3]


def test_nothing_is_asked_twice(server, store):
    assert at(server, store).judgements(ask("aa", "b", "aa")) == [2, 1, 2]
    assert len(server.asked) == 2
    assert at(server, store).judgements(ask("b", "aa", "ccc")) == [1, 2, 3]
    assert server.prompts[2:] == ["ccc"]


@pytest.mark.parametrize("other", [{"model": "another"}, {"seed": 1}])
def test_another_judge_is_asked_anew(server, store, other):
    at(server, store).judgements(ask("aa"))
    at(server, store, **other).judgements(ask("aa"))
    assert len(server.asked) == 2


def test_where_it_is_served_does_not_matter(server, store):
    at(server, store).judgements(ask("aa"))
    assert Judge(Endpoint("http://nowhere.invalid/v1", "m"), store).judgements(ask("aa")) == [2]


def test_it_is_asked_to_repeat_itself(server, store):
    at(server, store, seed=7).judgements(ask("aa"))
    assert server.asked == [
        {"model": "m", "messages": [{"role": "user", "content": "aa"}], "temperature": 0, "seed": 7}
    ]


def test_the_key_is_sent_and_kept_nowhere(server, store, monkeypatch):
    monkeypatch.setenv("QLLM_JUDGE_KEY", "secret-7f3a\n")
    endpoint = Endpoint.named(f"{server.url}/", "m", 0)
    assert endpoint is not None
    judge = Judge(endpoint, store)
    assert judge.judgements(ask("aa")) == [2]
    assert server.keys == ["Bearer secret-7f3a"]
    assert "secret" not in repr(endpoint) + str(judge.identity())
    assert not [file for file in store.root.rglob("*") if file.is_file() and "secret" in file.read_text()]


def test_no_options_no_endpoint():
    assert Endpoint.named("", "m", 0) is None


def test_it_is_reminded_of_the_form_once(server, store):
    server.say = lambda messages: "4" if len(messages) == 3 else "four, I should say"
    assert at(server, store).judgements(ask("aa")) == [4]
    assert [message["role"] for message in server.asked[1]["messages"]] == ["user", "assistant", "user"]
    assert at(server, store).judgements(ask("aa")) == [4]
    assert len(server.asked) == 2


def test_what_cannot_be_read_is_an_error_and_the_rest_is_kept(server, store):
    server.say = lambda messages: "no idea" if messages[0]["content"] == "aa" else "1"
    with pytest.raises(QllmError, match=r"m gave no judgement on 1 of 3 answers.*a number it said 'no idea'"):
        at(server, store).judgements(ask("aa", "b", "c"))
    server.say = lambda messages: "2"
    assert at(server, store).judgements(ask("aa", "b", "c")) == [2, 1, 1]


def test_an_answer_that_was_cut_off_is_none(server, store):
    server.say = lambda messages: (200, completion("7", finish="length"))
    with pytest.raises(QllmError, match="no judgement on 1 of 1"):
        at(server, store).judgements(ask("aa"))


@pytest.mark.parametrize("status", [429, 503])
def test_what_may_pass_is_tried_again(server, store, status):
    replies = iter([(status, {"error": {"message": "busy"}}, {"Retry-After": "0"}), "5"])
    server.say = lambda messages: next(replies)
    assert at(server, store).judgements(ask("aa")) == [5]
    assert len(server.asked) == 2


def test_an_endpoint_that_is_never_free(server, store):
    server.say = lambda messages: (503, {"error": {"message": "busy"}})
    with pytest.raises(QllmError, match=r"does not answer \(503 Service Unavailable: busy; 3 tries\)"):
        at(server, store).judgements(ask("aa"))


def test_an_endpoint_that_is_not_there(store):
    with pytest.raises(QllmError, match=r"http://127.0.0.1:9/v1 does not answer \(ConnectError"):
        Judge(Endpoint("http://127.0.0.1:9/v1", "m"), store).judgements(ask("aa"))


def test_a_key_that_is_refused_is_not_shown(server, store):
    server.say = lambda messages: (401, {"error": {"message": "Incorrect API key: secret-7f3a"}})
    with pytest.raises(
        QllmError, match=r"refuses: 401 Unauthorized: Incorrect API key: \*\*\*; .*QLLM_JUDGE_KEY"
    ) as told:
        at(server, store, key="secret-7f3a").judgements(ask(*(f"a{at}" for at in range(40))))
    assert "secret" not in str(told.value)
    assert len(server.asked) < 40  # the first refusal ends it


def test_a_base_url_that_is_none(server, store):
    server.url = server.url.removesuffix("/v1")
    with pytest.raises(QllmError, match=r"404 Not Found: no route /chat/completions; expected a base URL"):
        at(server, store).judgements(ask("aa"))


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [{"message": {"content": None}}]}, [1]])
def test_a_server_of_another_kind(server, store, body):
    server.say = lambda messages: (200, body)
    with pytest.raises(QllmError, match="gave no chat completion"):
        at(server, store).judgements(ask("aa"))


def test_an_interrupt_ends_it_at_once_and_keeps_what_was_said(server, store):
    def say(messages: list[dict[str, str]]) -> str:
        if messages[0]["content"] == "slow":
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
        return "1"

    server.say = say
    start = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            at(server, store).judgements(ask("a", "b", "slow"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 10
    server.say = lambda messages: "2"
    assert at(server, store).judgements(ask("a", "b", "slow")) == [1, 1, 2]
