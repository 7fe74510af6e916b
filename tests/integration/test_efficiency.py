"""The fixture ``efficiency``: costs of a tiny model, measured for real, alone and after everything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.efficiency import timing
from pytest_qllm.efficiency.bench import Bench

pytestmark = pytest.mark.slow

COUNTED = ("weight_memory", "disk_size")
TIMED = ("decode_time", "prefill_time", "first_token_time", "load_time")


def costs(suite: Suite, *calls: str) -> None:
    """A test for each call of the fixture."""
    tests = [f"def test_{number}(efficiency):\n    efficiency({call})\n" for number, call in enumerate(calls)]
    suite.pytester.makepyfile(test_costs="\n".join(tests))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is measured and not taken from the store; the times of a tiny model differ as they like."""
    found: list[str] = []
    run: Callable[..., Any] = Bench._run

    def counted(self: Bench, regime: Any, cost: Any, *about: Any) -> Any:
        found.append(cost.name)
        return run(self, regime, cost, *about)

    monkeypatch.setattr(Bench, "_run", counted)
    monkeypatch.setattr(timing, "SPREAD", inf)
    return found


def test_every_cost_is_measured_once_and_shown(suite: Suite, measured: list[str]) -> None:
    costs(suite, *(f'"{name}"' for name in (*COUNTED, *TIMED, "peak_memory")), '"decode_time", batch=2')
    first = suite.run("-rs", regimes="bnb-nf4", shape="16x8")
    verdicts = suite.verdicts
    names = [*COUNTED, *TIMED, "peak_memory", "decode_time_batch2"]
    assert sorted(verdicts) == sorted(("bnb-nf4", name) for name in names)
    for name in names:
        found = verdicts["bnb-nf4", name]
        low, high = found["ci"]
        assert 0 < low <= found["effect"] <= high
        assert (found["dimension"], found["scale"]) == ("efficiency", "ratio")
        if name not in COUNTED:
            assert (found["verdict"], found["tolerance"], found["p_fail"]) == ("UNGATED", None, None)
    for name in (*TIMED, "decode_time_batch2"):
        assert len(verdicts["bnb-nf4", name]["provenance"]["pairs"]) == verdicts["bnb-nf4", name]["n"] == 16
    weights = verdicts["bnb-nf4", "weight_memory"]
    # Half of this model's matrices are embedding and head, which stay: in 16 bits, although it computes in float32.
    assert weights["baseline"] == pytest.approx(2 * 113000, rel=0.02)
    assert 0.4 < weights["effect"] < 0.7
    assert weights["ci"] == [weights["effect"]] * 2
    first.stdout.fnmatch_lines(["efficiency: x the baseline's cost, below 1 is a saving; *"])
    first.stdout.fnmatch_lines(["SKIPPED * UNGATED: load_time on bnb-nf4 *"])
    assert not [one for one in suite.report["baselines"] if one["dimension"] == "efficiency"]

    measured.clear()
    again = suite.run(regimes="bnb-nf4", shape="16x8")
    assert measured == []
    assert again.parseoutcomes() == first.parseoutcomes()
    assert suite.verdicts == verdicts
    costs(suite, '"first_token_time"', '"load_time"')
    suite.run("-k", "test_0", regimes="bnb-nf4", shape="16x8", efficiency="again")
    suite.run("-k", "test_0", regimes="bnb-nf4", shape="16x9")
    suite.run("-k", "test_1", regimes="bnb-nf4", shape="16x9")  # on which loading does not depend
    assert measured == ["first_token_time"] * 2


def test_a_tolerance_gates(suite: Suite, measured: list[str]) -> None:
    (suite.path / "limits.toml").write_text(
        "[tool.qllm.tolerances.decode_time]\n4 = 1000\n[tool.qllm.tolerances.weight_memory]\n8 = 0.1\n4 = 0.9\n"
    )
    costs(
        suite,
        '"decode_time"',
        '"first_token_time", tolerance=0.002',
        '"weight_memory"',
        '"weight_memory", tolerance=0.1',
        '"disk_size", tolerance=0.99',
    )
    result = suite.run(regimes="bnb-nf4", shape="16x8", tolerances=suite.path / "limits.toml")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "FAIL: first_token_time on bnb-nf4 (NF4, 4 bits) *: a cost of more than x0.002 the baseline's is proven",
            "  baseline * ms",
            "  effect *each bound one-sided, * pairs of runs*",
            "  measured    16x8 tokens, batch 1, float32 on cpu, 1 threads, host *",
            "  rerun       pytest 'test_costs.py::test_1[[]bnb-nf4-alone]' *--qllm-shape=16x8*",
        ]
    )
    result.stdout.fnmatch_lines(["  effect *(counted: no error of sampling)"])
    assert measured.count("weight_memory") == 1


def test_a_disturbed_timing_proves_nothing_and_is_not_kept(suite: Suite, measured: list[str], monkeypatch) -> None:
    monkeypatch.setattr(timing, "SPREAD", 1e-9)
    costs(suite, '"first_token_time", tolerance=1000')
    for _ in range(2):
        result = suite.run(regimes="bnb-nf4", shape="16x8")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["INCONCLUSIVE: first_token_time *: time it on a quieter machine"])
    assert measured == 2 * ["first_token_time"] * 4  # 8, 16, 24 and 32 pairs
    assert not (suite.path / "store/timings").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"regimes": "rtn-4bit"}, "rtn-4bit is simulated: it is stored in 16 bits and no kernel multiplies its *"),
        ({"regimes": "ct-w8a8"}, "ct-w8a8 is simulated*"),
        ({"regimes": "bnb-nf4", "efficiency": "off"}, "--qllm-efficiency=off"),
        (
            {"regimes": "gptq-4bit"},
            "GPTQModel compiles the kernels of gptq-4bit for minutes on a CPU; *=on measures it",
        ),
    ],
)
def test_what_has_no_kernel_is_a_skip(suite: Suite, options: dict[str, str], reason: str) -> None:
    costs(suite, '"weight_memory"')
    result = suite.run("-rs", **options)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED *{reason}"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ('"decode_speed"', ("unknown cost 'decode_speed'", "decode_time")),
        ('"load_time", batch=2', ("batch is 2", "load_time has no batch")),
        ('"decode_time", batch=0', ("batch is 0", "a whole number from 1")),
        ('"decode_time", shape="16"', ("the shape is '16'", "such as 256x512")),
        ('"decode_time", shape=(16, 8)', ("the shape is (16, 8)", "such as 256x512")),
        ('"decode_time", shape="500x16"', ("the shape has 516 tokens in all, the model's window 512",)),
        ('"weight_memory", tolerance="80%"', ("the tolerance '80%' is out of range", "such as 0.45")),
        ('"decode_time", tolerance=0', ("the tolerance 0 is out of range", "such as 1.25", '"80%"')),
    ],
)
def test_a_wrong_question_is_one_line(suite: Suite, call: str, words: tuple[str, ...]) -> None:
    costs(suite, call)
    assert_refused(suite.run(regimes="bnb-nf4"), *words)


def test_a_test_that_never_calls_it_fails(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_nothing(efficiency):\n    pass\n")
    result = suite.run(regimes="bnb-nf4")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["the test asked for `efficiency` and never called it: nothing was measured"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"shape": "256"}, ("--qllm-shape", "'256'", "such as 256x512")),
        ({"efficiency": "yes"}, ("--qllm-efficiency is 'yes'", "auto, on, again, off")),
    ],
)
def test_a_wrong_option_is_refused(suite: Suite, option: dict[str, str], words: tuple[str, ...]) -> None:
    costs(suite, '"disk_size"')
    assert_refused(suite.run(**option), *words)


def test_is_collected_last_and_without_a_baseline(suite: Suite) -> None:
    suite.gates("lambada")
    suite.pytester.makepyfile(test_costs="def test_size(efficiency):\n    efficiency('disk_size')\n")
    result = suite.run("--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        "test_lambada.py::test_lambada[fp16]",
        "test_lambada.py::test_lambada[bnb-int8]",
        "test_lambada.py::test_lambada[bnb-nf4]",
        "test_costs.py::test_size[bnb-int8-alone]",
        "test_costs.py::test_size[bnb-nf4-alone]",
    ]
    suite.run("--qllm-plan").assert_outcomes(skipped=5)


STAMPS = """
    import json, time
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(item):
        start = time.time()
        yield
        worker = getattr(item.config, "workerinput", {}).get("workerid", "")
        with open(item.config.rootpath / "stamps.jsonl", "a") as file:
            file.write(json.dumps([item.nodeid, worker, start, time.time()]) + "\\n")
        return True
"""


@pytest.mark.parametrize("dist", ["load", "loadfile"])
def test_two_workers(suite: Suite, dist: str) -> None:
    pytest.importorskip("xdist")
    suite.pytester.makeconftest(STAMPS)
    costs(suite, '"first_token_time"', '"disk_size", tolerance=0.99')
    suite.pytester.makepyfile(test_other="import time\n\n\ndef test_slow(regime):\n    time.sleep(1)\n")
    result = suite.run("-n2", f"--dist={dist}", "-rs", shape="16x8")
    if dist != "load":
        result.assert_outcomes(passed=3, skipped=4)
        result.stdout.fnmatch_lines(
            ["SKIPPED *efficiency is measured alone, and --dist=loadfile runs tests side by side*"]
        )
        return
    result.assert_outcomes(passed=5, skipped=2)
    stamps = [json.loads(line) for line in (suite.path / "stamps.jsonl").read_text().splitlines()]
    alone = [stamp for stamp in stamps if "-alone]" in stamp[0]]
    assert len(alone) == 4
    assert len({worker for _, worker, _, _ in alone}) == 1
    assert len({worker for _, worker, _, _ in stamps}) == 2
    for nodeid, _, start, end in alone:
        assert all(other == nodeid or last <= start or first >= end for other, _, first, last in stamps)
