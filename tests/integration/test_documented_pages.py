"""The how-to pages and the tutorial, followed with the tiny model as their reader would."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from follow import blocks, follow
from tiny import write_documents

from conftest import Suite
from pytest_qllm import cli

PAGES = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (PAGES / name).read_text()


def write_files(suite: Suite, name: str, *titles: str) -> None:
    """The files of a page that it names so; of several of one name the first."""
    of_page = {block.title: block.body for block in reversed(list(blocks(page(name)))) if block.title}
    for title in titles:
        file = suite.path / title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(of_page[title])


def commands(name: str, containing: str) -> list[list[str]]:
    """Arguments of the page's pytest commands that have these words."""
    lines = [line for block in blocks(page(name)) for line in block.commands]
    found = [shlex.split(line)[1:] for line in lines if line.startswith("pytest ") and containing in line]
    assert found, containing
    return found


def suites(suite: Suite) -> None:
    """The folder that a user copies, with those tests that the tiny data have items for."""
    for name in ("lambada", "story_perplexity", "arc_easy"):
        (suite.path / "suites/knowledge").mkdir(parents=True, exist_ok=True)
        (suite.path / f"suites/knowledge/test_{name}.py").write_text(f"def test_{name}(gate):\n    gate({name!r})\n")


def test_own_checkpoint(suite: Suite) -> None:
    suites(suite)
    checkpoint = suite.own_model().rename(suite.path / "my-model")
    (suite.path / "checkpoints").mkdir()
    checkpoint.rename(suite.path / "checkpoints/my-model")
    given = dict.fromkeys(("model", "regimes", "dtype"))
    for arguments in commands("how-to/own-checkpoint.md", "--qllm-model"):
        if "--qllm-trust-remote-code=fp16" in arguments:
            continue  # test_option_trust_remote_code.py has a model that brings code
        suite.run(*[one for one in arguments if one not in ("-n", "2")], **given)
        assert suite.report["errors"] == []
        assert {verdict["model"] for verdict in suite.report["verdicts"]} == {str(suite.path / "checkpoints/my-model")}
    write_files(suite, "how-to/own-checkpoint.md", "test_release.py", "pyproject.toml")
    suite.run("test_release.py", **given)
    assert suite.report["provenance"]["settings"]["dtype"] == "float32"
    assert suite.verdicts["bnb-int8", "lambada"]["tolerance"] == 0.02
    assert suite.verdicts["bnb-nf4", "arc_easy"]["tolerance"] == 0.03
    assert suite.verdicts["bnb-nf4", "arc_easy"]["planned"] == 48


OWN = "how-to/own-benchmark.md"


def test_own_questions(suite: Suite) -> None:
    write_files(suite, OWN, "data/capitals.jsonl", "test_capitals.py")
    for arguments in commands(OWN, "test_capitals.py"):
        suite.run(*arguments, data=None, regimes=None)
    assert suite.report["errors"] == []
    assert {(one["benchmark"], one["n"], one["metric"]) for one in suite.report["baselines"]} == {
        ("capitals", 2, "exact_match")
    }


def test_own_choices_and_function(suite: Suite) -> None:
    write_files(suite, OWN, "data/teams.jsonl", "data/summaries.jsonl", "test_summaries.py")
    suite.pytester.makepyfile(test_teams="def test_teams(gate):\n    gate('data/teams.jsonl')\n")
    suite.run(data=None, regimes="bnb-int8")
    assert suite.report["errors"] == []
    assert {(one["benchmark"], one["metric"]) for one in suite.report["baselines"]} == {
        ("teams", "acc"),
        ("summaries", "brief"),
    }


def grown(suite: Suite) -> None:
    """The page's items, thirty times each."""
    data = suite.path / "data/tickets/test.jsonl"
    shown = [json.loads(line) for line in data.read_text().splitlines()]
    write_documents(data, [{**shown[at % 2], "ticket": f"{at}: {shown[at % 2]['ticket']}"} for at in range(60)])


def test_own_task_file(suite: Suite) -> None:
    write_files(suite, OWN, "test_tickets.py", "tasks/tickets.yaml", "data/tickets/test.jsonl")
    grown(suite)
    for arguments in commands(OWN, "test_tickets.py"):
        suite.run(*arguments, data=None, regimes=None)
    assert set(suite.verdicts) == {("bnb-int8", "tickets"), ("bnb-nf4", "tickets")}
    found = {(one["n"], one["verdict"], one["dimension"]) for one in suite.report["verdicts"]}
    assert found == {(60, "NO_SIGNAL", "domain")}
    assert suite.report["errors"] == []


def test_own_benchmark_of_a_plugin(suite: Suite) -> None:
    write_files(suite, OWN, "conftest.py", "tasks/tickets.yaml", "data/tickets/test.jsonl")
    grown(suite)
    suite.gates("tickets")
    suite.run(data=None, regimes="bnb-int8")
    assert suite.outcomes == {("bnb-int8", "tickets"): "NO_SIGNAL"}


def test_a_task_of_lm_evals(suite: Suite) -> None:
    (block,) = [one for one in blocks(page(OWN)) if 'gate("openbookqa"' in one.body]
    suite.pytester.makepyfile(test_it=block.body)
    riddles = (suite.own_data() / "arc_easy/validation.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in riddles]
    write_documents(
        suite.path / "data/openbookqa/test.jsonl",
        [{**document, "question_stem": document["question"]} for document in documents],
    )
    suite.run("-k", "openbookqa", regimes="bnb-int8")
    assert suite.outcomes == {("bnb-int8", "openbookqa"): "NO_SIGNAL"}


def test_own_regime(suite: Suite) -> None:
    suites(suite)
    write_files(suite, "how-to/own-regime.md", "conftest.py", "rounded.py")
    for arguments in commands("how-to/own-regime.md", "rounded-4bit"):
        suite.run(*arguments, regimes=None)
    assert suite.report["errors"] == []
    verdict = suite.verdicts["rounded-4bit", "story_perplexity"]
    assert (verdict["bits"], verdict["provenance"]["kernels"]) == (4, "exact")
    assert verdict["effect"] > 1


def test_offline(suite: Suite) -> None:
    suites(suite)
    suite.own_model().rename(suite.path / "my-model")
    (suite.path / "checkpoints").mkdir()
    (suite.path / "my-model").rename(suite.path / "checkpoints/my-model")
    suite.own_data()
    for arguments in commands("how-to/offline.md", "--qllm-data=data"):
        suite.run(*arguments, model=None, data=None, regimes=None)
    assert suite.report["errors"] == []
    assert suite.outcomes["bnb-int8", "lambada"] == "PASS"


def test_the_tutorial(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    ended = []

    def run(command: str) -> str:
        program, *arguments = shlex.split(command)
        if program == "pytest":
            result = suite.run(*arguments, regimes=None)
            ended.append(result.ret)
            return result.stdout.str() + result.stderr.str()
        assert program == "pytest-qllm"
        ended.append(cli.main(arguments))
        return capsys.readouterr().out

    follow(page("tutorial.md").replace("gptq-4bit", "bnb-nf4"), suite.path, run)  # GPTQ takes a minute
    assert set(ended) <= {0, 1}
    assert {"bnb-int8", "bnb-nf4"} == {regime for regime, _ in suite.verdicts}
    assert suite.report["errors"] == []
    assert suite.verdicts["bnb-nf4", "story_perplexity"]["expected"] is not None
