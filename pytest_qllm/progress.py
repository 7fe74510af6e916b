"""What a process that runs tests is on: told to the board of the same process, or left in a file for another."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_qllm.store import Count

if TYPE_CHECKING:
    from pytest_qllm.live import Board

BOARD = "qllm-board"
"""Name of the controller's board among pytest's plugins."""

OFTEN = 0.2
"""Seconds between two notes of the same work: a file is written for each."""


@dataclass(frozen=True)
class Step:
    """What a process is on.

    Attributes:
        what: the work, for people.
        began: when, in seconds of ``time.time``: processes of one machine have the same.
        at: when it got as far as ``count`` says.
        count: items done, of how many, and how fast; None where nothing is counted.
    """

    what: str
    began: float
    at: float
    count: Count | None = None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Step:
        count = content["count"]
        return cls(**{**content, "count": None if count is None else Count(**count)})

    def figures(self, now: float) -> list[str]:
        """Items, items a second and time left, as far as they are known; else how long it has taken so far."""
        waited = now - self.began
        since = [f"for {duration(waited)}"] if waited >= 2 else []
        if self.count is None:
            return since
        parts = [f"{self.count.done}/{self.count.total} items"]
        if not self.count.rate:
            parts += since
        else:
            parts.append(f"{self.count.rate:.3g} items/s")
            left = (self.count.total - self.count.done) / self.count.rate - (now - self.at)
            if left > 0:  # what takes longer than was thought has no known end
                parts.append(f"{duration(left)} left")
        return parts


def duration(seconds: float) -> str:
    """A time for people: ``38 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class Reporter:
    """Takes the notes of the process that runs tests. Also a plugin: it hears that a test has ended."""

    def __init__(self, store: Path, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        self._board: Board | None = None if worker else config.pluginmanager.getplugin(BOARD)
        self._mail = Mailbox(folder(store, worker["testrunuid"]), worker["workerid"]) if worker else None
        self._last: Step | None = None

    @classmethod
    def of(cls, store: Path, config: pytest.Config) -> Reporter:
        """The reporter of this process, made at the first call."""
        found = config.pluginmanager.getplugin("qllm-reporter")
        if not isinstance(found, cls):
            found = cls(store, config)
            config.pluginmanager.register(found, "qllm-reporter")
        return found

    def __call__(self, what: str, count: Count | None = None, /) -> None:
        now, last = time.time(), self._last
        same = last is not None and last.what == what
        if last is not None and same and now - last.at < OFTEN and not (count and count.done == count.total):
            return
        self._post(Step(what, last.began if last is not None and same else now, now, count))

    def tell(self, line: str) -> None:
        """A line that must not get lost among the others."""
        if self._mail is not None:
            self._mail.tell(line)
        elif self._board is not None:
            self._board.tell(line)

    def pytest_runtest_logfinish(self) -> None:
        """The test has ended: this process is on nothing."""
        if self._last is not None:
            self._post(None)

    def _post(self, step: Step | None) -> None:
        self._last = step
        if self._mail is not None:
            self._mail.put(step)
        elif self._board is not None:
            self._board.put(step)


class Mailbox:
    """Two files of a worker: what it is on, written anew each time, and lines that are told, one after another.

    A full disk is told where it loses something; a note is no loss.
    """

    def __init__(self, place: Path, worker: str) -> None:
        self._step = place / f"{worker}.json"
        self._told = place / f"{worker}.told"

    def put(self, step: Step | None) -> None:
        try:
            self._step.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._step.with_suffix(".tmp")
            unfinished.write_text(json.dumps(None if step is None else asdict(step)))
            os.replace(unfinished, self._step)
        except OSError:
            return

    def tell(self, line: str) -> None:
        try:
            self._told.parent.mkdir(parents=True, exist_ok=True)
            with self._told.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            return

    def step(self) -> Step | None:
        try:
            content = json.loads(self._step.read_text())
        except (OSError, ValueError):
            return None
        return None if content is None else Step.from_json(content)

    def told(self, after: int) -> list[str]:
        """Lines after the first so many."""
        try:
            *lines, _ = self._told.read_text().split("\n")  # the last may not be whole yet
        except OSError:
            return []
        return [str(json.loads(line)) for line in lines[after:]]


def folder(store: Path, run: str) -> Path:
    """Where the workers of a run leave their notes."""
    return store / "progress" / run
