"""Laws that every kind of metric keeps, and every relative tolerance: order, monotony, symmetry, and no empty PASS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.verdict import Kind, Outcome, Sample, Verdict, judge

KINDS = (Kind.GRADED, Kind.SOFT, Kind.MEAN, Kind.CORPUS)
CASES = [*((kind, False) for kind in KINDS), *((kind, True) for kind in (*KINDS, Kind.ACCURACY))]
N = 110
few = settings(max_examples=8, deadline=None)
seeds = st.integers(0, 10**6)


def precision(parts):
    return parts[..., 0].sum(-1) / parts[..., 1].sum(-1)


def pair(kind: Kind, seed: int, loss: float = 0.02) -> tuple[Sample, Sample]:
    """A baseline well above chance, and a candidate that is a little worse on some items."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 1.0, N)
    moved = np.clip(base - loss + rng.normal(0, 0.05, N), 0, 1)
    if kind is Kind.ACCURACY:
        base = (rng.random(N) < 0.8).astype(float)
        moved = np.where(rng.random(N) < 2 * loss, 0.0, base)
    attempts = rng.integers(5, 30, N).astype(float)
    samples = []
    for scores in (base, moved):
        parts = np.stack([np.floor(scores * attempts), attempts], -1) if kind is Kind.CORPUS else None
        samples.append(Sample(tuple(f"{at:03}" for at in range(N)), scores, np.ones(N), np.zeros(N), None, parts))
    return samples[0], samples[1]


def verdict(kind: Kind, relative: bool, baseline: Sample, candidate: Sample, tolerance: float = 0.05) -> Verdict:
    metric = precision if kind is Kind.CORPUS else None
    generator = np.random.default_rng(0)
    return judge(baseline, candidate, kind, tolerance, relative=relative, metric=metric, generator=generator)


def shuffled(sample: Sample, order) -> Sample:
    parts = None if sample.parts is None else sample.parts[order]
    ids = tuple(sample.ids[at] for at in order)
    return replace(sample, ids=ids, scores=sample.scores[order], parts=parts)


@pytest.mark.parametrize(("kind", "relative"), CASES)
@few
@given(seed=seeds)
def test_the_order_of_the_items_does_not_matter(kind, relative, seed):
    one, other = pair(kind, seed)
    order = np.random.default_rng(seed).permutation(N)
    plain = verdict(kind, relative, one, other)
    mixed = verdict(kind, relative, shuffled(one, order), shuffled(other, order))
    assert mixed.outcome is plain.outcome
    assert (mixed.evidence.low, mixed.evidence.high) == pytest.approx((plain.evidence.low, plain.evidence.high))


@pytest.mark.parametrize(("kind", "relative"), CASES)
@few
@given(seed=seeds, loss=st.floats(0.0, 0.2))
def test_a_wider_tolerance_is_never_harder(kind, relative, seed, loss):
    one, other = pair(kind, seed, loss)
    ranks = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2}
    found = [verdict(kind, relative, one, other, tolerance).outcome for tolerance in (0.01, 0.04, 0.1, 0.3)]
    assert Outcome.NO_SIGNAL not in found
    assert [ranks[outcome] for outcome in found] == sorted(ranks[outcome] for outcome in found)


@pytest.mark.parametrize("kind", KINDS)
@few
@given(seed=seeds, loss=st.floats(0.0, 0.2))
def test_exchanged_the_effect_is_the_opposite(kind, seed, loss):
    one, other = pair(kind, seed, loss)
    there, back = verdict(kind, False, one, other).evidence, verdict(kind, False, other, one).evidence
    assert there.effect == pytest.approx(-back.effect)
    if kind is not Kind.CORPUS:  # whose limits are quantiles of one set of resamples
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-7)


@pytest.mark.parametrize("kind", [Kind.PERPLEXITY, Kind.COST])
class TestRatios:
    """The same laws where the effect is a ratio: exchanged, it is the reciprocal."""

    @staticmethod
    def pair(kind: Kind, seed: int, ratio: float) -> tuple[Sample, Sample]:
        rng = np.random.default_rng(seed)
        weights = rng.integers(50, 900, 24).astype(float)
        losses = np.log(ratio) + rng.normal(0, 0.03, 24)
        if kind is Kind.PERPLEXITY:
            base = -3 * weights
            moved = base - weights * losses
        else:
            base = rng.uniform(1, 2, 24)
            moved = base * np.exp(losses)
        ids = tuple(map(str, range(24)))
        return tuple(Sample(ids, scores, weights, np.zeros(24)) for scores in (base, moved))

    @few
    @given(seed=seeds, ratio=st.floats(0.9, 1.2))
    def test_order_monotony_and_exchange(self, kind, seed, ratio):
        one, other = self.pair(kind, seed, ratio)
        plain = judge(one, other, kind, 1.03).evidence
        order = np.random.default_rng(seed).permutation(24)
        mixed = [replace(shuffled(sample, order), weights=sample.weights[order]) for sample in (one, other)]
        again = judge(*mixed, kind, 1.03).evidence
        assert (again.low, again.high) == pytest.approx((plain.low, plain.high))
        back = judge(other, one, kind, 1.03).evidence
        assert (back.low, back.high) == pytest.approx((1 / plain.high, 1 / plain.low))
        ranks = [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS]
        found = [ranks.index(judge(one, other, kind, tolerance).outcome) for tolerance in (1.0, 1.03, 1.1, 1.4)]
        assert found == sorted(found)


@pytest.mark.parametrize(("kind", "relative"), CASES)
class TestNoEmptyPass:
    def test_no_items(self, kind, relative):
        one, other = (sample.first(0) for sample in pair(kind, 1))
        with pytest.raises(QllmError, match="there are no items"):
            verdict(kind, relative, one, other)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_no_number(self, kind, relative, value):
        one, other = pair(kind, 1)
        scores = other.scores.copy()
        scores[3] = value
        with pytest.raises(QllmError, match="not finite"):
            verdict(kind, relative, one, replace(other, scores=scores))

    def test_other_items(self, kind, relative):
        one, other = pair(kind, 1)
        with pytest.raises(QllmError, match="not measured on the same items"):
            verdict(kind, relative, one, replace(other, ids=(*other.ids[1:], "new")))

    def test_ten_equal_items(self, kind, relative):
        one, _ = (sample.first(10) for sample in pair(kind, 1))
        assert verdict(kind, relative, one, one).outcome is not Outcome.PASS

    def test_a_constant_that_needs_a_spread(self, kind, relative):
        one, _ = pair(kind, 1)
        constant = replace(one, scores=np.full(N, 0.5), parts=None if one.parts is None else np.full((N, 2), 3.0))
        if kind is Kind.ACCURACY:  # all right on both sides, which the gate calls a ceiling
            return
        assert verdict(kind, relative, constant, constant).outcome is Outcome.INCONCLUSIVE

    def test_a_baseline_of_nothing_has_no_share(self, kind, relative):
        one, other = pair(kind, 1)
        parts = None if one.parts is None else one.parts * [0.0, 1.0]
        nothing = replace(one, scores=np.zeros(N), parts=parts)
        if relative:
            assert verdict(kind, relative, nothing, other).outcome in (Outcome.INCONCLUSIVE, Outcome.NO_SIGNAL)


def test_the_same_share_of_every_item_is_no_spread():
    one, _ = pair(Kind.MEAN, 1)
    found = verdict(Kind.MEAN, True, one, replace(one, scores=0.99 * one.scores))
    assert (found.outcome, found.evidence.effect) == (Outcome.INCONCLUSIVE, pytest.approx(-0.01))


def test_a_corpus_in_clusters_is_not_resampled_item_by_item():
    one, other = (replace(sample, clusters=("a", "b") * (N // 2)) for sample in pair(Kind.CORPUS, 1))
    found = verdict(Kind.CORPUS, False, one, other)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "cluster" in found.reason
