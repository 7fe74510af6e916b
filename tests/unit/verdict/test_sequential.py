"""The two looks: where they lie, and that together they fail a regime wrongly no more often than one look would."""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.verdict.paired import ALPHA, paired_difference_interval
from pytest_qllm.verdict.sequential import EARLY_ALPHA, Look, looks


class TestPlaces:
    @pytest.mark.parametrize(
        ("items", "chunk", "early"),
        [(300, 40, 120), (200, 40, 80), (60, 40, 40), (24, 12, 12), (16, 8, 8), (41, 40, 40), (120, 40, 40)],
    )
    def test_an_early_look_at_a_third_in_whole_chunks_and_one_at_the_end(self, items, chunk, early):
        assert looks(items, chunk) == (Look(early, False, 0.005), Look(items, True, ALPHA - 0.005))

    @pytest.mark.parametrize("items", [1, 39, 40])
    def test_a_single_look_with_all_of_the_error_where_there_is_one_chunk(self, items):
        assert looks(items, 40) == (Look(items, True, 0.05),)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.integers(1, 20_000), st.integers(1, 100))
    def test_the_looks_grow_share_the_error_and_only_the_last_may_pass(self, items, chunk):
        *early, last = looks(items, chunk)
        assert all(look.items % chunk == 0 and 0 < look.items < items and not look.may_pass for look in early)
        assert (last.items, last.may_pass) == (items, True)
        assert sum(look.fail_alpha for look in (*early, last)) == pytest.approx(ALPHA)


class TestErrorRates:
    """Both looks at the same growing sample, the true loss exactly the tolerance."""

    runs = 4000

    @pytest.mark.parametrize(("items", "flips"), [(300, 0.10), (300, 0.20), (600, 0.08)])
    def test_a_wrong_fail_stays_near_five_percent(self, items, flips):
        failed, _, _ = self.rates(items, flips, loss=0.04, tolerance=0.04)
        assert failed == pytest.approx(0.05, abs=0.015)

    def test_a_wrong_pass_stays_within_five_percent(self):
        _, passed, _ = self.rates(300, 0.10, loss=0.04, tolerance=0.04)
        assert passed <= 0.05 + 3 * sqrt(0.05 * 0.95 / self.runs)

    def test_at_the_tolerance_hardly_anything_stops_early(self):
        _, _, stopped = self.rates(300, 0.10, loss=0.04, tolerance=0.04)
        assert stopped <= 2 * EARLY_ALPHA

    def test_a_plain_loss_stops_early(self):
        failed, _, stopped = self.rates(300, 0.40, loss=0.25, tolerance=0.04)
        assert failed == 1.0
        assert stopped > 0.9

    def rates(self, items: int, flips: float, loss: float, tolerance: float) -> tuple[float, float, float]:
        """Shares of runs that fail, that pass, and that fail at the early look."""
        rng = np.random.default_rng(7)
        chances = [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
        early, last = looks(items, 40)
        first = rng.multinomial(early.items, chances, size=self.runs)
        whole = first + rng.multinomial(items - early.items, chances, size=self.runs)

        @lru_cache(None)
        def bounds(broken: int, mended: int, n: int, alpha: float) -> tuple[float, float]:
            return paired_difference_interval(broken, mended, n, alpha)

        stopped = np.array([bounds(b, m, early.items, early.fail_alpha)[1] < -tolerance for b, m, _ in first.tolist()])
        failed = np.array([bounds(b, m, items, last.fail_alpha)[1] < -tolerance for b, m, _ in whole.tolist()])
        passed = np.array([bounds(b, m, items, ALPHA)[0] > -tolerance for b, m, _ in whole.tolist()])
        return float((stopped | failed).mean()), float((passed & ~stopped).mean()), float(stopped.mean())
