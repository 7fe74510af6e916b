"""The noise floor: what a score moves by when only its batches change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.verdict import noise

quick = settings(max_examples=50, deadline=None, derandomize=True)


def test_equal_scores_have_no_noise() -> None:
    item = [[-3.0, -1.0, -2.0]] * 4
    floor = noise.of_choices(item, item, item * 10, [[1.0] * 3] * 40, flips=0)
    assert (floor.items, floor.largest, floor.flips, floor.expected_flips, floor.floor) == (4, 0.0, 0, 0.0, 0.0)


def test_expected_flips_are_those_of_a_simulation() -> None:
    """Scores with a normal error of 0.05 nats: how many answers differ between two scorings?"""
    generator = np.random.default_rng(5)
    truth = generator.normal(0, 0.3, (20_000, 4))
    one, other = (truth + generator.normal(0, 0.05, truth.shape) for _ in range(2))
    flips = (one.argmax(1) != other.argmax(1)).mean()
    found = noise.of_choices(one[:500], other[:500], one, np.ones_like(one), flips=0)
    assert found.expected_flips == pytest.approx(flips, rel=0.15)
    assert found.floor == pytest.approx(1.96 * np.sqrt(flips / 20_000), rel=0.1)


def test_a_normalized_accuracy_is_judged_by_its_own_distances() -> None:
    """By length the two choices are a hair apart, by sum they are not."""
    first, again = [[-10.0, -20.1]], [[-10.1, -20.0]]
    by_sum = noise.of_choices(first, again, first, [[1, 1]], flips=0)
    by_length = noise.of_choices(first, again, first, [[10, 20]], flips=0)
    assert by_sum.expected_flips == pytest.approx(0, abs=1e-9)
    assert by_length.expected_flips is not None
    assert by_length.expected_flips > 0.1


@quick
@given(st.floats(0.001, 1.0), st.floats(1.1, 3.0))
def test_more_noise_never_lowers_the_floor(error: float, factor: float) -> None:
    every = [[-1.0, -1.5], [-2.0, -2.2], [-3.0, -9.0]]

    def floor(size: float) -> float:
        again = [[one + size, other - size] for one, other in every]
        return noise.of_choices(every, again, every, [[1, 1]] * 3, flips=0).floor

    assert floor(error) <= floor(error * factor)


def test_items_of_a_single_choice_by_their_flips() -> None:
    floor = noise.of_flips([0.1, -0.4, 0.0, 0.2], flips=1, n=100)
    assert floor.largest == pytest.approx(0.4)
    assert floor.floor == pytest.approx(1.96 * np.sqrt(0.25 / 100), rel=1e-3)


def test_generated_texts_have_no_log_likelihood_to_differ() -> None:
    assert noise.of_flips([0.0, 0.0], flips=0, n=8).floor == 0


@pytest.mark.parametrize("again", [[-101.0, -200.5], [-101.0, -199.5]])
def test_a_perplexity_by_the_ratio(again: list[float]) -> None:
    """Errors of two texts with opposite signs are no smaller for it."""
    floor = noise.of_perplexity([-100.0, -200.0], again, [50, 100])
    assert floor.floor == pytest.approx(np.exp(1.96 * np.hypot(1, 0.5) / 150), rel=1e-5)
    assert floor.expected_flips is None


def test_the_floor_of_a_probability_is_what_its_mean_moves_by() -> None:
    """Each probability moves with an error of 0.02; the mean over 400 of them by a twentieth of that."""
    generator = np.random.default_rng(7)
    one, other = np.full(5_000, 0.5), 0.5 + generator.normal(0, 0.02, 5_000)
    floor = noise.of_means(one, other, 0.1, 3, 0.02, 400)
    assert floor.floor == pytest.approx(1.96 * 0.02 / 20, rel=0.05)
    assert (floor.items, floor.largest, floor.flips, floor.expected_flips) == (5_000, 0.1, 3, 0.02)
