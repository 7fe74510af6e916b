"""Progress inside a long test. Workers leave a line each in the store's folder; the controller shows what changes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

INTERVAL = 15.0
"""Seconds between two lines: often enough to see that it moves, seldom enough for a log."""


class Reporter:
    """Takes progress lines in the process that runs tests."""

    def __init__(self, store: Path, config: pytest.Config) -> None:
        worker = getattr(config, "workerinput", None)
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._terminal = None if worker else config.pluginmanager.getplugin("terminalreporter")
        self._file = _folder(store, worker["testrunuid"]) / worker["workerid"] if worker else None
        self._last = time.monotonic()

    def __call__(self, line: str) -> None:
        self._show(line, at_once=False)

    def tell(self, line: str) -> None:
        """A line that must not get lost among the others: shown at once where there is a terminal."""
        self._show(line, at_once=True)

    def _show(self, line: str, *, at_once: bool) -> None:
        if self._file is not None:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.write_text(line)
            except OSError:
                return  # a full disk is told where it loses something; a progress line is no loss
        elif self._terminal is not None and (at_once or time.monotonic() - self._last >= INTERVAL):
            self._last = time.monotonic()
            if self._capture is not None:
                with self._capture.global_and_fixture_disabled():
                    self._terminal.write_line(f"  qllm: {line}")


class Board:
    """Shows in the controller, every now and then, what each worker is at."""

    def __init__(self, store: Path, config: pytest.Config) -> None:
        self._store = store
        self._config = config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._shown: dict[str, str] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        session = self._config.pluginmanager.getplugin("dsession")
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        while not self._stop.wait(INTERVAL):
            manager = getattr(session, "nodemanager", None)
            if manager is None or terminal is None:
                continue
            folder = _folder(self._store, manager.testrunuid)
            parts = [f"{file.name} {line}" for file in sorted(folder.glob("*")) if (line := self._news(file))]
            if parts:
                terminal.write_line(f"\n  qllm: {' | '.join(parts)}")

    def _news(self, file: Path) -> str:
        try:
            line = file.read_text()
        except OSError:
            return ""
        if self._shown.get(file.name) == line:
            return ""
        self._shown[file.name] = line
        return line


def _folder(store: Path, run: str) -> Path:
    return store / "progress" / run
