"""What a verdict says to people, and that it crosses processes unharmed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_qllm.report.record import Record
from pytest_qllm.verdict.expected import Acceptance

BASELINE = Record(
    model="smollm2-135m",
    regime="fp16",
    method="none",
    bits=16,
    benchmark="arc_easy",
    dimension="knowledge",
    metric="acc",
    scale="difference",
    n=400,
    baseline=0.5425,
)
FAILED = replace(
    BASELINE,
    regime="bnb-nf4",
    method="NF4",
    bits=4,
    outcome="FAIL",
    candidate=0.46,
    effect=-0.0825,
    ci=(-0.1162, -0.0496),
    alphas=(0.05, 0.045),
    interval="Tango score",
    tolerance=0.04,
    broken=49,
    mended=16,
    planned=400,
    provenance={"weights": "a1", "regime": {"method": "NF4"}},
)
PERPLEXITY = replace(
    FAILED,
    benchmark="story_perplexity",
    metric="perplexity",
    scale="ratio",
    n=24,
    planned=24,
    baseline=15.52,
    candidate=19.7,
    effect=1.27,
    ci=(1.21, 1.33),
    alphas=(0.045, 0.05),
    tolerance=1.08,
    broken=None,
    mended=None,
)


class TestMessage:
    def test_of_an_accuracy_reads_at_once(self):
        assert FAILED.message("pytest t.py").splitlines() == [
            "FAIL: arc_easy on bnb-nf4 (NF4, 4 bits) of smollm2-135m: a loss of more than 4 points is proven",
            "  baseline    acc 54.2 %",
            "  candidate   acc 46.0 %",
            "  effect      -8.2 points, between -11.6 and -5.0 (each bound one-sided, 95 % and 95.5 %)",
            "  tolerance   -4.0 points: the loss is proven larger",
            "  items       400",
            "  flips       49 broken (right to wrong), 16 mended (wrong to right)",
            "  rerun       pytest t.py",
        ]

    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ({"baseline": 3, "candidate": 41}, "3 (baseline) and 41 (candidate) of 400 answers ended at their limit"),
            ({"baseline": 3, "candidate": None}, "3 of 400 answers ended at their limit of tokens"),
            ({"baseline": 0, "candidate": 0}, ""),
            (None, ""),
        ],
    )
    def test_tells_how_many_answers_were_cut_off(self, counts, expected):
        record = replace(FAILED, hit_limit=counts)
        assert expected in record.limit_line()
        assert bool(record.limit_line()) is bool(expected)
        assert ("  limit       " in record.message("")) is bool(expected)

    def test_of_a_perplexity_speaks_of_ratios_and_of_no_flips(self):
        assert PERPLEXITY.message("pytest t.py").splitlines() == [
            "FAIL: story_perplexity on bnb-nf4 (NF4, 4 bits) of smollm2-135m: a perplexity of more than x1.08 the "
            "baseline's is proven",
            "  baseline    perplexity 15.52",
            "  candidate   perplexity 19.70",
            "  effect      x1.27 of the baseline's perplexity, between x1.21 and x1.33 "
            "(each bound one-sided, 95.5 % and 95 %)",
            "  tolerance   x1.08 of the baseline's perplexity: the loss is proven larger",
            "  items       24",
            "  rerun       pytest t.py",
        ]

    def test_says_so_where_the_first_look_was_enough(self):
        assert "  items       120 of 300" in replace(FAILED, n=120, planned=300).message("").splitlines()

    def test_of_an_inconclusive_one_says_what_decides_it(self):
        message = replace(FAILED, outcome="INCONCLUSIVE").message("")
        assert (
            "the loss is neither proven smaller nor proven larger; more items decide it (`items=` of the gate)"
            in message
        )

    def test_has_the_reason_where_there_is_one(self):
        message = replace(PERPLEXITY, outcome="INCONCLUSIVE", n=4, reason="fewer than 8 documents").message("")
        assert message.splitlines()[0].endswith("of smollm2-135m: fewer than 8 documents")

    def test_without_evidence_is_the_reason_alone(self):
        record = replace(BASELINE, outcome="NO_SIGNAL", reason="too close to chance", tolerance=0.03)
        assert record.message("pytest t.py").splitlines() == [
            "NO_SIGNAL: arc_easy on fp16 (none, 16 bits) of smollm2-135m: too close to chance",
            "  rerun       pytest t.py",
        ]

    def test_of_an_open_interval_can_be_read(self):
        message = replace(PERPLEXITY, outcome="INCONCLUSIVE", n=1, effect=1.0, ci=(0.0, float("inf"))).message("")
        assert "  effect      x1 of the baseline's perplexity, between x0 and unbounded (" in message

    def test_of_an_open_interval_can_be_read_after_its_way_through_json(self):
        record = replace(PERPLEXITY, outcome="INCONCLUSIVE", n=1, effect=1.0, ci=(0.0, float("inf")))
        assert Record.from_json(record.to_json()).message("") == record.message("")


class TestCell:
    @pytest.mark.parametrize(
        ("record", "cell"),
        [
            (BASELINE, "54.2 %"),
            (replace(BASELINE, scale="ratio", baseline=15.516), "15.52"),
            (FAILED, "FAIL -8.2"),
            (replace(FAILED, outcome="PASS", effect=0.0075), "PASS +0.8"),
            (replace(FAILED, outcome="INCONCLUSIVE", effect=0.0), "INCONCL. +0.0"),
            (PERPLEXITY, "FAIL x1.27"),
            (replace(PERPLEXITY, effect=1.0019), "FAIL x1"),
            (replace(PERPLEXITY, effect=1e304), "FAIL x1e+304"),
            (replace(BASELINE, outcome="NO_SIGNAL"), "no signal"),
        ],
    )
    def test_is_short(self, record, cell):
        assert record.cell() == cell


class TestJson:
    @pytest.mark.parametrize("record", [BASELINE, FAILED, PERPLEXITY], ids=["baseline", "accuracy", "perplexity"])
    def test_what_crosses_processes_says_the_same(self, record):
        back = Record.from_json(json.loads(json.dumps(record.to_json())))
        assert back.to_json() == record.to_json()
        assert (back.cell(), back.message("pytest t.py")) == (record.cell(), record.message("pytest t.py"))

    def test_an_open_bound_is_null(self):
        content = replace(PERPLEXITY, ci=(0.0, float("inf"))).to_json()
        assert content["ci"] == [0.0, None]
        json.dumps(content, allow_nan=False)

    def test_is_plain_content(self):
        content = FAILED.to_json()
        assert content["ci"] == [-0.1162, -0.0496]
        assert content["alphas"] == [0.05, 0.045]
        assert content["provenance"]["regime"] == {"method": "NF4"}


class TestExpected:
    """A loss that is accepted, as people read of it."""

    ACCEPTED = replace(FAILED, expected=Acceptance("for tests", 0.4, True, "xfail", True, 400, (-0.1162, -0.0496)))

    def with_(self, **changes) -> Record:
        outcome = changes.pop("verdict", self.ACCEPTED.outcome)
        return replace(self.ACCEPTED, outcome=outcome, expected=replace(self.ACCEPTED.expected, **changes))

    @pytest.mark.parametrize(
        ("outcome", "verdict", "cell"),
        [
            ("xfail", "FAIL", "xfail -8.2"),
            ("xfail", "INCONCLUSIVE", "xfail -8.2"),
            ("worse", "FAIL", "worse -8.2"),
            ("mended", "PASS", "mended -8.2"),
            ("xpass", "PASS", "xpass -8.2"),
            ("undecided", "INCONCLUSIVE", "INCONCL. -8.2"),
        ],
    )
    def test_its_cell(self, outcome, verdict, cell):
        assert self.with_(outcome=outcome, verdict=verdict).cell() == cell

    def test_its_line(self):
        figures = "FAIL -8.2 points between -11.6 and -5.0"
        assert self.ACCEPTED.accepted() == f"{figures}, proven smaller than the accepted 40 points: for tests"
        assert self.with_(within=None, n=800, ci=(-0.5, -0.2)).accepted() == (
            f"{figures}, neither proven smaller nor larger than the accepted 40 points "
            "(between -50.0 and -20.0 on 800 items): for tests"
        )
        assert FAILED.accepted() == ""

    def test_a_failure_says_why_although_it_was_expected(self):
        message = self.with_(outcome="worse", within=False, note="so and so").message("").splitlines()
        assert message[0].endswith(" of smollm2-135m: worse than the bound of 40 points")
        assert message[5:7] == [
            "  expected    for tests",
            "  bound       proven larger than the accepted 40 points (so and so)",
        ]
        mended = self.with_(outcome="mended", verdict="PASS", within=None, n=None, ci=None).message("").splitlines()
        assert mended[0].endswith(": the loss has been mended: remove it from [tool.qllm.expected]")

    def test_crosses_processes(self):
        record = self.with_(ci=(0.0, float("inf")))
        back = Record.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False)))
        assert back.to_json() == record.to_json()
        assert back.expected.ci == [0.0, None]
