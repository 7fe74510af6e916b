"""--qllm-judge: a model that says what an answer is worth, asked once, and never believed when it cannot be read."""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_judge import LocalJudge, serving
from tiny import WORDS, write_documents

from conftest import Suite, assert_refused
from pytest_qllm.benchmarks import judge as judging
from pytest_qllm.benchmarks.followbench import WORDING
from pytest_qllm.cli import main
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.measure import NOISE_ITEMS_LONG

CONNECT = socket.socket.connect
EXAMPLES = 30
LEVELS = 5

HOOKS = """

    def pytest_qllm_benchmarks():
        from dataclasses import replace

        from pytest_qllm.benchmarks.catalog import BUILTIN

        known = {{one.name: one for one in BUILTIN}}
        return [replace(known[name], task=f"{folder}/{{name}}.yaml") for name in ("followbench", "mt_bench")]
"""

TASK = """
include: {ours}/{name}/{name}.yaml
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8, do_sample: false}}
"""

TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"

KEY = "secret-7f3a"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers each call of an engine made."""
    counts: list[int] = []
    generations = TorchEngine.generations

    def counted(self: TorchEngine, requests: Any) -> Any:
        counts.append(len(requests))
        return generations(self, requests)

    monkeypatch.setattr(TorchEngine, "generations", counted)
    return counts


@pytest.fixture
def judge(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalJudge]:
    """A judge that is content with words of the model's own language; this machine is all the network there is."""
    monkeypatch.setattr(judging, "WAITS", (0.01,))
    monkeypatch.setattr(socket.socket, "connect", _local_only)
    monkeypatch.setenv("QLLM_JUDGE_KEY", KEY)
    with serving(LocalJudge(in_words)) as running:
        yield running


@pytest.fixture
def judged(suite: Suite, judge: LocalJudge) -> Suite:
    """A suite with that judge, and invented questions for it."""
    model = suite.own_model()
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": TEMPLATE}))
    suite.more_regimes()
    _own_tasks(suite)
    write_documents(suite.path / "data/mt_bench/train.jsonl", _dialogues())
    folder = suite.path / "data/followbench"
    folder.mkdir(parents=True)
    (folder / "style_constraints.json").write_text(json.dumps(_instructions("style", EXAMPLES - 5)))
    (folder / "content_constraints.json").write_text(json.dumps(_instructions("content", 5)))
    assert main(["manifest", str(folder)]) == 0
    suite.options |= {"data": suite.path / "data", "regimes": "same", "judge": judge.url, "judge_model": "local"}
    return suite


def _own_tasks(suite: Suite) -> None:
    """The tasks with short answers, as a tiny model has them."""
    from textwrap import dedent

    from conftest import MORE_REGIMES

    tasks = suite.path / "tasks"
    tasks.mkdir()
    ours = Path(judging.__file__).parent / "tasks"
    for name in ("followbench", "mt_bench"):
        (tasks / f"{name}.yaml").write_text(TASK.format(ours=ours, name=name))
    suite.pytester.makeconftest(dedent(MORE_REGIMES) + dedent(HOOKS.format(folder=tasks)))


def _local_only(self: socket.socket, address: Any) -> Any:
    if self.family == socket.AF_INET and address[0] == "127.0.0.1":
        return CONNECT(self, address)
    raise OSError(errno.ENETUNREACH, "these tests have no network")


def _instructions(kind: str, count: int) -> list[dict[str, Any]]:
    """Rows as the authors' files have them, of examples whose levels grow by a word."""
    words = [WORDS[(3 * at) % len(WORDS)] for at in range(LEVELS + 1)]
    return [
        {
            "example_id": example,
            "category": kind,
            "source": "invented",
            "level": level,
            "instruction": " ".join([WORDS[example % 20], WORDS[example // 20], *words[: level + 1]]),
            "target": "",
        }
        for example in range(1, count + 1)
        for level in range(LEVELS + 1)
    ]


def _dialogues() -> list[dict[str, Any]]:
    return [
        {"question_id": at, "category": "words", "turns": [f"{WORDS[at % 20]} {WORDS[at // 20]}", "go on"]}
        for at in range(40)
    ]


def in_words(messages: list[dict[str, str]]) -> str:
    """Full marks for an answer in words, and none for any other."""
    prompt = messages[0]["content"]
    answer = prompt.rpartition("[Answer")[2].partition("]\n")[2].partition("\n[End of the answer]")[0]
    good = bool(answer.split()) and set(answer.split()) <= set(WORDS)
    if "[[N]]" in prompt:
        return f"I have read it.\nGrade: [[{9 if good else 2}]]"
    level = int(re.findall(r"in (\d) step", prompt)[0])
    return f"1. ...\n[{', '.join(['YES' if good else 'NO'] * level)}]"


def gate(suite: Suite, benchmark: str = "followbench", **words: object) -> None:
    given = "".join(f", {name}={value!r}" for name, value in words.items())
    suite.pytester.makepyfile(test_it=f"def test_it(gate):\n    gate({benchmark!r}{given})\n")


def test_without_a_judge_it_is_skipped_with_the_reason(judged: Suite, made: list[int]) -> None:
    gate(judged)
    result = judged.run("-rs", judge=None, judge_model=None)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*followbench is judged by a model: name one with --qllm-judge=URL*"])
    assert not made


def test_a_regime_is_judged_and_the_key_is_written_nowhere(judged: Suite, judge: LocalJudge) -> None:
    gate(judged, tolerance=0.2)
    result = judged.run("--junit-xml=junit.xml", regimes="same,destroyed")
    result.assert_outcomes(passed=1, skipped=1, failed=1)  # the judge is content with the baseline's every answer
    same, destroyed = (judged.verdicts[regime, "followbench"] for regime in ("same", "destroyed"))
    assert same["verdict"] == "NO_SIGNAL"
    assert same["baseline"] == 1
    assert destroyed["verdict"] == "FAIL"
    assert same["provenance"]["judge"] == {"model": "local", "seed": 0, "version": judging.VERSION, "wording": WORDING}
    assert set(judge.keys) == {f"Bearer {KEY}"}
    assert KEY not in result.stdout.str()
    written = [file for file in judged.path.rglob("*") if file.is_file()]
    assert not [file for file in written if KEY.encode() in file.read_bytes()]


def test_nobody_is_asked_twice(judged: Suite, judge: LocalJudge, made: list[int]) -> None:
    gate(judged, tolerance=0.2)  # the judge is content with everything: too easy to carry a PASS
    judged.run().assert_outcomes(passed=1, skipped=1)
    assert len(judge.asked) == len(set(judge.prompts))  # equal answers of both sides are one question
    asked, answered = len(judge.asked), len(made)
    judged.run().assert_outcomes(passed=1, skipped=1)
    assert (len(judge.asked), len(made)) == (asked, answered)
    judged.run(judge_model="another").assert_outcomes(passed=1, skipped=1)
    assert len(judge.asked) == 2 * asked
    assert made[answered:] == [NOISE_ITEMS_LONG]  # the other judge has the same answers, but for the noise floor's


def test_soft_and_consistent_satisfaction(judged: Suite, judge: LocalJudge) -> None:
    """The judge denies the last constraint of each, so that only the levels' own count tells the three scores."""

    def deny(messages: list[dict[str, str]]) -> str:
        level = int(re.findall(r"in (\d) step", messages[0]["content"])[0])
        return f"[{', '.join(['YES'] * (level - 1) + ['NO' if level > 2 else 'YES'])}]"

    judge.say = deny
    judged.pytester.makepyfile(
        test_it="""
        def test_hard(gate):
            gate("followbench", tolerance=0.2)

        def test_soft(gate):
            gate("followbench", metric="ssr", tolerance=0.3)

        def test_consistent(gate):
            gate("followbench", metric="csl", tolerance=0.2)
        """
    )
    judged.run().assert_outcomes(passed=6)
    found = {verdict["metric"]: verdict["baseline"] for verdict in judged.report["verdicts"]}
    assert found == pytest.approx({"hsr": 0.4, "ssr": (1 + 1 + 2 / 3 + 3 / 4 + 4 / 5) / 5, "csl": 0.4})


def test_items_are_whole_examples(judged: Suite) -> None:
    gate(judged, tolerance=0.9)
    judged.run("-k", "fp16", max_items=13)
    assert judged.report["baselines"][0]["n"] == 10
    assert_refused(judged.run(max_items=4), "4 items are asked for", "expected at least 5")


def test_a_judge_that_refuses(judged: Suite, judge: LocalJudge) -> None:
    judge.say = lambda messages: (401, {"error": {"message": f"no such key: {KEY}"}})
    gate(judged)
    result = judged.run()
    assert_refused(result, "refuses: 401 Unauthorized: no such key: ***", "QLLM_JUDGE_KEY")


def test_a_judge_that_is_gone_costs_no_answer(judged: Suite, made: list[int]) -> None:
    gate(judged, tolerance=0.2)
    judged.options["max_items"] = 20
    result = judged.run("-k", "fp16", judge="http://127.0.0.1:9/v1")
    assert_refused(result, "http://127.0.0.1:9/v1 does not answer", "What was generated and judged is kept")
    assert made == [20]
    judged.run("-k", "fp16").assert_outcomes(passed=1)
    assert made == [20, NOISE_ITEMS_LONG]  # what was generated is only judged


def test_what_a_judge_says_must_be_a_judgement(judged: Suite, judge: LocalJudge) -> None:
    judge.say = lambda messages: "All of them are satisfied: YES!"
    gate(judged)
    assert_refused(judged.run(), "the judge local gave no judgement on", "such as [YES", "All of them are satisfied")


@pytest.mark.parametrize(
    ("given", "model", "words"),
    [
        ("localhost:8000", "m", ("expected a base URL such as http://localhost:8000/v1",)),
        ("ftp://localhost/v1", "m", ("--qllm-judge is 'ftp://localhost/v1'",)),
        ("http://localhost/v1?key=1", "m", ("expected a base URL",)),
        ("http://me:word@localhost/v1", "m", ("a user or a password before 'localhost'", "QLLM_JUDGE_KEY")),
        ("http://localhost/v1", None, ("--qllm-judge-model is empty",)),
    ],
)
def test_a_wrong_option_is_a_usage_error(judged: Suite, given: str, model: str | None, words: tuple[str, ...]) -> None:
    gate(judged)
    result = judged.run(judge=given, judge_model=model)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, *words)


def test_a_dialogue_is_graded_turn_by_turn(judged: Suite, judge: LocalJudge) -> None:
    gate(judged, "mt_bench", tolerance=0.2)
    judged.run(regimes="same,destroyed").assert_outcomes(passed=1, failed=2)
    same, destroyed = (judged.verdicts[regime, "mt_bench"] for regime in ("same", "destroyed"))
    assert same["baseline"] == pytest.approx(0.9)
    assert "every item has the score 0.9" in same["reason"]  # a judge that gives one grade to all may be broken
    assert destroyed["verdict"] == "FAIL"
    assert 0.2 <= destroyed["candidate"] < 0.6
    later = [prompt for prompt in judge.prompts if "[Earlier answer]" in prompt]
    assert len(later) == len(judge.prompts) - len(later)
    assert all("[Question]\ngo on\n" in prompt for prompt in later)


def test_a_turn_is_asked_with_what_was_said_before(judged: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts: list[list[str]] = []
    generations = TorchEngine.generations

    def heard(self: TorchEngine, requests: Any) -> Any:
        contexts.append([request.context for request in requests])
        return generations(self, requests)

    monkeypatch.setattr(TorchEngine, "generations", heard)
    gate(judged, "mt_bench", tolerance=0.2)
    judged.run("-k", "fp16", max_items=2)
    files = (judged.path / "store/answers").glob("*.json")
    answers = [answer for file in files for answer in json.loads(file.read_text())["content"]]
    first, second = contexts[:2]
    said = {answer["text"].strip() for answer in answers}
    for before, after in zip(first, second, strict=True):
        assert after.startswith(before)
        assert after.removeprefix(before).removesuffix(" go on ") in said


def test_a_model_without_a_chat_template_is_asked_no_dialogue(judged: Suite) -> None:
    model = Path(str(judged.options["model"]))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    gate(judged, "mt_bench", tolerance=0.2)
    result = judged.run("-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*has no chat template*"])
