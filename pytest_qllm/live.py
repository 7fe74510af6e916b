"""The board of the process that reports: a line for each worker below pytest's output, or now and then one in a log."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import pytest

from pytest_qllm.progress import BOARD, Mailbox, Step, folder
from pytest_qllm.screen import Screen

INTERVAL = 0.5
"""Seconds between two drawings."""

RARELY = 60.0
"""Seconds between two lines in a log: often enough to see that it moves, seldom enough to be read."""

WORKERS = 8
"""Lines of workers; a machine with more of them has a count of the others."""


class Board:
    """Shows what each worker is on. A plugin: it begins with the first test that gates and ends with the session.

    Args:
        config: of the session.
        store: in which workers leave their notes.
        is_ours: whether the test of that id is a gate.
    """

    def __init__(self, config: pytest.Config, store: Path, is_ours: Callable[[str], bool]) -> None:
        self._config = config
        self._store = store
        self._is_ours = is_ours
        self._screen = Screen.of(config)
        self._lock = threading.RLock() if self._screen is None else self._screen.lock
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own: Step | None = None
        self._told: dict[str, int] = {}
        self._paused = False
        self._last_line = time.monotonic()
        self._last_text = ""

    @classmethod
    def watch(cls, config: pytest.Config, store: Path, is_ours: Callable[[str], bool]) -> None:
        """Set one up for this session."""
        config.pluginmanager.register(cls(config, store, is_ours), BOARD)

    # From the reporter of this process.

    def put(self, step: Step | None) -> None:
        """What this process is on; None: nothing."""
        self._own = step
        if self._screen is None and step is not None:
            self._log({"": step}, captured=True)

    def tell(self, line: str, *, captured: bool = True) -> None:
        """Show a line that stays, at once."""
        capture = self._config.pluginmanager.getplugin("capturemanager") if captured else None
        if capture is None:
            self._write(line)
        else:
            with capture.global_and_fixture_disabled():
                self._write(line)

    # From pytest.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> Generator[None, None, None]:
        if self._thread is None and self._is_ours(nodeid):
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        with self._lock:
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, None, None]:
        with self._lock:  # pytest writes a line in parts, and nothing may come between
            yield
            self._draw()

    def pytest_enter_pdb(self) -> None:
        with self._lock:
            self._paused = True
            if self._screen is not None:
                self._screen.erase()

    def pytest_leave_pdb(self) -> None:
        self._paused = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._own = None
        if self._screen is not None:
            self._screen.close()
            self._screen = None
        place = self._place()
        if place is not None:
            self._show_told(place)
            shutil.rmtree(place, ignore_errors=True)

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            place = self._place()
            if place is not None:
                self._show_told(place)
            if self._screen is not None:
                self._draw()
            elif place is not None:
                self._log(self._steps(place), captured=False)

    def _draw(self) -> None:
        with self._lock:
            if self._screen is None or self._paused or self._thread is None:
                return
            place = self._place()
            steps = self._steps(place) if place is not None else {"": self._own} if self._own is not None else {}
            lines = table(steps, time.time())
            if lines:
                self._screen.show(lines)
            else:
                self._screen.erase()

    def _log(self, steps: Mapping[str, Step], *, captured: bool) -> None:
        """A line for a log, if it is time and there is news."""
        if time.monotonic() - self._last_line < RARELY or self._config.option.verbose < 0:
            return
        now = time.time()
        parts = [" ".join(part for part in (name, step.what, ", ".join(step.figures(now))) if part)
                 for name, step in steps.items()]  # fmt: skip
        text = " | ".join(parts)
        if text and text != self._last_text:
            self._last_line, self._last_text = time.monotonic(), text
            self.tell(text, captured=captured)

    def _write(self, line: str) -> None:
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if terminal is None:
            return
        with self._lock:
            terminal.ensure_newline()
            if self._config.get_terminal_writer().width_of_current_line:
                terminal.write_line("")
            terminal.write_line(f"  qllm: {line}")
            terminal.flush()

    def _place(self) -> Path | None:
        """Where the workers' notes are; None without workers."""
        manager = getattr(self._config.pluginmanager.getplugin("dsession"), "nodemanager", None)
        return None if manager is None else folder(self._store, manager.testrunuid)

    def _steps(self, place: Path) -> dict[str, Step]:
        found = {file.stem: Mailbox(place, file.stem).step() for file in place.glob("*.json")}
        return {name: step for name, step in sorted(found.items(), key=_by_number) if step is not None}

    def _show_told(self, place: Path) -> None:
        for file in sorted(place.glob("*.told")):
            lines = Mailbox(place, file.stem).told(self._told.get(file.stem, 0))
            self._told[file.stem] = self._told.get(file.stem, 0) + len(lines)
            for line in lines:
                self.tell(line, captured=False)


def table(steps: Mapping[str, Step], now: float) -> list[str]:
    """A line for each worker, in columns."""
    rows = [(name, step.what, *step.figures(now)) for name, step in steps.items()][:WORKERS]
    depth = max(map(len, rows), default=0)
    padded = [[*row, *[""] * (depth - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*padded, strict=True)]
    lines = [
        "  " + "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True) if size).rstrip()
        for row in padded
    ]
    return lines + ([f"  ... and {len(steps) - WORKERS} more workers"] if len(steps) > WORKERS else [])


def _by_number(entry: tuple[str, Step | None]) -> tuple[int, str]:
    return len(entry[0]), entry[0]
