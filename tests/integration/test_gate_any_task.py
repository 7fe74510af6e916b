"""`gate("openbookqa")`, `gate("tasks/tickets.yaml")`: any of lm-eval's tasks by name, and the user's own task file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import write_documents

from conftest import Suite, assert_refused

TASK = """
task: tickets
dataset_path: json
dataset_kwargs:
  data_files: {test: items.jsonl}
test_split: test
process_docs: !function utils.shouted
output_type: multiple_choice
doc_to_text: "Ticket: {{ticket}}\\nTeam:"
doc_to_choice: teams
doc_to_target: team
metric_list:
  - {metric: brier_score}
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata:
  version: 1
  qllm: {dimension: domain, items: 30, cluster: [about]}
"""
UTILS = "def shouted(data):\n    return data.map(lambda one: {**one, 'ticket': one['ticket'].upper()})\n"
TEAMS = ["billing", "network", "hardware"]


@pytest.fixture
def riddles(suite: Suite) -> list[dict]:
    suite.more_regimes()
    suite.options["regimes"] = "same"
    file = Path(str(suite.options["data"])) / "arc_easy/validation.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def gate(suite: Suite, name: str, **words: object) -> None:
    given = "".join(f", {word}={value!r}" for word, value in words.items())
    suite.pytester.makepyfile(test_it=f"def test_it(gate):\n    gate({name!r}{given})\n")


def test_a_task_of_lm_eval_s_by_name(suite: Suite, riddles: list[dict]) -> None:
    suite.own_data()
    documents = [{**one, "question_stem": one["question"]} for one in riddles]
    write_documents(suite.path / "data/openbookqa/test.jsonl", documents)
    gate(suite, "openbookqa", tolerance=0.3)
    suite.run().assert_outcomes(passed=1, skipped=1)
    verdict = suite.verdicts["same", "openbookqa"]
    assert (verdict["metric"], verdict["verdict"]) == ("acc", "NO_SIGNAL")
    assert verdict["provenance"]["benchmark"]["task"] == "openbookqa/openbookqa.yaml"


def test_a_group_s_tasks_are_subsets(suite: Suite, riddles: list[dict]) -> None:
    suite.own_data()
    for subset in ("arc_challenge", "arc_easy"):
        documents = [{**one, "question": f"{subset} {one['question']}"} for one in riddles]
        write_documents(suite.path / f"data/ai2_arc/{subset}/test.jsonl", documents)
    gate(suite, "ai2_arc", metric="acc_norm", tolerance=0.3)
    suite.run("--qllm-fixed-n").assert_outcomes(passed=1, skipped=1)
    (baseline,) = suite.report["baselines"]
    assert (baseline["n"], baseline["metric"]) == (2 * len(riddles), "acc_norm")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openbokqa", "unknown benchmark 'openbokqa'; nearest names: openbookqa"),
        ("squadv2", "a task in Python"),
        ("leaderboard", "gate its parts one by one"),
        ("humaneval", "runs what the model writes"),
    ],
)
def test_a_name_that_cannot_be_gated(suite: Suite, name: str, words: str) -> None:
    gate(suite, name)
    assert_refused(suite.run(regimes="bnb-int8"), words)


@pytest.fixture
def tickets(suite: Suite) -> Suite:
    """A task file of the user's with its function and its data beside it, and nothing in --qllm-data."""
    suite.more_regimes()
    suite.options["regimes"] = "same"
    (suite.path / "tasks").mkdir()
    (suite.path / "tasks/tickets.yaml").write_text(TASK)
    (suite.path / "tasks/utils.py").write_text(UTILS)
    documents = [{"ticket": f"{at} it fails", "teams": TEAMS, "team": at % 3, "about": at // 2} for at in range(40)]
    write_documents(suite.path / "tasks/items.jsonl", documents)
    gate(suite, "tasks/tickets.yaml", tolerance=0.3)
    return suite


def test_an_own_task_file(tickets: Suite) -> None:
    tickets.run().assert_outcomes(passed=1, skipped=1)
    verdict = tickets.verdicts["same", "tickets"]
    assert (verdict["dimension"], verdict["metric"], verdict["n"]) == ("domain", "acc", 30)
    assert "chance is 33.3%" in verdict["reason"]
    tickets.scored.clear()
    tickets.run()
    assert tickets.scored == []


@pytest.mark.parametrize("file", ["items.jsonl", "utils.py", "tickets.yaml"])
def test_what_is_edited_is_measured_again(tickets: Suite, file: str) -> None:
    tickets.run()
    tickets.scored.clear()
    path = tickets.path / "tasks" / file
    path.write_text(path.read_text().replace("fails", "smokes").replace("upper", "title").replace("Ticket:", "T:"))
    tickets.run()
    assert tickets.scored


def test_data_in_the_rootdir(tickets: Suite) -> None:
    (tickets.path / "tasks/items.jsonl").rename(tickets.path / "items.jsonl")
    tickets.run().assert_outcomes(passed=1, skipped=1)


def test_from_another_directory(tickets: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tickets.path / "tasks")
    tickets.run(f"--rootdir={tickets.path}", str(tickets.path / "test_it.py")).assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("items.jsonl", "absent.jsonl", "which the task's data_files name"),
        ("qllm: {dimension", "qllm: {dimensions", "metadata.qllm has 'dimensions'; expected dimension, metric"),
        ("items: 30", "items: many", "metadata.qllm.items is 'many'; expected a int"),
        ("cluster: [about]", "cluster: [topic]", "has no field 'topic', which names its cluster"),
        ("multiple_choice", "choices", "has the output_type 'choices'; supported are"),
        ("  - {metric: acc, aggregation: mean, higher_is_better: true}\n", "", "no metric that every item has"),
        ("task: tickets", "group: tickets", "expected the file of one task"),
    ],
)
def test_a_task_file_that_says_something_else(tickets: Suite, old: str, new: str, words: str) -> None:
    file = tickets.path / "tasks/tickets.yaml"
    assert old in TASK
    file.write_text(TASK.replace(old, new))
    assert_refused(tickets.run(), words)


def test_a_metric_from_the_hub_is_not_to_be_had(tickets: Suite) -> None:
    file = tickets.path / "tasks/tickets.yaml"
    metric = "{metric: no_such_metric, aggregation: mean, higher_is_better: true}"
    file.write_text(
        TASK.replace("multiple_choice", "generate_until")
        .replace("doc_to_choice: teams\n", "")
        .replace("doc_to_target: team", 'doc_to_target: "{{team}}"')
        .replace("{metric: brier_score}", metric)
        .replace("  - {metric: acc, aggregation: mean, higher_is_better: true}\n", "")
    )
    assert_refused(tickets.run(), "is scored by no_such_metric, which is none of lm-eval's own metrics")
