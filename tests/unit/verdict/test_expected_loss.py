"""Known losses: the table is read strictly, and the bound is judged by the same looks as the tolerance."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import sqrt

import numpy as np
import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.expected import Acceptance, Expected, ExpectedLosses, accept
from pytest_qllm.verdict.sequential import Look, looks
from pytest_qllm.verdict.tolerance import Tolerance
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Evidence, Kind, Outcome, Sample, Scale, Verdict, decide, judge

KINDS = {"arc_easy": "accuracy", "story_perplexity": "perplexity"}


def read(table: dict[str, object]) -> ExpectedLosses:
    def name_of(name: str) -> str:
        if name not in ("gptq-2bit", "auto-gptq-2bit", "fp16"):
            raise QllmError(f"unknown regime {name!r}")
        return name.removeprefix("auto-")

    return ExpectedLosses.from_toml(table, name_of, KINDS, "pyproject.toml")


def entry(**content: object) -> dict[str, object]:
    return {"gptq-2bit": {"arc_easy": {"reason": "for tests", "bound": 0.4, **content}}}


class TestTable:
    def test_an_entry(self):
        assert read(entry(strict=False)).of("gptq-2bit", "arc_easy", Tolerance(0.08)) == Expected(
            "for tests", 0.4, False
        )

    def test_is_strict_unless_it_says_otherwise(self):
        assert read(entry()).of("gptq-2bit", "arc_easy", Tolerance(0.08)).strict

    def test_what_is_not_there_is_not_expected(self):
        assert read(entry()).of("gptq-2bit", "story_perplexity", Tolerance(1.2)) is None
        assert read({}).of("gptq-2bit", "arc_easy", Tolerance(0.08)) is None

    def test_an_alias_is_the_regime(self):
        table = {"auto-gptq-2bit": entry()["gptq-2bit"]}
        assert read(table).of("gptq-2bit", "arc_easy", Tolerance(0.08)) is not None
        with pytest.raises(QllmError, match="has an entry for arc_easy already, by another name"):
            read({**entry(), **table})

    def test_a_perplexity_may_be_many_times_the_baseline_s(self):
        table = {"gptq-2bit": {"story_perplexity": {"reason": "x", "bound": 40000}}}
        assert read(table).of("gptq-2bit", "story_perplexity", Tolerance(1.2)).bound == 40000

    def test_a_share_of_the_baseline_s_score(self):
        found = read(entry(bound="60%")).of("gptq-2bit", "arc_easy", Tolerance(0.02, relative=True))
        assert (found.bound, found.relative) == (0.4, True)
        with pytest.raises(QllmError, match=r"the bound is 60% and the tolerance 0\.08; expected two shares"):
            read(entry(bound="60%")).of("gptq-2bit", "arc_easy", Tolerance(0.08))

    @pytest.mark.parametrize("bound", [0.08, 0.05])
    def test_a_bound_that_accepts_nothing_is_refused(self, bound):
        with pytest.raises(QllmError, match="is not above the tolerance"):
            read(entry(bound=bound)).of("gptq-2bit", "arc_easy", Tolerance(0.08))

    @pytest.mark.parametrize(
        ("table", "words"),
        [
            ({"gptq-1bit": {}}, "unknown regime 'gptq-1bit'"),
            ({"fp16": {}}, "the baseline loses nothing"),
            ({"gptq-2bit": 3}, "expected.gptq-2bit is 3"),
            ({"gptq-2bit": {"arc": {}}}, "unknown benchmark 'arc'; known benchmarks: arc_easy, story_perplexity"),
            ({"gptq-2bit": {"arc_easy": 0.4}}, "expected.gptq-2bit.arc_easy is 0.4"),
            ({"gptq-2bit": {"arc_easy": {"bound": 0.4}}}, "has no reason"),
            ({"gptq-2bit": {"arc_easy": {"reason": "x"}}}, "has no bound"),
            (entry(reason=" "), "the reason is ' '"),
            (entry(reason=3), "the reason is 3"),
            (entry(strict="no"), "strict is 'no'"),
            (entry(strikt=False), "has 'strikt'; expected reason, bound and perhaps strict"),
            (entry(bound=40), "the bound 40 is out of range; expected a difference of proportions"),
            (entry(bound=True), "the bound True is out of range"),
            (entry(bound="0.4"), "the bound '0.4' is out of range"),
            (entry(bound=float("nan")), "the bound nan is out of range"),
            ({"gptq-2bit": {"story_perplexity": {"reason": "x", "bound": 0.4}}}, "expected a ratio above 1"),
            ({"gptq-2bit": {"story_perplexity": {"reason": "x", "bound": float("inf")}}}, "the bound inf"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_in_one_line(self, table, words):
        with pytest.raises(QllmError) as refused:
            read(table)
        assert words in str(refused.value)
        assert str(refused.value).startswith("pyproject.toml: ")
        assert "\n" not in str(refused.value)


PLAN = looks(400, 40)


def evidence(n: int, low: float, high: float, scale: Scale = Scale.DIFFERENCE) -> Evidence:
    return Evidence(scale, 0.6, 0.5, (low + high) / 2, low, high, n, None, None, "by hand")


def accepted(
    *limits: tuple[float, float], bound: float = 0.4, tolerance: float = 0.08, strict: bool = True, **more: object
) -> tuple[Acceptance, Verdict, list[int]]:
    """What becomes of a loss whose limits are those at the first looks, and the last ones from there on."""
    asked: list[int] = []

    @cache
    def judge_at(look: Look) -> Verdict:
        asked.append(look.items)
        found = evidence(look.items, *limits[min(len(asked), len(limits)) - 1])
        return Verdict(decide(found, tolerance), tolerance, found)

    verdict = conduct(PLAN, judge_at)
    return accept(Expected("x", bound, strict), verdict, PLAN, judge_at, **more), verdict, asked


class TestAccept:
    def test_a_loss_within_the_bound(self):
        found, verdict, asked = accepted((-0.3, -0.1))
        assert (found.outcome, found.within, found.n) == ("xfail", True, 40)
        assert (verdict.outcome, asked) == (Outcome.FAIL, [40])

    def test_a_loss_beyond_it(self):
        found, verdict, _ = accepted((-0.6, -0.5))
        assert (found.outcome, found.within, verdict.outcome) == ("worse", False, Outcome.FAIL)

    def test_goes_on_until_the_bound_is_decided(self):
        found, verdict, asked = accepted((-0.5, -0.1), (-0.45, -0.2), (-0.55, -0.41), (-0.3, -0.2))
        assert (found.outcome, found.n, found.ci) == ("worse", asked[2], (-0.55, -0.41))
        assert (verdict.evidence.n, len(asked)) == (40, 3)

    def test_or_until_the_items_end(self):
        found, verdict, asked = accepted((-0.5, -0.1))
        assert (found.outcome, found.within, found.n, asked[-1]) == ("xfail", None, 400, 400)
        assert verdict.evidence.n == 40

    @pytest.mark.parametrize(("strict", "outcome"), [(True, "mended"), (False, "xpass")])
    def test_a_pass(self, strict, outcome):
        found, _, asked = accepted((-0.01, 0.02), strict=strict)
        assert (found.outcome, found.n, asked) == (outcome, None, [40])

    def test_what_is_undecided_by_the_tolerance_may_be_within_the_bound(self):
        found, verdict, _ = accepted((-0.2, 0.0))
        assert (verdict.outcome, found.outcome) == (Outcome.INCONCLUSIVE, "xfail")

    def test_or_not(self):
        found, verdict, _ = accepted((-0.5, 0.0))
        assert (verdict.outcome, found.outcome, found.within) == (Outcome.INCONCLUSIVE, "undecided", None)

    @pytest.mark.parametrize("outcome", [Outcome.NO_SIGNAL, Outcome.INCONCLUSIVE])
    def test_without_evidence_nothing_is_accepted(self, outcome):
        verdict = Verdict(outcome, 0.08, None, "why")
        assert accept(Expected("x", 0.4), verdict, PLAN, lambda look: verdict).outcome == "undecided"

    def test_limits_that_are_no_ground_for_a_verdict_are_none_for_the_bound(self):
        verdict = Verdict(Outcome.INCONCLUSIVE, 0.08, evidence(400, -0.1, 0.1), "no spread")
        assert accept(Expected("x", 0.4), verdict, PLAN, lambda look: verdict).outcome == "undecided"

    def test_says_where_the_bound_catches_nothing(self):
        assert "answers at random loses 28.5 points" in accepted((-0.3, -0.1), most=0.285)[0].note
        assert accepted((-0.3, -0.1), most=0.5)[0].note == ""

    def test_both_questions_together_keep_their_error(self):
        """A loss of exactly the bound is called worse, or within, in at most 5 % of runs each."""
        rng = np.random.default_rng(3)
        runs, n, bound = 300, 120, 0.2
        plan = looks(n, 40)
        outcomes = []
        for _ in range(runs):
            right = rng.random(n) < 0.8
            # 25 % of the items are broken among those right, so that 20 % of all are lost.
            scores = np.stack([right, right & (rng.random(n) >= 0.25)]).astype(float)
            pair = [Sample(tuple(map(str, range(n))), row, np.ones(n), np.full(n, 0.25)) for row in scores]

            @cache
            def judge_at(look: Look, pair=pair) -> Verdict:
                found = judge(*(one.first(look.items) for one in pair), Kind.ACCURACY, 0.08, alpha=look.alpha)
                limits = replace(found.evidence, p_pass=None, p_fail=None, p_any_loss=None)  # which take the time
                return replace(found, evidence=limits)

            found = accept(Expected("x", bound), conduct(plan, judge_at), plan, judge_at)
            outcomes.append(found.within)
        limit = 0.05 + 3 * sqrt(0.05 * 0.95 / runs)
        assert outcomes.count(True) / runs <= limit
        assert outcomes.count(False) / runs <= limit
