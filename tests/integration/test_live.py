"""The lines that change while tests run, seen in a terminal; and none of them where the output is no terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pyte = pytest.importorskip("pyte")
pytestmark = pytest.mark.slow

ANSWERS = """
    import os
    import time

    from pytest_qllm import live
    from pytest_qllm.progress import Reporter
    from pytest_qllm.questions import Questions
    from pytest_qllm.report.record import Record
    from pytest_qllm.session import Session
    from pytest_qllm.store import Count

    live.INTERVAL = 0.1
    live.RARELY = float(os.environ.get("RARELY", live.RARELY))

    def answer(self, benchmark, regime, _):
        reporter = Reporter.of(self.settings.store, self.config)
        reporter("loading " + regime.name)
        time.sleep(0.25)
        if os.environ.get("TELL"):
            reporter.tell(f"{benchmark} on {regime.name} will hardly be decided")
        for done in (0, 40, 80, 120):
            reporter(f"{benchmark}[{regime.name}]", Count(done, 120, 50.0 if done else None))
            time.sleep(0.4)
        known = dict(model="m", method="M", bits=8, dimension="d", metric="acc", scale="difference", n=120)
        verdict = {} if regime.is_baseline else dict(outcome="PASS", effect=0.0, candidate=0.5, ci=(0.0, 0.0))
        return Record(regime=regime.name, benchmark=benchmark, baseline=0.5, tolerance=0.03, **known, **verdict)

    Questions.of_benchmark = lambda self, node, regime, benchmark, *_: benchmark
    Session.sized = lambda self, regime: regime
    Session.answer = answer
"""
"""A conftest in which a gate takes a while and notes what it is on, as a laboratory does, and needs no model for it."""

LIVE = re.compile(r"^  (gw\d+ +)?(lambada|piqa)\[[\w-]+\]  +(\d+/\d+ items.*)$")


class Terminal:
    """A run of pytest in a terminal of its own, and what stood on it over time."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, rows: int = 40, **environment: str) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.seen: list[list[str]] = []
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env={**without(("CI", "NO_COLOR", "COLUMNS")), "TERM": "xterm-256color", **ALONE, **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def watch(self, until: Callable[[list[str]], bool] = lambda _: False, seconds: float = 120) -> list[str]:
        """Read until the screen is so, or the run has ended; the screen's lines."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    text = os.read(self._master, 65536)
                except OSError:
                    break
                self._stream.feed(text)
                self.seen.append(self.lines)
                if until(self.lines):
                    return self.lines
        else:
            raise AssertionError("\n".join(self.lines))
        self.process.wait(30)
        return self.lines

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def lines(self) -> list[str]:
        """What stands on the screen and above it."""
        above = ["".join(row[at].data for at in range(self._screen.columns)) for row in self._screen.history.top]
        return [line.rstrip() for line in (*above, *self._screen.display)]

    @property
    def live(self) -> list[str]:
        """Every line of the board that was ever there."""
        return [line for lines in self.seen for line in lines if LIVE.match(line)]

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)


COMMAND = [sys.executable, "-m", "pytest", "-p", "pytest_qllm.plugin", "-p", "xdist.plugin", "-p", "no:cacheprovider"]
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def without(names: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in names}


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """A user's directory with two gates."""
    pytester.makeconftest(ANSWERS)
    for name in ("lambada", "piqa"):
        pytester.makepyfile(**{f"test_{name}": f"def test_{name}(gate):\n    gate({name!r})\n"})
    pytester.makeini("[pytest]\nqllm_regimes = bnb-int8\nqllm_store = store\n")
    return pytester.path


@pytest.fixture
def terminal(folder: Path) -> Iterator[Callable[..., Terminal]]:
    begun: list[Terminal] = []

    def begin(*arguments: str, **more: Any) -> Terminal:
        begun.append(Terminal(folder, *arguments, **more))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


RESULT = r"(\[gw\d\] \[ *\d+%\] PASSED )?test_\w+\.py::test_\w+\[(fp16|bnb-int8)\]( PASSED +\[ *\d+%\])? *"
DOTS = r"(test_\w+\.py )?(\.+)( +\[ *\d+%\])? *"


@pytest.mark.parametrize("arguments", [("-q",), ("-n2", "-v"), ("-n2",)], ids=" ".join)
def test_the_board_is_there_while_tests_run_and_leaves_nothing(terminal: Any, arguments: tuple[str, ...]) -> None:
    shown = terminal(*arguments)
    last = shown.watch()
    assert shown.process.returncode == 0
    assert any(re.search(r"(40|80)/120 items  50 items/s  [12] s left$", line) for line in shown.live)
    workers = {match.group(1) for line in shown.live if (match := LIVE.match(line))}
    assert {worker and worker.strip() for worker in workers} == ({"gw0", "gw1"} if "-n2" in arguments else {None})
    start = next((at for at, line in enumerate(last) if re.match("collected|2 workers|bringing", line)), -1) + 1
    body = [line for line in last[start : next(at for at, line in enumerate(last) if " quantization " in line)] if line]
    if "-v" in arguments:
        body = [line for line in body if not line.startswith("scheduling")]
        assert all(re.fullmatch(RESULT, line) for line in body)
        assert len([line for line in body if "PASSED" in line]) == 4
    else:
        dots = [match.group(2) for line in body if (match := re.fullmatch(DOTS, line))]
        assert (len(body), "".join(dots)) == (len(dots), "....")


def test_two_workers_have_two_lines_below_what_pytest_writes(terminal: Any) -> None:
    shown = terminal("-n2")
    lines = shown.watch(lambda lines: len([line for line in lines if LIVE.match(line)]) == 2)
    at = next(at for at, line in enumerate(lines) if LIVE.match(line))
    assert [line.split()[0] for line in lines[at : at + 2]] == ["gw0", "gw1"]
    assert not any(lines[at + 2 :])


def test_ctrl_c_leaves_nothing_of_it(terminal: Any) -> None:
    shown = terminal()
    shown.watch(lambda lines: any(LIVE.match(line) for line in lines))
    os.killpg(shown.process.pid, signal.SIGINT)
    last = shown.watch()
    assert shown.process.returncode == pytest.ExitCode.INTERRUPTED
    assert any("KeyboardInterrupt" in line for line in last)
    assert not any(LIVE.match(line) for line in last)


def test_ctrl_c_under_xdist(terminal: Any) -> None:
    shown = terminal("-n2")
    shown.watch(lambda lines: any(LIVE.match(line) for line in lines))
    os.killpg(shown.process.pid, signal.SIGINT)
    last = shown.watch()
    assert shown.process.returncode == pytest.ExitCode.INTERRUPTED
    assert not any(LIVE.match(line) for line in last)


@pytest.mark.parametrize(("columns", "rows"), [(40, 12), (80, 4)])
def test_a_small_terminal(terminal: Any, columns: int, rows: int) -> None:
    shown = terminal("-n2", columns=columns, rows=rows)
    last = shown.watch()
    assert shown.process.returncode == 0
    assert not any("items/s" in line for line in last)
    assert sum(line.startswith("bnb-int8") for line in last) == 1


@pytest.mark.parametrize("arguments", [("-s",), ("-o", "log_cli=true")], ids=" ".join)
def test_where_tests_write_to_the_terminal_too_it_is_left_to_them(terminal: Any, arguments: tuple[str, ...]) -> None:
    shown = terminal(*arguments, "-k", "lambada")
    shown.watch()
    assert shown.process.returncode == 0
    assert shown.live == []


def test_a_line_that_must_not_get_lost_stays(terminal: Any) -> None:
    for arguments in ((), ("-n2",)):
        last = terminal(*arguments, "-k", "piqa", TELL="1").watch()
        assert "  qllm: piqa on bnb-int8 will hardly be decided" in last


@pytest.mark.parametrize("arguments", [("-n2",)], ids=" ".join)
def test_a_log_has_no_control_characters_and_no_board(folder: Path, arguments: tuple[str, ...]) -> None:
    run = subprocess.run([*COMMAND, *arguments], cwd=folder, env={**without(()), **ALONE}, capture_output=True)
    assert run.returncode == 0
    assert not re.search(rb"[\x00-\x08\x0b-\x1f]", run.stdout + run.stderr)
    assert b"items/s" not in run.stdout
    assert not list((folder / "store/progress").glob("*"))


def test_a_log_has_a_line_now_and_then(folder: Path) -> None:
    environment = {**without(()), **ALONE, "RARELY": "0.3"}
    for arguments in ((), ("-n2",)):
        run = subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True)
        lines = [line for line in run.stdout.decode().splitlines() if line.startswith("  qllm: ")]
        assert lines
        assert any(re.search(r"(gw\d )?lambada\[fp16\] \d+/120 items, 50 items/s", line) for line in lines)


def test_a_ci_s_terminal_is_a_log(terminal: Any) -> None:
    shown = terminal("-k", "lambada", CI="true")
    shown.watch()
    assert shown.live == []


def test_a_debugger_has_the_terminal_to_itself(terminal: Any, folder: Path) -> None:
    (folder / "test_lambada.py").write_text("def test_lambada(gate):\n    gate('lambada')\n    breakpoint()\n")
    shown = terminal("-k", "lambada and fp16")
    lines = shown.watch(lambda lines: any(line.startswith("(Pdb)") for line in lines))
    assert shown.live
    shown.seen.clear()
    time.sleep(1)
    shown.type("c\n")
    last = shown.watch()
    assert shown.process.returncode == 0
    assert not any(LIVE.match(line) for line in lines)
    assert shown.live == []
    assert sum("1 passed" in line for line in last) == 1
