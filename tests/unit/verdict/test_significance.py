"""Marks of a table: two-sided paired tests, by kind of metric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pytest_qllm.benchmarks.corpus import corpus_metric
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.significance import Difference, difference, mcnemar_two_sided, randomized


def sample(scores: np.ndarray, weights: np.ndarray | None = None, clusters: list[str] | None = None) -> Sample:
    n = len(scores)
    ids = tuple(map(str, range(n)))
    weights = np.ones(n) if weights is None else weights
    return Sample(ids, scores.astype(float), weights, np.zeros(n), None if clusters is None else tuple(clusters))


def test_mcnemar_is_scipy_s_binomial_test() -> None:
    for broken, mended in ((0, 0), (3, 3), (0, 6), (21, 9), (9, 21)):
        expected = stats.binomtest(broken, broken + mended).pvalue if broken + mended else 1.0
        assert mcnemar_two_sided(broken, mended) == pytest.approx(expected)


def test_right_and_wrong_answers() -> None:
    baseline = np.r_[np.ones(60), np.zeros(40)]
    candidate = np.r_[np.zeros(21), np.ones(39), np.ones(9), np.zeros(31)]
    found = difference(Kind.ACCURACY, sample(baseline), sample(candidate))
    assert (found.effect, found.n, found.test) == (pytest.approx(-0.12), 100, "McNemar, exact")
    assert found.p == pytest.approx(stats.binomtest(9, 30).pvalue)
    assert found.low < -0.12 < found.high < 0


def test_the_same_scores_differ_by_nothing() -> None:
    scores = np.tile([1.0, 0.0, 1.0], 40)
    for kind in (Kind.ACCURACY, Kind.GRADED, Kind.SOFT):
        assert difference(kind, sample(scores), sample(scores)).p == 1.0


def test_answers_in_clusters_are_not_tested_one_by_one() -> None:
    baseline, candidate = np.ones(200), np.r_[np.zeros(20), np.ones(180)]
    clusters = [str(at // 20) for at in range(200)]
    alone = difference(Kind.ACCURACY, sample(baseline), sample(candidate))
    together = difference(Kind.ACCURACY, sample(baseline, None, clusters), sample(candidate, None, clusters))
    assert alone.p is not None
    assert together.p is not None
    assert alone.p < 1e-5 < 0.05 < together.p
    assert together.test == "Gaffke over clusters"


def test_perplexities_are_tested_on_the_log_ratio() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(200, 400, 40).astype(float)
    baseline = -3 * tokens
    candidate = baseline - tokens * (0.02 + 0.03 * rng.normal(size=40))
    found = difference(Kind.PERPLEXITY, sample(baseline, tokens), sample(candidate, tokens))
    plain = stats.ttest_1samp((baseline - candidate) / tokens, 0).pvalue
    assert found.low < found.effect < found.high
    assert found.p == pytest.approx(plain, rel=1, abs=0.01)


def test_too_few_documents_have_no_p_value() -> None:
    tokens = np.full(5, 100.0)
    found = difference(Kind.PERPLEXITY, sample(-3 * tokens, tokens), sample(-3.1 * tokens - np.arange(5), tokens))
    assert (found.p, found.reason) == (None, "fewer than 8 documents")


def test_a_corpus_metric_is_tested_by_swapping_answers() -> None:
    rng = np.random.default_rng(0)

    def share(parts: np.ndarray) -> np.ndarray:
        sums = parts.sum(-2)
        return np.asarray(sums[..., 0] / sums[..., 1])

    parts = np.stack([rng.integers(5, 15, 150), np.full(150, 20)], -1).astype(float)
    worse = parts - np.stack([rng.integers(0, 3, 150), np.zeros(150)], -1)
    assert randomized(parts, worse, share, rng) == pytest.approx(1e-4)
    noise = parts + np.stack([rng.normal(0.2, 1.5, 150), np.zeros(150)], -1)
    seen = randomized(parts, noise, share, np.random.default_rng(1))
    assert seen == pytest.approx(stats.ttest_rel(parts[:, 0], noise[:, 0]).pvalue, abs=0.03)


def test_a_bias_score_is_compared_by_its_distance_from_zero() -> None:
    """Answers of one template stand together, and a score of the other sign is as biased."""
    n = 120
    biased = np.arange(n) % 10 < 8
    metric = corpus_metric("disamb_bias_score")
    baseline, mirrored, fair = (
        Sample(
            tuple(map(str, range(n))),
            2.0 * one - 1,
            np.ones(n),
            np.zeros(n),
            parts=np.stack([np.ones(n), np.ones(n), one, np.ones(n)], -1).astype(float),
        )
        for one in (biased, ~biased, np.arange(n) % 2)
    )

    def told(one: Sample, clusters: tuple[str, ...] | None = None) -> Difference:
        pair = (replace(side, clusters=clusters) for side in (baseline, one))
        return difference(Kind.BIAS, *pair, metric, np.random.default_rng(0))

    found = told(fair)
    assert found.effect == pytest.approx(0.6)
    assert found.p is not None
    assert found.p < 0.001
    assert found.test == "approximate randomization, 9999 shuffles"
    assert told(mirrored).effect == pytest.approx(0)
    assert told(mirrored).p == 1.0
    assert told(baseline).p == 1.0
    assert told(fair, tuple(str(at // 30) for at in range(n))).p is None  # 4 clusters are too few
