"""The CI recipes of docs/how-to/ci.md: valid, and run job by job with the tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ci_service import Service, github, gitlab
from follow import blocks

from conftest import Suite
from pytest_qllm import cli

PAGE = Path(__file__).parents[2] / "docs/how-to/ci.md"
FILES = {block.title: block.body for block in blocks(PAGE.read_text()) if block.title}
RECIPES = {
    "github": (".github/workflows/gate.yml", "vendor.github-workflows", github),
    "gitlab": (".gitlab-ci.yml", "vendor.gitlab-ci", gitlab),
}


def recipe(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load(FILES[RECIPES[name][0]]))


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_what_the_service_reads(name: str, tmp_path: Path) -> None:
    title, schema, _ = RECIPES[name]
    file = tmp_path / Path(title).name
    file.write_text(FILES[title])
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    assert subprocess.run([*checker, file], capture_output=True, text=True).returncode == 0
    file.write_text(FILES[title].replace("artifacts:", "artefacts: 1\n  x:").replace("steps:", "step:"))
    assert subprocess.run([*checker, file], capture_output=True, text=True).returncode == 1


@pytest.fixture
def service(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A repository with three tests and an ini file; the options of the suite come from nowhere else."""
    (suite.path / "suites").mkdir()
    for name in ("lambada", "story_perplexity", "arc_easy"):
        (suite.path / f"suites/test_{name}.py").write_text(f"def test_{name}(gate):\n    gate({name!r})\n")
    suite.pytester.makeini(f"[pytest]\nqllm_model = {suite.options['model']}\nqllm_data = {suite.options['data']}\n")
    nothing = dict.fromkeys(suite.options)
    return Service(
        suite.path,
        tmp_path / "service",
        {"pytest": lambda arguments: int(suite.run(*arguments, **nothing).ret), "pytest-qllm": cli.main},
    )


def merged(service: Service, job: str = "report") -> dict[str, Any]:
    return dict(json.loads((service.work / job / "repository/merged/qllm.json").read_text()))


@pytest.mark.parametrize("name", RECIPES)
def test_every_shard_is_judged_and_the_merge_has_them_all(suite: Suite, service: Service, name: str) -> None:
    RECIPES[name][2](recipe(name), service)
    assert service.ended == {"baseline": 0, "regime bnb-int8": 0, "regime bnb-nf4": 1, "report": 1}
    verdicts = {(one["regime"], one["benchmark"]): one["verdict"] for one in merged(service)["verdicts"]}
    assert verdicts == {
        ("bnb-int8", "lambada"): "PASS",
        ("bnb-int8", "story_perplexity"): "PASS",
        ("bnb-int8", "arc_easy"): "NO_SIGNAL",
        ("bnb-nf4", "lambada"): "FAIL",
        ("bnb-nf4", "story_perplexity"): "FAIL",
        ("bnb-nf4", "arc_easy"): "NO_SIGNAL",
    }
    for regime in ("bnb-int8", "bnb-nf4"):
        assert (service.work / f"regime-{regime}/repository/reports/{regime}/junit.xml").is_file()


@pytest.mark.parametrize("name", RECIPES)
def test_the_baseline_is_measured_once_and_nothing_twice(suite: Suite, service: Service, name: str) -> None:
    RECIPES[name][2](recipe(name), service)
    baselines = [one for one in suite.scored if one[0] == "arc_easy"]  # without signal: measured on the baseline alone
    assert baselines == [("arc_easy", 40), ("arc_easy", 8)]
    suite.scored.clear()
    again = Service(service.checkout, service.work.with_name("again"), service.run, service.caches)
    _run(name, again, run_id="2")
    assert suite.scored == []
    assert again.ended == service.ended
    assert merged(again)["verdicts"] == merged(service)["verdicts"]


@pytest.mark.parametrize("name", RECIPES)
def test_without_caches_it_is_slower_and_not_wrong(suite: Suite, service: Service, name: str) -> None:
    content = _without_caches(recipe(name))
    RECIPES[name][2](content, service)
    assert [one for one in suite.scored if one[0] == "arc_easy"] == [("arc_easy", 40), ("arc_easy", 8)] * 3
    assert service.ended == {"baseline": 0, "regime bnb-int8": 0, "regime bnb-nf4": 1, "report": 1}
    assert len(merged(service)["verdicts"]) == 6


def test_a_gate_that_was_empty_is_found(suite: Suite) -> None:
    (suite.path / "judged.py").write_text(FILES["judged.py"])
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run(regimes="bnb-int8")

    def judged(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "judged.py", "reports/qllm.json", *arguments]
        return subprocess.run(command, cwd=suite.path, capture_output=True, text=True)

    assert judged("2", "bnb-int8").returncode == 0
    assert judged("3", "bnb-int8").stderr.startswith("bnb-int8 was judged on 2 benchmarks, expected 3: ")
    assert judged("1", "bnb-int8", "gptq-4bit").stderr.startswith("gptq-4bit was judged on 0 benchmarks")


def _run(name: str, service: Service, run_id: str) -> None:
    if name == "github":
        github(recipe(name), service, run_id)
    else:
        gitlab(recipe(name), service)


def _without_caches(content: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without what restores or saves a cache."""
    jobs: Mapping[str, Any] = content.get("jobs", content)
    left = {
        name: {
            key: [step for step in value if "cache" not in step.get("uses", "")] if key == "steps" else value
            for key, value in job.items()
            if key != "cache"
        }
        if isinstance(job, Mapping)
        else job
        for name, job in jobs.items()
    }
    return {**content, "jobs": left} if "jobs" in content else left
