"""--qllm-chat-template: whether questions are put in the model's chat template."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import write_documents

from conftest import Suite, assert_refused
from pytest_qllm import load_report

TEMPLATE = (
    "{% for message in messages %}<bos>{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant: {% endif %}"
)


@pytest.fixture
def instructed(suite: Suite) -> Suite:
    """A model with a chat template, questions that are asked directly, and a benchmark that is not."""
    suite.more_regimes()
    suite.options["regimes"] = "same"
    (suite.own_model() / "chat_template.jinja").write_text(TEMPLATE)
    questions = [{"question": f"how many {at}", "answer": "ba"} for at in range(10)]
    write_documents(suite.path / "questions.jsonl", questions)
    suite.pytester.makepyfile(
        test_it="""
        def test_questions(gate):
            gate("questions.jsonl", tolerance=0.3, items=8)

        def test_lambada(gate):
            gate("lambada", tolerance=0.3, items=8)
        """
    )
    return suite


def prompts(suite: Suite) -> dict[str, str]:
    report = load_report(suite.path / "reports/qllm.json")
    return {one.benchmark: (one.beginnings[0] if one.beginnings else "") + one.prompts[0] for one in report.texts}


def test_another_word_is_a_usage_error(suite: Suite) -> None:
    assert_refused(suite.run(chat_template="yes"), "--qllm-chat-template is 'yes'", "auto, on, off")


@pytest.mark.parametrize(("given", "chatted"), [("off", ()), (None, ("questions",)), ("on", ("questions", "lambada"))])
def test_who_is_asked_in_it(instructed: Suite, given: str | None, chatted: tuple[str, ...]) -> None:
    instructed.run(chat_template=given)
    verdicts = {one["benchmark"]: one["provenance"]["benchmark"] for one in instructed.report["verdicts"]}
    assert {name for name, one in verdicts.items() if "chat_template" in one} == set(chatted)
    asked = prompts(instructed)
    assert {name for name, prompt in asked.items() if "<bos>user: " in prompt} == set(chatted)
    if "questions" in chatted:
        assert asked["questions"].endswith("\n<bos>assistant: ")
        assert "user: Question: how many" in asked["questions"]


def test_its_text_is_part_of_the_store_s_key(instructed: Suite) -> None:
    instructed.run("-k", "questions")
    instructed.scored.clear()
    instructed.run("-k", "questions")
    assert instructed.scored == []
    template = Path(str(instructed.options["model"])) / "chat_template.jinja"
    template.write_text(TEMPLATE.replace("assistant", "helper"))
    instructed.run("-k", "questions")
    assert {name for name, _ in instructed.scored} == {"questions"}


def test_a_model_without_one(instructed: Suite) -> None:
    (Path(str(instructed.options["model"])) / "chat_template.jinja").unlink()
    instructed.run()
    assert instructed.report["errors"] == []
    assert "chat_template" not in json.dumps([one["provenance"] for one in instructed.report["verdicts"]])
    assert_refused(instructed.run("-k", "lambada", chat_template="on"), "'on', and", "has no chat template; expected")


def test_a_template_that_refuses_a_system_message_goes_without(instructed: Suite) -> None:
    """As lm-eval does it."""
    refusing = "{% for message in messages if message['role'] == 'system' %}{{ raise_exception('none') }}{% endfor %}"
    (Path(str(instructed.options["model"])) / "chat_template.jinja").write_text(refusing + TEMPLATE)
    (instructed.path / "tasks").mkdir()
    task = {
        "task": "described",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        "description": "Be brief.",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["x"], "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"qllm": {"chat": True}},
    }
    (instructed.path / "tasks/described.yaml").write_text(json.dumps(task))
    instructed.pytester.makepyfile(test_it="def test_it(gate):\n    gate('tasks/described.yaml', tolerance=0.3)\n")
    instructed.run()
    assert prompts(instructed)["described"].startswith("<bos>user: how many")


def test_is_an_ini_value_and_in_the_command(instructed: Suite) -> None:
    instructed.pytester.makeini("[pytest]\nqllm_chat_template = off\n")
    instructed.run()
    assert instructed.report["provenance"]["settings"]["chat_template"] == "off"
    assert "--qllm-chat-template=off" in instructed.report["verdicts"][0]["rerun"]
