"""The summary that others read of a simulation: its keys, and that it tells the worst of what was simulated."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

PERF = Path(__file__).parents[3] / "perf"


@pytest.fixture
def simulate(monkeypatch):
    monkeypatch.syspath_prepend(str(PERF))
    yield importlib.import_module("simulate_verdicts")
    for name in ("simulate_verdicts", "gates_under_test", "other_gates"):
        sys.modules.pop(name, None)


def test_the_worst_of_each_kind_is_told(simulate):
    case, columns = simulate.Case, ("independent", "clusters", "graded", "perplexity")
    cases = [case(kind, 100, 0.03, 0.1, 1, 10, 0.01 * at, 0.02, 90) for at, kind in enumerate(columns, 1)]
    cases += [case("planned", 100, 0.03, 0.1, effect, 10, 0.9, 0.96, 50 + effect, 100) for effect in (0, 2, 4)]
    cases += [case("texts", 40, 1.03, 0, effect, 10, 0.9, 0.9, 20, 40) for effect in (0, 2, 4)]
    cases += [case("perplexity", 8, 1.03, 0, 1, 10, 0.07, 0, 8, note="50-2000 tokens, exponential")]
    found = simulate.summarize(cases)
    assert (found["wrong_pass"], found["wrong_fail"], found["power_2x"]) == (0.03, 0.02, 0.96)
    assert found["items_ratio"] == {"0": 0.5, "2": 0.52, "4": 0.54}
    assert found["by_kind"]["perplexity"]["wrong_pass"] == 0.04
    assert found["wrong_pass_exponential"] == 0.07
