"""Lines below pytest's own output that change while tests run.

rich's live display starts at the beginning of a line and owns what comes after. pytest's writer leaves its line
unfinished between tests, and goes on in it: so the lines are drawn below it, and the cursor goes back to where pytest
left it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

ERASE = "\x1b[J"  # from the cursor to the end of the screen: nothing of pytest's stands there


class Screen:
    """Draws below the line that pytest is writing. What pytest writes meanwhile erases the drawing first.

    Args:
        writer: pytest's.
        descriptor: of the terminal, which this owns from now on.
    """

    def __init__(self, writer: Any, descriptor: int) -> None:
        self.lock = threading.RLock()
        self._writer = writer
        self._descriptor = descriptor
        self._is_drawn = False
        self._guarded = [name for name in ("write", "write_raw") if hasattr(writer, name)]
        for name in self._guarded:
            setattr(writer, name, self._after_erasing(getattr(writer, name)))

    @classmethod
    def of(cls, config: pytest.Config) -> Screen | None:
        """The terminal of this session, or None where the output is no terminal, or others write to it as they like."""
        terminal = config.pluginmanager.getplugin("terminalreporter")
        is_pytest_s_own = type(terminal).__module__ == "_pytest.terminal"  # 8.3 has no public name for it
        if not is_pytest_s_own or config.getoption("capture", "no") != "fd" or _logs(config):
            return None
        if os.environ.get("CI") or os.environ.get("TERM", "dumb") == "dumb" or os.name != "posix":
            return None
        try:
            descriptor = os.dup(sys.stdout.fileno())  # a test that is captured takes the other away
        except (OSError, ValueError):
            return None
        if not os.isatty(descriptor):
            os.close(descriptor)
            return None
        return cls(config.get_terminal_writer(), descriptor)

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines instead of the last ones; as many as there is room for."""
        from rich.cells import set_cell_size

        with self.lock:
            columns, rows = _size(self._descriptor)
            at = self._writer.width_of_current_line
            if at and at % columns == 0:
                return  # at the margin, where terminals do not agree about what comes next
            shown = [set_cell_size(line, columns - 1).rstrip() for line in lines[: rows - 2]]
            below = "".join(f"\r\n{line}" for line in shown)
            back = f"\x1b[{len(shown)}A\r" if shown else ""
            right = f"\x1b[{at % columns}C" if shown and at else ""
            self._put(ERASE + below + back + right)
            self._is_drawn = bool(shown)

    def erase(self) -> None:
        with self.lock:
            if self._is_drawn:
                self._put(ERASE)
                self._is_drawn = False

    def close(self) -> None:
        """Erase, and leave pytest's writer as it was."""
        with self.lock:
            self.erase()
            for name in self._guarded:
                delattr(self._writer, name)
            self._guarded = []
            os.close(self._descriptor)

    def _after_erasing(self, write: Callable[..., None]) -> Callable[..., None]:
        def guarded(*arguments: Any, **markup: Any) -> None:
            with self.lock:
                self.erase()
                write(*arguments, **markup)

        return guarded

    def _put(self, text: str) -> None:
        with suppress(OSError):  # a terminal that was closed
            os.write(self._descriptor, text.encode(errors="replace"))


def _logs(config: pytest.Config) -> bool:
    """Whether pytest shows log records while tests run."""
    if not config.pluginmanager.hasplugin("logging"):
        return False
    return config.getoption("log_cli_level") is not None or bool(config.getini("log_cli"))


def _size(descriptor: int) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(descriptor)
    except OSError:
        columns, rows = 0, 0
    return (columns or 80), (rows or 24)
