"""What a worker notes, and how a board reads it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from pytest_qllm.live import WORKERS, table
from pytest_qllm.progress import Mailbox, Reporter, Step, duration, folder
from pytest_qllm.store import Count


class TestFigures:
    def test_without_a_count_it_is_how_long_it_has_taken(self):
        step = Step("loading nf4", began=100.0, at=100.0)
        assert step.figures(135.0) == ["for 35 s"]
        assert step.figures(100.5) == []

    def test_no_rate_is_told_before_anything_was_computed(self):
        step = Step("piqa[nf4]", 100.0, 100.0, Count(0, 120))
        assert step.figures(101.0) == ["0/120 items"]
        assert step.figures(150.0) == ["0/120 items", "for 50 s"]

    def test_time_left_is_of_the_items_that_are_left_less_what_has_passed_since(self):
        step = Step("piqa[nf4]", 100.0, 120.0, Count(40, 120, 2.0))
        assert step.figures(120.0) == ["40/120 items", "2 items/s", "40 s left"]
        assert step.figures(150.0) == ["40/120 items", "2 items/s", "10 s left"]

    def test_what_takes_longer_than_was_thought_has_no_known_end(self):
        assert Step("piqa[nf4]", 100.0, 120.0, Count(40, 120, 2.0)).figures(161.0) == ["40/120 items", "2 items/s"]
        assert Step("piqa[nf4]", 100.0, 120.0, Count(120, 120, 2.0)).figures(120.0) == ["120/120 items", "2 items/s"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99.4, "99 s"), (120, "2 min"), (5400, "90 min"), (9000, "2.5 h")]
)
def test_a_duration_has_one_unit(seconds, text):
    assert duration(seconds) == text


class TestMailbox:
    def test_the_last_step_is_read_and_nothing_where_there_is_none(self, tmp_path):
        mailbox = Mailbox(tmp_path / "run", "gw0")
        assert mailbox.step() is None
        step = Step("piqa[nf4]", 1.0, 2.0, Count(40, 120, 2.0))
        mailbox.put(Step("loading nf4", 0.0, 0.0))
        mailbox.put(step)
        assert mailbox.step() == step
        mailbox.put(None)
        assert mailbox.step() is None

    def test_lines_are_read_once_and_whole(self, tmp_path):
        mailbox = Mailbox(tmp_path, "gw0")
        assert mailbox.told(0) == []
        mailbox.tell("first\nof two")
        mailbox.tell("second")
        with (tmp_path / "gw0.told").open("a") as file:
            file.write('"half a')
        assert mailbox.told(0) == ["first\nof two", "second"]
        assert mailbox.told(1) == ["second"]
        assert mailbox.told(2) == []

    def test_a_place_that_cannot_be_written_loses_a_note_and_no_test(self, tmp_path):
        (tmp_path / "file").write_text("in the way")
        mailbox = Mailbox(tmp_path / "file", "gw0")
        mailbox.put(Step("loading nf4", 0.0, 0.0))
        mailbox.tell("lost")
        assert (mailbox.step(), mailbox.told(0)) == (None, [])


class TestReporter:
    @pytest.fixture
    def worker(self, tmp_path):
        config = SimpleNamespace(workerinput={"testrunuid": "run", "workerid": "gw1"})
        return Reporter(tmp_path, config), Mailbox(folder(tmp_path, "run"), "gw1")

    def test_a_worker_leaves_what_it_is_on_and_nothing_after_its_test(self, worker):
        reporter, mailbox = worker
        reporter("piqa[nf4]", Count(0, 120))
        assert (mailbox.step().what, mailbox.step().count) == ("piqa[nf4]", Count(0, 120))
        reporter.pytest_runtest_logfinish()
        assert mailbox.step() is None

    def test_notes_of_the_same_work_that_come_fast_are_left_out_but_the_last(self, worker):
        reporter, mailbox = worker
        for done in range(120):
            reporter("piqa[nf4]", Count(done, 120))
        assert mailbox.step().count.done < 119
        reporter("piqa[nf4]", Count(120, 120))
        assert mailbox.step().count.done == 120
        reporter("loading nf4")
        assert mailbox.step().what == "loading nf4"

    def test_work_has_begun_with_its_first_note(self, worker, monkeypatch):
        reporter, mailbox = worker
        for now in (100.0, 160.0):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            reporter("piqa[nf4]", Count(0, 120))
        assert (mailbox.step().began, mailbox.step().at) == (100.0, 160.0)


class TestTable:
    def test_columns_are_aligned_and_a_process_alone_has_no_name(self):
        steps = {
            "gw0": Step("piqa[nf4]", 0, 0, Count(0, 120)),
            "gw10": Step("lambada[int8]", 0, 0, Count(40, 160, 2.0)),
        }
        assert table(steps, 0) == [
            "  gw0   piqa[nf4]      0/120 items",
            "  gw10  lambada[int8]  40/160 items  2 items/s  60 s left",
        ]
        assert table({"": Step("loading nf4", 0, 0)}, 0) == ["  loading nf4"]

    def test_nothing_is_no_line(self):
        assert table({}, 0) == []

    def test_many_workers_are_counted(self):
        lines = table({f"gw{at}": Step("loading nf4", 0, 0) for at in range(WORKERS + 5)}, 0)
        assert len(lines) == WORKERS + 1
        assert lines[-1] == "  ... and 5 more workers"
