"""A CI service in small: jobs in directories of their own, with caches and artifacts that are carried between them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

Program = Callable[[list[str]], int]
"""Runs a program of ours in the current directory, with these arguments; returns its exit status."""

# In the shell of a step our programs only write down how they were called, after all expansions.
CALLED = r"""
called() { printf '%s\037' "$@" >> "$CALLS"; echo >> "$CALLS"; }
pytest() { called pytest "$@"; }
pytest-qllm() { called pytest-qllm "$@"; }
"""


@dataclass
class Service:
    """What lasts longer than a job.

    Attributes:
        checkout: the repository.
        work: where jobs get their directories.
        run: by the program's name, what runs it.
    """

    checkout: Path
    work: Path
    run: Mapping[str, Program]
    caches: dict[str, Path] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    """By job, the exit status of its last step."""

    def job(self, name: str) -> Job:
        folder = self.work / re.sub(r"\W+", "-", name)
        shutil.copytree(self.checkout, folder / "repository")
        return Job(self, name, folder / "repository", folder)

    def keep(self, kind: dict[str, Path], key: str, job: Job, paths: Sequence[str]) -> None:
        """Keep what is at these paths of a job, in place of what had that key."""
        kept = self.work / "kept" / str(len(self.caches) + len(self.artifacts)) / re.sub(r"\W+", "-", key)
        for path in paths:
            source = job.place(path)
            if source.is_dir():
                shutil.copytree(source, kept / path.replace("~", "HOME"), dirs_exist_ok=True)
        kind[key] = kept

    def restore(self, kept: Path, job: Job, paths: Sequence[str]) -> None:
        for path in paths:
            source = kept / path.replace("~", "HOME")
            if source.is_dir():
                shutil.copytree(source, job.place(path), dirs_exist_ok=True)


@dataclass
class Job:
    service: Service
    name: str
    folder: Path
    home: Path

    def place(self, path: str) -> Path:
        return self.home / "home" / path[2:] if path.startswith("~/") else self.folder / path

    def shell(self, script: str, environment: Mapping[str, str]) -> int:
        """Run a step's script: in bash, but for our programs, which run in this process one after another."""
        if script.startswith("pip install "):
            return 0
        calls = self.home / "calls"
        calls.write_text("")
        ours = {"CALLS": str(calls), "HOME": str(self.home / "home"), **environment}
        done = subprocess.run(["bash", "-e", "-c", CALLED + script], cwd=self.folder, env={**os.environ, **ours})
        status = done.returncode
        for call in calls.read_text().splitlines():
            program, *arguments = call.split("\x1f")[:-1]
            status = status or self._ours(program, arguments, ours)
        return status

    def _ours(self, program: str, arguments: list[str], environment: Mapping[str, str]) -> int:
        before, there = dict(os.environ), Path.cwd()
        os.environ.update(environment)
        os.chdir(self.folder)
        try:
            return int(self.service.run[program](arguments))
        finally:
            os.chdir(there)
            os.environ.clear()
            os.environ.update(before)


def github(workflow: Mapping[str, Any], service: Service, run_id: str = "1") -> None:
    """Run a workflow's jobs in order, each for every value of its matrix.

    Raises:
        KeyError: for an expression or an action that is not known here.
    """
    for name, job in workflow["jobs"].items():
        axes = job.get("strategy", {}).get("matrix", {})
        needed = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        failed = any(service.ended[one] for one in service.ended if one.split(" ")[0] in needed)
        if failed and "cancelled" not in job.get("if", ""):
            service.ended[name] = 1
            continue
        for values in product(*axes.values()):
            given = {f"matrix.{axis}": value for axis, value in zip(axes, values, strict=True)}
            given |= {"github.run_id": run_id, "github.run_attempt": "1"}
            _github_job(" ".join([name, *values]), _filled({**workflow.get("env", {})}, given), job, given, service)


def _github_job(
    name: str, environment: dict[str, str], job: Mapping[str, Any], given: Mapping[str, str], service: Service
) -> None:
    machine = service.job(name)
    service.ended[name] = 0
    for raw in job["steps"]:
        step = _filled({key: value for key, value in raw.items() if key != "if"}, given)
        if service.ended[name] and not re.search(r"always|cancelled", raw.get("if", "")):
            continue
        if "run" in step:
            service.ended[name] = service.ended[name] or machine.shell(step["run"], environment)
        else:
            ACTIONS[step["uses"].partition("@")[0]](machine, step.get("with", {}))


def _restore(machine: Job, words: Mapping[str, Any]) -> None:
    service = machine.service
    begins = [words["key"], *words.get("restore-keys", "").split()]
    found = next((key for begin in begins for key in reversed(service.caches) if key.startswith(begin)), None)
    if found is not None:
        service.restore(service.caches[found], machine, words["path"].split())


def _save(machine: Job, words: Mapping[str, Any]) -> None:
    assert words["key"] not in machine.service.caches, "a cache is never rewritten"
    machine.service.keep(machine.service.caches, words["key"], machine, words["path"].split())


def _upload(machine: Job, words: Mapping[str, Any]) -> None:
    machine.service.keep(machine.service.artifacts, words["name"], machine, [words["path"]])


def _download(machine: Job, words: Mapping[str, Any]) -> None:
    assert words["merge-multiple"]
    for name, kept in machine.service.artifacts.items():
        if name.startswith(words["pattern"].removesuffix("*")):
            machine.service.restore(kept, machine, [words["path"]])


ACTIONS: dict[str, Callable[[Job, Mapping[str, Any]], None]] = {
    "actions/checkout": lambda *_: None,
    "actions/setup-python": lambda *_: None,
    "actions/cache/restore": _restore,
    "actions/cache/save": _save,
    "actions/upload-artifact": _upload,
    "actions/download-artifact": _download,
}


def _filled(value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(entry, given) for key, entry in value.items()}
    return re.sub(r"\$\{\{ *(.+?) *\}\}", lambda found: given[found[1]], value) if isinstance(value, str) else value


def gitlab(pipeline: Mapping[str, Any], service: Service) -> None:
    """Run a pipeline's jobs stage by stage, each for every value of its matrix; artifacts reach all later stages."""
    failed = False
    for stage in pipeline["stages"]:
        jobs = {name: job for name, job in pipeline.items() if isinstance(job, Mapping) and job.get("stage") == stage}
        for name, job in jobs.items():
            if failed and job.get("when") != "always":
                service.ended[name] = 1
                continue
            [axes] = job.get("parallel", {}).get("matrix", [{}])
            for values in product(*axes.values()):
                given = dict(zip(axes, values, strict=True))
                _gitlab_job(" ".join([name, *values]), {**pipeline["variables"], **given}, job, service)
        failed = failed or any(service.ended[one] for one in service.ended if one.split(" ")[0] in jobs)


def _gitlab_job(name: str, variables: dict[str, str], job: Mapping[str, Any], service: Service) -> None:
    machine = service.job(name)
    variables["CI_PROJECT_DIR"] = str(machine.folder)
    expanded = {key: _expanded(value, variables) for key, value in variables.items()}
    caches = job.get("cache", [])
    caches = [caches] if isinstance(caches, Mapping) else caches
    for cache in caches:
        key = _expanded(cache["key"], expanded)
        if key in service.caches:
            service.restore(service.caches[key], machine, cache["paths"])
    for kept in service.artifacts.values():
        service.restore(kept, machine, [path.name for path in kept.iterdir()])
    service.ended[name] = 0
    for script in job["script"]:
        service.ended[name] = service.ended[name] or machine.shell(script, expanded)
    for cache in caches:
        if cache.get("policy") != "pull" and (not service.ended[name] or cache.get("when") == "always"):
            service.keep(service.caches, _expanded(cache["key"], expanded), machine, cache["paths"])
    artifacts = job.get("artifacts")
    if artifacts and (not service.ended[name] or artifacts.get("when") == "always"):
        service.keep(service.artifacts, name, machine, artifacts["paths"])


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda found: variables[found[1]], text)
