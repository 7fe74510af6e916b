"""A whole test: when it stops, what it says of its looks, and that the order within a block does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.verdict.multiplicity import mcnemar_p_value
from pytest_qllm.verdict.sequential import Look, looks
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Kind, Outcome, Sample, Verdict, judge, lacks_signal


def sample(scores) -> Sample:
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    return Sample(tuple(map(str, range(n))), scores, np.ones(n), np.full(n, 0.25))


def run(baseline: Sample, candidate: Sample, tolerance: float, block: int = 40) -> tuple[Verdict, list[int]]:
    """The verdict, and the numbers of items that the candidate was measured on."""
    measured: list[int] = []

    def judge_at(look: Look) -> Verdict | None:
        if lacks_signal(baseline.first(look.items), Kind.ACCURACY, tolerance) is not None:
            return None
        measured.append(look.items)
        first = baseline.first(look.items), candidate.first(look.items)
        return judge(*first, Kind.ACCURACY, tolerance, alpha=look.alpha)

    return conduct(looks(len(baseline.ids), block), judge_at), measured


def right(n: int, rate: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random(n) < rate


class TestConduct:
    def test_a_destroyed_model_stops_at_the_first_looks(self):
        verdict, measured = run(sample(right(1000, 0.8)), sample(right(1000, 0.25, 2)), 0.03)
        assert verdict.outcome is Outcome.FAIL
        assert measured[-1] <= 120
        assert (verdict.evidence.n, verdict.evidence.looks, verdict.evidence.planned) == (
            measured[-1],
            len(measured),
            1000,
        )

    def test_a_harmless_one_passes_early(self):
        baseline = right(1000, 0.8)
        verdict, measured = run(sample(baseline), sample(baseline), 0.05)
        assert verdict.outcome is Outcome.PASS
        assert measured[-1] <= 320

    def test_p_values_hold_over_all_looks(self):
        baseline = right(1000, 0.8)
        evidence = run(sample(baseline), sample(baseline), 0.05)[0].evidence
        alone = judge(sample(baseline).first(evidence.n), sample(baseline).first(evidence.n), Kind.ACCURACY, 0.05)
        assert alone.evidence.p_pass < evidence.p_pass <= 0.0501

    def test_any_loss_at_all_is_tested_over_all_looks_too(self):
        baseline = right(1000, 0.8)
        candidate = baseline & right(1000, 0.9, 2)
        evidence = run(sample(baseline), sample(candidate), 0.02)[0].evidence
        assert evidence.looks > 1
        assert mcnemar_p_value(evidence.broken, evidence.mended) < evidence.p_any_loss < 0.01
        assert run(sample(baseline), sample(baseline), 0.05)[0].evidence.p_any_loss == 1

    def test_looks_without_signal_are_passed_over_and_the_candidate_not_measured(self):
        baseline = right(1600, 0.37)
        _, measured = run(sample(baseline), sample(baseline), 0.03)
        assert measured[0] > 100

    def test_what_is_never_decided_is_the_last_look_s_verdict(self):
        baseline = right(200, 0.8)
        candidate = baseline.copy()
        candidate[np.flatnonzero(baseline)[:200:10]] = False
        verdict, measured = run(sample(baseline), sample(candidate), 0.1)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert measured[-1] == 200

    def test_a_baseline_without_signal_is_said_so(self):
        plan = looks(100, 40)
        verdict = conduct(plan, lambda look: Verdict(Outcome.NO_SIGNAL, 0.03, None, "chance"))
        assert (verdict.outcome, verdict.reason) == (Outcome.NO_SIGNAL, "chance")

    @pytest.mark.parametrize("plan", [(), looks(100, 40)])
    def test_without_a_verdict_at_the_end_it_is_an_error(self, plan):
        with pytest.raises(ValueError, match="no look was judged"):
            conduct(plan, lambda look: None)

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.3]))
    def test_the_order_within_a_block_does_not_matter(self, seed, flips):
        rng = np.random.default_rng(seed)
        baseline = rng.random(240) < 0.7
        candidate = baseline ^ (rng.random(240) < flips)
        order = np.concatenate([start + rng.permutation(40) for start in range(0, 240, 40)])
        one, places = run(sample(baseline), sample(candidate), 0.08)
        other, others = run(sample(baseline[order]), sample(candidate[order]), 0.08)
        assert (one.outcome, places) == (other.outcome, others)
