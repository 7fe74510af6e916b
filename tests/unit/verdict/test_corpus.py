"""The paired bootstrap of corpus metrics: what it finds, that it is reproducible, and that it refuses to guess."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
import pytest

from pytest_qllm.verdict.corpus import corpus_interval


def precision(parts):
    """Matches over attempts of the whole corpus, as BLEU's n-gram precisions."""
    return parts[..., 0].sum(-1) / parts[..., 1].sum(-1)


def corpus(rng, n, rate):
    attempts = rng.integers(5, 30, n)
    return np.stack([rng.binomial(attempts, rate), attempts], -1).astype(float)


def test_finds_the_difference_of_the_metric():
    rng = np.random.default_rng(1)
    baseline = corpus(rng, 150, 0.5)
    candidate = baseline.copy()
    candidate[:, 0] = rng.binomial(baseline[:, 0].astype(int), 0.9)
    effect, low, high, error = corpus_interval(baseline, candidate, precision, 0.05, np.random.default_rng(2))
    assert effect == precision(candidate) - precision(baseline)
    assert low < effect < high < 0
    assert high - low == pytest.approx(2 * 1.645 * error, rel=0.1)


def test_the_same_generator_gives_the_same_limits():
    rng = np.random.default_rng(3)
    baseline, candidate = corpus(rng, 60, 0.5), corpus(rng, 60, 0.5)
    one, other = (
        corpus_interval(baseline, candidate, precision, 0.05, np.random.default_rng(4), 999) for _ in range(2)
    )
    assert one == other


def test_identical_corpora_prove_nothing():
    baseline = corpus(np.random.default_rng(5), 60, 0.5)
    effect, low, high, _ = corpus_interval(baseline, baseline, precision, 0.05, np.random.default_rng(6), 499)
    assert (effect, low, high) == (0, -inf, inf)


@pytest.mark.parametrize("shapes", [((5, 2), (4, 2)), ((5,), (5,)), ((1, 2), (1, 2))])
def test_refuses_shapes_that_do_not_fit(shapes):
    with pytest.raises(ValueError, match="item statistics of shapes"):
        corpus_interval(np.ones(shapes[0]), np.ones(shapes[1]), precision, 0.05, np.random.default_rng(7))


def test_each_limit_errs_about_as_often_as_it_says():
    rng = np.random.default_rng(8)
    runs, too_low, too_high = 400, 0, 0
    for _ in range(runs):
        baseline = corpus(rng, 100, 0.5)
        candidate = baseline.copy()
        candidate[:, 0] = rng.binomial(baseline[:, 0].astype(int), 0.9)
        _, low, high, _ = corpus_interval(baseline, candidate, precision, 0.05, rng, 499)
        too_low, too_high = too_low + (high < -0.05), too_high + (low > -0.05)
    assert max(too_low, too_high) / runs <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs)
