"""`gate("data/tickets.jsonl")`: the user's own questions, their choices, and a function of theirs that scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import WORDS, write_documents
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from conftest import Suite, assert_refused

ITEMS = 60
GATE = "def test_it(gate):\n    gate('data/tickets.jsonl', {})\n"


@pytest.fixture
def tickets(suite: Suite, questions: list[dict]) -> Suite:
    """A file of questions that the model answers but for every tenth; ``data`` is the source of other benchmarks."""
    suite.more_regimes()
    suite.options["regimes"] = "same,destroyed"
    write_documents(suite.path / "data/tickets.jsonl", questions)
    return suite


@pytest.fixture(scope="module")
@torch.inference_mode()
def questions(tiny_model: Path) -> list[dict]:
    network = LlamaForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_model)
    generator = torch.Generator().manual_seed(5)
    found = []
    for at in range(ITEMS):
        question = " ".join(WORDS[one] for one in torch.randint(len(WORDS), (5,), generator=generator))
        prompt = torch.tensor([tokenizer.encode(f"Question: {question}\nAnswer:")])
        made = network.generate(prompt, max_new_tokens=64, do_sample=False)[0, prompt.shape[1] :]
        answer = tokenizer.decode(made, skip_special_tokens=True).split("\n")[0]
        answer = f" {answer.strip().upper()}. " if at % 10 else "nothing of the kind"
        found.append({"question": question, "answer": answer, "of": at % 7, "by": f"{at} x"})
    return found


def gate(suite: Suite, words: str = "tolerance=0.1", before: str = "") -> None:
    suite.pytester.makepyfile(test_it=before + GATE.format(words))


def test_answers_are_right_but_for_capitals_and_signs(tickets: Suite) -> None:
    gate(tickets)
    tickets.run().assert_outcomes(passed=2, failed=1)
    assert tickets.outcomes == {("same", "tickets"): "PASS", ("destroyed", "tickets"): "FAIL"}
    verdict = tickets.verdicts["same", "tickets"]
    assert (verdict["metric"], verdict["dimension"]) == ("exact_match", "other")
    assert 0.8 < verdict["baseline"] < 1
    assert verdict["provenance"]["data"] == "tickets.jsonl"
    tickets.scored.clear()
    tickets.run()
    assert tickets.scored == []


def test_an_edited_question_is_asked_again(tickets: Suite) -> None:
    gate(tickets)
    tickets.run(regimes="same", max_items=8)
    file = tickets.path / "data/tickets.jsonl"
    file.write_text(file.read_text().replace('question": "', 'question": "well '))
    tickets.scored.clear()
    tickets.run(regimes="same", max_items=8)
    assert tickets.scored


def test_clusters_are_a_field(tickets: Suite) -> None:
    file = tickets.path / "data/tickets.jsonl"
    file.write_text(file.read_text().replace('"of":', '"cluster":'))
    gate(tickets)
    tickets.run("--qllm-fixed-n", regimes="same")
    assert tickets.verdicts["same", "tickets"]["interval"] == "Gaffke over clusters"


def test_one_of_several_choices(tickets: Suite) -> None:
    documents = [
        {"question": f"{at}?", "choices": ["ba", "do", "fa"], "answer": ["do", 2, "ba"][at % 3]} for at in range(ITEMS)
    ]
    write_documents(tickets.path / "data/tickets.jsonl", documents)
    gate(tickets)
    tickets.run(regimes="same")
    verdict = tickets.verdicts["same", "tickets"]
    assert (verdict["metric"], verdict["verdict"]) == ("acc", "NO_SIGNAL")  # nobody knows the answers
    assert "chance is 33.3 %" in verdict["reason"].replace("%", " %").replace("  ", " ")


RIGHT = "def right(item, answer) -> bool:\n    return answer.strip().upper().startswith(item['answer'][1:5])\n\n\n"
GRADE = (
    "def grade(item, answer) -> float:\n"
    "    return (min(len(answer), 900) + sum(map(ord, item['question'])) % 100) / 1000\n\n\n"
)


def test_a_function_says_what_is_right(tickets: Suite) -> None:
    gate(tickets, "score=right, tolerance=0.1", RIGHT)
    tickets.run().assert_outcomes(passed=2, failed=1)
    verdict = tickets.verdicts["same", "tickets"]
    assert (verdict["metric"], verdict["verdict"]) == ("right", "PASS")
    assert 0.8 < verdict["baseline"] < 1
    assert verdict["flips"] == {"broken": 0, "mended": 0}
    assert verdict["provenance"]["score"].startswith("right ")


def test_an_edited_function_is_in_force_without_asking_again(tickets: Suite) -> None:
    gate(tickets, "score=grade, tolerance=0.1", GRADE)
    tickets.run("--qllm-fixed-n", regimes="same").assert_outcomes(passed=2)
    before = tickets.verdicts["same", "tickets"]
    assert before["interval"] == "Gaffke"
    tickets.scored.clear()
    gate(tickets, "score=grade, tolerance=0.1", GRADE.replace("/ 1000", "/ 2000"))
    tickets.run("--qllm-fixed-n", regimes="same").assert_outcomes(passed=2)
    assert tickets.verdicts["same", "tickets"]["baseline"] == pytest.approx(before["baseline"] / 2)
    assert tickets.scored == []


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (RIGHT.replace(" -> bool", ""), ("score=right does not say what it gives", "-> bool")),
        (RIGHT.replace("item, answer", "item"), ("score=right does not say what it gives",)),
        (RIGHT.replace("return ", "return 2 + "), ("right gives", "expected True or False")),
        (GRADE.replace("/ 1000", "").replace("grade", "right"), ("right gives", "expected a number from 0 to 1")),
        (RIGHT.replace("'answer'", "'reply'"), ("right fails with KeyError ('reply') on the answer",)),
    ],
    ids=["unsaid", "one argument", "a number", "beyond 1", "failing"],
)
def test_a_function_that_gives_something_else(tickets: Suite, function: str, words: tuple[str, ...]) -> None:
    gate(tickets, "score=right, tolerance=0.1, items=8", function)
    assert_refused(tickets.run(regimes="same"), *words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "tickets.jsonl has no items: it is empty"),
        ("{", "line 1 is no JSON"),
        ('{"answer": "x"}', "line 1 has no 'question'; expected"),
        ('{"question": "x"}', "line 1 has the answer None; expected"),
        ('{"question": "x", "choices": ["a"], "answer": 0}', "expected a list of at least two"),
        ('{"question": "x", "choices": ["a", "b"], "answer": "c"}', "none of its choices"),
        ('{"question": "x", "choices": ["1", "0"], "answer": 1}', "a choice and the place of another"),
        ('{"question": "x", "answer": "y", "cluster": 1}\n{"question": "z", "answer": "y"}', "1 of 2 lines have"),
        ('{"question": "x", "choices": ["a", "b"], "answer": 0}\n{"question": "z", "answer": "y"}', "have 'choices'"),
    ],
)
def test_a_line_that_is_no_question(suite: Suite, content: str, words: str) -> None:
    (suite.path / "data").mkdir()
    (suite.path / "data/tickets.jsonl").write_text(content)
    gate(suite)
    assert_refused(suite.run(), words)


def test_a_file_that_is_not_there(suite: Suite) -> None:
    gate(suite)
    assert_refused(suite.run(), "there is no file", "data/tickets.jsonl", "relative to the rootdir")


def test_two_files_of_one_name(tickets: Suite) -> None:
    (tickets.path / "tickets.jsonl").write_text((tickets.path / "data/tickets.jsonl").read_text())
    gate(tickets, "tolerance=0.1, items=8")
    tickets.pytester.makepyfile(test_other="def test_other(gate):\n    gate('tickets.jsonl', tolerance=0.1, items=8)\n")
    result = tickets.run("-k", "fp16", regimes="same")
    assert "would both be called 'tickets' in the report: rename one" in result.stdout.str()
    result.assert_outcomes(passed=1, failed=1, deselected=2)


def test_a_table_names_it_by_its_path(tickets: Suite) -> None:
    tickets.gates("lambada")
    tickets.pytester.makepyfile(test_it="def test_it(gate):\n    gate('data/tickets.jsonl', items=8)\n")
    tickets.pytester.makepyprojecttoml(
        '[tool.qllm.tolerances."data/tickets.jsonl"]\n8 = 0.07\n'
        '[tool.qllm.expected.destroyed."data/tickets.jsonl"]\nreason = "for tests"\nbound = 0.99\n'
    )
    tickets.run(max_items=8)
    assert tickets.verdicts["same", "tickets"]["tolerance"] == 0.07
    assert tickets.verdicts["destroyed", "tickets"]["expected"]["reason"] == "for tests"
    assert tickets.report["errors"] == []


def test_is_planned_and_collected(tickets: Suite) -> None:
    gate(tickets)
    tickets.run("--collect-only", "-q").stdout.fnmatch_lines(["*test_it?same?"])
    result = tickets.run("--qllm-plan", regimes="same")
    assert "tickets" in result.stdout.str()
    assert tickets.scored == []
