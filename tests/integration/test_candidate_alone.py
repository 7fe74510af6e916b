"""A candidate whose baseline was deselected has it computed on demand, and reads the same verdict."""

from __future__ import annotations

import pytest

from conftest import Suite


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")


@pytest.mark.parametrize("selection", [("-k", "nf4"), ("--deselect", "test_lambada.py::test_lambada[fp16]")])
def test_its_verdict_is_the_same(suite: Suite, selection: tuple[str, str]) -> None:
    suite.run()
    before = suite.verdicts["bnb-nf4", "lambada"]
    suite.scored.clear()
    suite.run(*selection, store=suite.path / "empty")
    of_the_session = ("p_pass_holm", "p_fail_holm", "rerun")  # adjusted for how many tests there were; with its options
    alone = suite.verdicts["bnb-nf4", "lambada"]
    assert {name: alone[name] for name in alone if name not in of_the_session} == {
        name: before[name] for name in before if name not in of_the_session
    }
    assert suite.report["baselines"] == []
    used = [verdict["n"] for verdict in suite.verdicts.values()]
    assert sum(count for _, count in suite.scored) == max(used) + sum(used)


def test_the_baseline_that_it_computed_is_kept(suite: Suite) -> None:
    suite.run("-k", "nf4")
    suite.scored.clear()
    suite.run("-k", "fp16").assert_outcomes(passed=1)
    assert suite.scored == [("lambada", 40)] * 2, "the candidate failed at 40 of the 120 items"


def test_a_baseline_that_cannot_be_computed_is_an_error_and_no_pass(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_qllm.errors import QllmError
    from pytest_qllm.models import loader

    def refuse(*_: object) -> None:
        raise QllmError("the baseline cannot be loaded")

    monkeypatch.setattr(loader, "load_dense", refuse)
    result = suite.run("-k", "bnb")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("the baseline cannot be loaded") >= 2
    assert suite.report["verdicts"] == []
