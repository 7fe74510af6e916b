"""What a plan says to people."""

from __future__ import annotations

import json
from dataclasses import replace

from pytest_qllm.plan import Plan, power_of
from pytest_qllm.report.plan import lines, write
from pytest_qllm.verdict.sequential import DEFAULT

REGIMES = ("fp16", "gptq-4bit", "bnb-int8")
FOUR = Plan(
    model="m",
    regime="gptq-4bit",
    bits=4,
    benchmark="sciq",
    metric="acc",
    scale="difference",
    tolerance=0.04,
    asked=1000,
    available=1000,
    planned=880,
    power=power_of(1000, 0.04, 4, DEFAULT),
    signal="",
    stored=0,
    tokens=88_000,
    counted=True,
    seconds=120.0,
    gflop=50.0,
)
BASELINE = replace(FOUR, regime="fp16", bits=16, tolerance=None, planned=1000, power=None, signal=None, seconds=60.0)
INT8 = replace(FOUR, regime="bnb-int8", bits=8, tolerance=0.03, power=power_of(400, 0.03, 8, DEFAULT), planned=400)


def printed(*plans: Plan) -> list[str]:
    return [line for line, _ in lines(plans, [], REGIMES)]


def test_a_row_for_each_gate_in_the_order_of_the_regimes():
    rows = printed(INT8, FOUR, BASELINE)[1:4]
    assert [row.split()[:7] for row in rows] == [
        ["sciq", "fp16", "-", "1000", "of", "1000", "-"],
        ["sciq", "gptq-4bit", "4.0", "880", "of", "1000", "880"],
        ["sciq", "bnb-int8", "3.0", "400", "of", "1000", "622"],
    ]
    assert rows[1].split()[-4:] == ["yes", "88", "k", "2.0"]


def test_the_whole_cost():
    assert printed(BASELINE, FOUR)[-2:] == [
        "to compute: at most 176 k tokens (by the checkpoint's tokenizer)",
        "time: 3.0 minutes on this machine; fetching, quantizing and loading come on top",
    ]


def test_what_is_not_known_is_said():
    found = printed(FOUR, replace(FOUR, benchmark="mmlu", available=None, tokens=None, seconds=None, note="no data"))
    assert "no data: mmlu" in found
    assert found[-2] == (
        "to compute: at most 88 k tokens (by the checkpoint's tokenizer), not known for 1 of 2 tests, and the "
        "baseline's on mmlu, sciq"
    )


def test_what_was_never_measured_is_work_and_not_time():
    assert printed(replace(FOUR, seconds=None))[-1].startswith("time: no measurement on this machine yet: 50 GFLOP;")


def test_what_cannot_be_decided_stands_last_in_words():
    few = replace(FOUR, available=400, planned=400, power=power_of(400, 0.04, 4, DEFAULT), advice="raise it")
    assert printed(few, FOUR)[-1] == "sciq on gptq-4bit: 400 items cannot decide 4 points: 880 are needed; raise it"


def test_plan_json(tmp_path):
    path = tmp_path / "reports" / "plan.json"
    write(path, [FOUR], [], {"python": "3"})
    content = json.loads(path.read_text())
    assert (content["schema"], content["provenance"]) == ("pytest-qllm-plan/1", {"python": "3"})
    assert content["plans"] == [{**FOUR.to_json(), "undecided": ""}]
