"""The last line of a session: what to do next."""

from __future__ import annotations

from types import SimpleNamespace

from pytest_qllm.report.advice import next_step
from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Change, Trend
from pytest_qllm.verdict.expected import Acceptance

ERROR = {"test": "t.py::test_piqa[nf4]", "regime": "nf4", "message": "lost"}


def record(outcome: str | None, effect: float | None = None, regime: str = "nf4", **fields) -> Record:
    common = {"model": "m", "method": "M", "dimension": "d", "metric": "acc", "scale": "difference", "bits": 4}
    return Record(
        regime=regime, benchmark="piqa", n=160, baseline=0.5, outcome=outcome, effect=effect,
        **{"tolerance": 0.04, "rerun": f"pytest {regime}", **common, **fields},
    )  # fmt: skip


def said(*records: Record, kernels=(), errors=()) -> str:
    return next_step(records, kernels, errors, "reports/qllm.html")


def test_a_loss_comes_first_with_the_command_for_the_worst():
    records = [record("FAIL", -0.1, "int8"), record("FAIL", -0.3), record("INCONCLUSIVE", -0.9, "fp4")]
    assert said(*records, errors=[ERROR]) == "see reports/qllm.html; the worst again: pytest nf4"


def test_a_slide_since_the_previous_release_is_a_loss():
    change = Change(400, 0.6, 0.5, -0.1, (-0.15, -0.05), "exact")
    since = Trend("old.json", "2026-01-01T00:00:00", "m", verdict="FAIL", regime=change)
    assert said(record("PASS", 0.0, against=since.to_json())) == "see reports/qllm.html; the worst again: pytest nf4"


def test_an_accepted_loss_is_none():
    known = Acceptance("for tests only", 0.4, True, "xfail", True, 400, (-0.2, -0.1))
    assert said(record("FAIL", -0.2, expected=known)) == "nothing to mend; the evidence is in reports/qllm.html"


def test_a_broken_kernel_comes_before_errors():
    kernels = [SimpleNamespace(regime="gptq", agrees=False), SimpleNamespace(regime="nf4", agrees=True)]
    step = said(record("INCONCLUSIVE", -0.1), kernels=kernels, errors=[ERROR])
    assert step.startswith("choose another kernel or dtype for gptq, or")


def test_an_error_is_mended_before_items_are_raised():
    assert said(record("INCONCLUSIVE", -0.1), errors=[ERROR]).startswith("mend what ended in an error")


def test_what_was_mended_is_named():
    known = Acceptance("for tests only", 0.4, True, "mended", True, 400, (-0.02, 0.1))
    step = said(record("PASS", 0.0, expected=known), record("INCONCLUSIVE", -0.1, "int8"))
    assert step == "remove what was mended from [tool.qllm.expected]: nf4 on piqa"


def test_items_are_raised_where_nothing_was_decided_to_the_most_that_any_needs():
    step = said(record("INCONCLUSIVE", -0.01, fixed=900), record("INCONCLUSIVE", -0.02, "int8", fixed=1200))
    assert step.startswith("raise items (`items=` of the gate, --qllm-max-items) or the tolerance; --qllm-plan ")
    assert step.endswith(": piqa on int8 needs about 1200, and had 160")


def test_no_number_is_made_up_where_none_is_known():
    assert said(record("INCONCLUSIVE", -0.01), record("INCONCLUSIVE", -0.1, fixed=100)).endswith("how many decide")


def test_without_any_signal_nothing_is_claimed():
    assert said(record("NO_SIGNAL")).startswith("nothing was judged")


def test_where_all_passed_there_is_nothing_to_mend():
    step = said(record(None), record("PASS", 0.0), record("NO_SIGNAL", regime="int8"))
    assert step == "nothing to mend; the evidence is in reports/qllm.html"


def test_baselines_alone_have_no_next_step():
    assert said(record(None)) == ""
