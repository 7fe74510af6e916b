"""What is judged PASS, FAIL, INCONCLUSIVE and NO_SIGNAL, and that nothing passes without evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.compare import compare
from pytest_qllm.verdict.verdict import Kind, Outcome, Sample, Scale, at_ceiling, judge, lacks_signal, mean_score

quick = settings(max_examples=40, deadline=None, derandomize=True)


def answers(scores, chance=0.25, clusters=None) -> Sample:
    """One measurement of an accuracy; the ids are those of its places."""
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    return Sample(tuple(f"item {i}" for i in range(n)), scores, np.ones(n), np.full(n, chance), clusters)


def documents(loglikelihoods, tokens) -> Sample:
    """One measurement of a perplexity."""
    n = len(loglikelihoods)
    return Sample(
        tuple(f"document {i}" for i in range(n)),
        np.asarray(loglikelihoods, dtype=np.float64),
        np.asarray(tokens, dtype=np.float64),
        np.zeros(n),
    )


def pair(n, right, broken=0, mended=0, chance=0.25) -> tuple[Sample, Sample]:
    """A baseline with so many right answers, and a candidate with so many of them broken and others mended."""
    baseline = np.zeros(n)
    baseline[:right] = 1
    candidate = baseline.copy()
    candidate[:broken] = 0
    candidate[right : right + mended] = 1
    return answers(baseline, chance), answers(candidate, chance)


def accuracy(baseline, candidate, tolerance=0.03):
    return judge(baseline, candidate, Scale.DIFFERENCE, tolerance)


def perplexity(baseline, candidate, tolerance=1.02):
    return judge(baseline, candidate, Scale.RATIO, tolerance)


class TestCeiling:
    """Items that the baseline answers nearly all: too easy to pass by, not too easy to fail."""

    @pytest.mark.parametrize(
        ("right", "outcome"), [(1000, Outcome.NO_SIGNAL), (995, Outcome.NO_SIGNAL), (990, Outcome.PASS)]
    )
    def test_there_is_no_pass(self, right, outcome):
        verdict = at_ceiling(accuracy(*pair(1000, right=right), tolerance=0.03), Kind.ACCURACY)
        assert verdict.outcome is outcome
        assert ("at the ceiling" in verdict.reason) is (outcome is Outcome.NO_SIGNAL)

    def test_a_proven_loss_is_one(self):
        verdict = accuracy(*pair(1000, right=1000, broken=90), tolerance=0.03)
        assert at_ceiling(verdict, Kind.ACCURACY) is verdict
        assert verdict.outcome is Outcome.FAIL


class TestAccuracy:
    def test_a_loss_proven_smaller_than_the_tolerance_passes(self):
        verdict = accuracy(*pair(400, right=217, broken=13, mended=16), tolerance=0.03)
        assert verdict.outcome is Outcome.PASS
        assert verdict.evidence.low > -0.03

    def test_a_loss_proven_larger_fails(self):
        verdict = accuracy(*pair(400, right=217, broken=49, mended=16), tolerance=0.04)
        assert verdict.outcome is Outcome.FAIL
        assert verdict.evidence.high < -0.04

    def test_a_loss_that_is_neither_is_inconclusive(self):
        verdict = accuracy(*pair(400, right=295, broken=36, mended=13), tolerance=0.04)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.evidence.low < -0.04 < verdict.evidence.high

    def test_many_flips_without_a_loss_do_not_fail(self):
        verdict = accuracy(*pair(1600, right=868, broken=168, mended=168), tolerance=0.04)
        assert verdict.outcome is Outcome.PASS

    def test_the_evidence_says_what_was_compared(self):
        evidence = accuracy(*pair(400, right=217, broken=13, mended=16)).evidence
        assert (evidence.scale, evidence.n, evidence.broken, evidence.mended) == (Scale.DIFFERENCE, 400, 13, 16)
        assert evidence.baseline == 217 / 400
        assert evidence.candidate == 220 / 400
        assert evidence.effect == pytest.approx(evidence.candidate - evidence.baseline)
        assert evidence.low < evidence.effect < evidence.high
        assert evidence.alphas == (0.05, 0.05)
        assert evidence.interval == "exact (Buehler, Tango)"
        assert (evidence.units, evidence.looks) == (400, 1)
        assert evidence.fixed == pytest.approx(10.82 * (29 / 400 - (3 / 400) ** 2) / 0.03**2, abs=2)

    def test_copies_of_an_item_in_one_cluster_widen_the_interval(self):
        alone = pair(400, right=217, broken=13, mended=16)
        # The flips of `alone`, ten items side by side in each cluster: almost each cluster flips as a whole.
        grouped = [replace(sample, clusters=tuple(f"passage {i // 10}" for i in range(400))) for sample in alone]
        one, other = accuracy(*alone, tolerance=0.01), accuracy(*grouped, tolerance=0.01)
        assert other.evidence.low < one.evidence.low
        assert other.evidence.high > one.evidence.high
        assert other.evidence.interval == "Gaffke over clusters"

    def test_an_identical_candidate_is_judged_no_worse_than_one_that_broke_an_item(self):
        baseline, broken = pair(400, right=260, broken=1)
        clusters = tuple(f"passage {i // 10}" for i in range(400))
        baseline, broken = replace(baseline, clusters=clusters), replace(broken, clusters=clusters)
        assert accuracy(baseline, baseline).evidence.low >= accuracy(baseline, broken).evidence.low - 1e-9


class TestFewClusters:
    """Few clusters say little about how much clusters differ, however many items they have."""

    @staticmethod
    def grouped(samples, clusters):
        names = tuple(f"passage {i % clusters}" for i in range(len(samples[0].ids)))
        return [replace(sample, clusters=names) for sample in samples]

    @pytest.mark.parametrize(("clusters", "outcome"), [(2, "INCONCLUSIVE"), (60, "INCONCLUSIVE"), (200, "PASS")])
    def test_do_not_pass(self, clusters, outcome):
        verdict = accuracy(*self.grouped(pair(2000, right=1900, broken=1), clusters))
        assert verdict.outcome == outcome
        assert verdict.evidence.units == clusters

    @pytest.mark.parametrize(("clusters", "outcome"), [(2, "INCONCLUSIVE"), (20, "FAIL")])
    def test_do_not_fail_either_and_have_their_evidence(self, clusters, outcome):
        verdict = accuracy(*self.grouped(pair(2000, right=1900, broken=1800), clusters))
        assert verdict.outcome == outcome
        assert verdict.evidence.broken == 1800

    def test_other_clusters_in_the_candidate_are_refused(self):
        baseline, candidate = self.grouped(pair(200, right=190), 40)
        with pytest.raises(QllmError, match="different clusters"):
            accuracy(baseline, replace(candidate, clusters=candidate.clusters[::-1]))

    def test_no_clusters_are_not_few(self):
        assert accuracy(*pair(400, right=390)).outcome is Outcome.PASS


class TestAlpha:
    """What differs at an early look."""

    harmless = pair(400, right=217, broken=13, mended=16)
    harmful = pair(400, right=217, broken=49, mended=16)

    @pytest.mark.parametrize(("alpha", "outcome"), [(0.05, Outcome.PASS), (0.005, Outcome.INCONCLUSIVE)])
    def test_a_loss_must_be_proven_smaller_at_the_alpha_of_the_look(self, alpha, outcome):
        verdict = judge(*self.harmless, Kind.ACCURACY, 0.03, alpha=alpha)
        assert verdict.outcome is outcome
        assert verdict.evidence.alphas == (alpha, alpha)

    @pytest.mark.parametrize(("alpha", "outcome"), [(0.05, Outcome.FAIL), (0.005, Outcome.INCONCLUSIVE)])
    def test_and_proven_larger(self, alpha, outcome):
        assert judge(*self.harmful, Kind.ACCURACY, 0.04, alpha=alpha).outcome is outcome

    def test_p_values_agree_with_the_verdict(self):
        passed = accuracy(*self.harmless).evidence
        assert passed.p_pass < 0.05 < passed.p_fail
        failed = accuracy(*self.harmful, tolerance=0.04).evidence
        assert failed.p_fail < 0.05 < failed.p_pass


class TestOtherKinds:
    rng = np.random.default_rng(9)
    base = rng.uniform(0.3, 0.9, 300)

    def graded(self, scores, clusters=None):
        return answers(scores, 0.0, clusters)

    @pytest.mark.parametrize(("loss", "outcome"), [(0.0, "PASS"), (0.05, "INCONCLUSIVE"), (0.2, "FAIL")])
    @pytest.mark.parametrize(("kind", "tool"), [(Kind.GRADED, "Gaffke"), (Kind.SOFT, "Gaffke")])
    def test_scores_between_0_and_1(self, kind, tool, loss, outcome):
        noise = np.random.default_rng(10).normal(0, 0.03, 300)
        noise -= noise.mean()
        verdict = judge(self.graded(self.base), self.graded(np.clip(self.base - loss + noise, 0, 1)), kind, 0.05)
        assert (verdict.outcome, verdict.evidence.interval) == (outcome, tool)

    @pytest.mark.parametrize("kind", [Kind.GRADED, Kind.SOFT])
    def test_scores_beyond_1_are_refused(self, kind):
        with pytest.raises(QllmError, match="between 0 and 1"):
            judge(self.graded(self.base), self.graded(self.base + 1), kind, 0.05)

    @pytest.mark.parametrize(("loss", "outcome"), [(0.0, "PASS"), (3.0, "FAIL")])
    @pytest.mark.parametrize("clusters", [None, tuple(f"c {i // 3}" for i in range(300))])
    def test_unbounded_means(self, loss, outcome, clusters):
        noise = np.random.default_rng(11).normal(0, 1, 300)
        verdict = judge(
            self.graded(10 * self.base, clusters), self.graded(10 * self.base - loss + noise, clusters), Kind.MEAN, 1.0
        )
        assert verdict.outcome == outcome

    def test_equal_losses_have_no_spread_and_are_inconclusive(self):
        base = np.full(100, 0.8)
        verdict = judge(self.graded(base), self.graded(base - 0.01), Kind.MEAN, 0.05)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "no spread" in verdict.reason

    @pytest.mark.parametrize("kind", [Kind.SOFT, Kind.GRADED, Kind.MEAN])
    def test_constant_scores_do_not_pass(self, kind):
        constant = self.graded(np.full(100, 0.8))
        assert judge(constant, constant, kind, 0.05).outcome is Outcome.INCONCLUSIVE

    def test_a_rare_loss_that_was_not_seen_is_not_ruled_out(self):
        """One answer in 25 loses half of its probability, the others hardly move: 40 items show none in a run of 5."""
        noise = np.random.default_rng(10).normal(0, 0.01, 300)
        candidate = self.graded(np.clip(self.base + noise, 0, 1))
        verdicts = [
            judge(self.graded(self.base).first(n), candidate.first(n), Kind.SOFT, 0.02).outcome for n in (40, 300)
        ]
        assert verdicts == [Outcome.INCONCLUSIVE, Outcome.PASS]

    def test_the_baseline_against_itself_passes_where_its_scores_vary(self):
        for kind in (Kind.SOFT, Kind.MEAN, Kind.GRADED):
            assert judge(self.graded(self.base), self.graded(self.base), kind, 0.05).outcome is Outcome.PASS

    @pytest.mark.parametrize(("factor", "outcome"), [(1.0, "PASS"), (1.5, "FAIL")])
    def test_a_ratio_of_times(self, factor, outcome):
        times = np.exp(np.random.default_rng(12).normal(0, 0.2, 20))
        noise = np.exp(np.random.default_rng(13).normal(0, 0.02, 20))
        verdict = judge(self.graded(times), self.graded(times * factor * noise), Kind.COST, 1.1)
        assert verdict.outcome == outcome
        assert verdict.evidence.effect == pytest.approx(factor, rel=0.02)

    def test_a_time_of_zero_is_refused(self):
        with pytest.raises(QllmError, match="must be positive"):
            judge(self.graded(np.ones(9)), self.graded(np.zeros(9)), Kind.COST, 1.1)

    def test_a_corpus_metric(self):
        parts = np.random.default_rng(14).integers(1, 9, (120, 2)).astype(float)
        baseline = replace(self.graded(np.zeros(120)), parts=parts)
        candidate = replace(baseline, parts=parts * [0.5, 1.0] + np.random.default_rng(15).random((120, 2)))
        verdict = judge(
            baseline,
            candidate,
            Kind.CORPUS,
            0.05,
            metric=lambda p: p[..., 0].sum(-1) / p[..., 1].sum(-1),
            generator=np.random.default_rng(16),
        )
        assert verdict.outcome is Outcome.FAIL
        assert verdict.evidence.interval == "paired bootstrap, BCa"
        with pytest.raises(ValueError, match="needs its function"):
            judge(baseline, candidate, Kind.CORPUS, 0.05)

    def ratios(self, biased, seed, clusters=None):
        """Biased and informative answers; the score is 2 biased / informative - 1."""
        informative = np.ones(400)
        parts = np.stack([(np.random.default_rng(seed).random(400) < biased).astype(float), informative], axis=1)
        return replace(self.graded(np.zeros(400)), parts=parts, clusters=clusters)

    @pytest.mark.parametrize(
        ("biased", "outcome"),
        [(0.5, Outcome.PASS), (0.75, Outcome.INCONCLUSIVE), (0.95, Outcome.FAIL), (0.05, Outcome.FAIL)],
    )
    def test_a_bias_score_is_judged_by_its_distance_from_0(self, biased, outcome):
        verdict = judge(
            self.ratios(0.7, 20),
            self.ratios(biased, 21),
            Kind.BIAS,
            0.1,
            metric=lambda p: 2 * p[..., 0].sum(-1) / p[..., 1].sum(-1) - 1,
            generator=np.random.default_rng(22),
        )
        assert verdict.outcome is outcome
        evidence = verdict.evidence
        assert np.sign(evidence.candidate) == np.sign(biased - 0.5) or biased == 0.5
        assert evidence.effect == pytest.approx(abs(evidence.baseline) - abs(evidence.candidate))

    def test_clusters_of_a_corpus_metric_are_resampled_as_a_whole(self):
        names = tuple(f"template {at % 110}" for at in range(400))
        metric = {"metric": lambda p: p[..., 0].sum(-1) / p[..., 1].sum(-1)}
        found = [
            judge(
                self.ratios(0.7, 23, clusters),
                self.ratios(0.7, 24, clusters),
                Kind.CORPUS,
                0.2,
                generator=np.random.default_rng(25),
                **metric,
            ).evidence
            for clusters in (None, names)
        ]
        assert [one.units for one in found] == [400, 110]
        assert found[1].interval == "paired bootstrap of clusters, BCa"
        assert found[0].effect == pytest.approx(found[1].effect)

    def test_few_clusters_are_no_ground_for_a_verdict(self):
        names = tuple(f"template {at % 99}" for at in range(400))
        verdict = judge(
            self.ratios(0.7, 23, names),
            self.ratios(0.7, 24, names),
            Kind.CORPUS,
            0.2,
            metric=lambda p: p[..., 0].sum(-1) / p[..., 1].sum(-1),
            generator=np.random.default_rng(25),
        )
        assert (verdict.outcome, verdict.reason[:14]) == (Outcome.INCONCLUSIVE, "fewer than 100")

    def test_a_corpus_metric_without_statistics_is_refused(self):
        with pytest.raises(QllmError, match="statistics of every item"):
            judge(self.graded(self.base), self.graded(self.base), Kind.CORPUS, 0.05)


class TestRelative:
    @pytest.mark.parametrize(("broken", "outcome"), [(4, "PASS"), (40, "INCONCLUSIVE"), (150, "FAIL")])
    def test_keep_95_percent_of_the_accuracy(self, broken, outcome):
        verdict = judge(*pair(1000, right=700, broken=broken), Kind.ACCURACY, 0.05, relative=True)
        assert verdict.outcome == outcome
        assert verdict.evidence.scale is Scale.RELATIVE
        assert verdict.evidence.effect == pytest.approx(-broken / 700)

    def test_keep_95_percent_of_a_mean(self):
        base = np.random.default_rng(17).uniform(1, 9, 200)
        sample = answers(base), answers(base * np.random.default_rng(18).normal(0.99, 0.02, 200))
        assert judge(*sample, Kind.MEAN, 0.05, relative=True).outcome is Outcome.PASS

    def test_a_ratio_has_none(self):
        texts = TestPerplexity()
        with pytest.raises(ValueError, match="no relative tolerance"):
            judge(texts.baseline, texts.candidate(0.05), Kind.PERPLEXITY, 0.05, relative=True)


class TestPerplexity:
    tokens = np.full(20, 500)
    baseline = documents(-500 * np.linspace(2.5, 3.5, 20), tokens)
    wobble = np.tile([-0.01, 0.01], 10)

    def candidate(self, loss):
        """A candidate that loses so many nats a token, a hundredth more or less in each document."""
        return replace(self.baseline, scores=self.baseline.scores - self.tokens * (loss + self.wobble))

    @pytest.mark.parametrize(
        ("ratio", "outcome"),
        [(1.001, Outcome.PASS), (1.02, Outcome.INCONCLUSIVE), (1.10, Outcome.FAIL), (0.95, Outcome.PASS)],
    )
    def test_the_three_outcomes_at_two_percent(self, ratio, outcome):
        verdict = perplexity(self.baseline, self.candidate(np.log(ratio)))
        assert verdict.outcome is outcome
        assert verdict.evidence.effect == pytest.approx(ratio)

    def test_the_evidence_says_what_was_compared(self):
        evidence = perplexity(self.baseline, self.candidate(0.01)).evidence
        assert evidence.scale is Scale.RATIO
        assert evidence.baseline == pytest.approx(np.exp(3.0))
        assert evidence.candidate / evidence.baseline == pytest.approx(evidence.effect)
        assert (evidence.broken, evidence.mended, evidence.n) == (None, None, 20)

    @pytest.mark.parametrize(
        ("n", "outcome"), [(1, "INCONCLUSIVE"), (2, "INCONCLUSIVE"), (7, "INCONCLUSIVE"), (8, "PASS")]
    )
    def test_fewer_than_eight_documents_are_inconclusive(self, n, outcome):
        wobble = np.tile([-0.1, 0.1], n)[:n]
        baseline, candidate = documents([-300.0] * n, [100] * n), documents(-300.5 + wobble, [100] * n)
        verdict = perplexity(baseline, candidate)
        assert verdict.outcome == outcome
        assert verdict.evidence.n == n
        assert verdict.reason == ("" if n == 8 else "fewer than 8 documents")

    def test_documents_that_all_lose_exactly_the_same_are_inconclusive(self):
        baseline, candidate = documents([-300.0] * 20, [100] * 20), documents([-300.5] * 20, [100] * 20)
        verdict = perplexity(baseline, candidate)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "no spread" in verdict.reason

    def test_a_model_equal_to_the_bit_passes(self):
        assert perplexity(self.baseline, self.baseline).outcome is Outcome.PASS

    def test_fewer_than_eight_documents_do_not_fail_either(self):
        baseline, candidate = documents([-300.0] * 7, [100] * 7), documents([-900.0] * 7, [100] * 7)
        assert perplexity(baseline, candidate).outcome is Outcome.INCONCLUSIVE

    def test_a_destroyed_model_fails_without_overflow(self):
        destroyed = replace(self.baseline, scores=self.baseline.scores * 1000 * np.linspace(0.9, 1.1, 20))
        verdict = perplexity(self.baseline, destroyed)
        assert verdict.outcome is Outcome.FAIL
        assert np.isfinite([verdict.evidence.candidate, verdict.evidence.effect, verdict.evidence.high]).all()

    def test_other_tokens_in_the_candidate_are_refused(self):
        with pytest.raises(QllmError, match="different numbers of tokens"):
            perplexity(self.baseline, replace(self.baseline, weights=self.baseline.weights * 2))


class TestFailClosed:
    @pytest.mark.parametrize("scale", Scale)
    def test_no_items(self, scale):
        with pytest.raises(QllmError, match="no items"):
            judge(answers([]), answers([]), scale, 0.03)

    @pytest.mark.parametrize("scale", Scale)
    @pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("which", ["baseline", "candidate"])
    def test_a_score_that_is_no_number(self, scale, broken, which):
        good, bad = answers([1.0] * 99 + [0.0]), answers([1.0] * 99 + [broken])
        samples = (bad, good) if which == "baseline" else (good, bad)
        with pytest.raises(QllmError, match="1 of 100 scores are not finite"):
            judge(*samples, scale, 0.03)

    def test_another_set_of_items(self):
        baseline, candidate = pair(100, right=80)
        other = replace(candidate, ids=(*candidate.ids[:-1], "another item"))
        with pytest.raises(QllmError, match=r"not measured on the same items \(100 and 100, 99 in common\)"):
            accuracy(baseline, other)

    def test_the_same_items_in_another_order(self):
        baseline, candidate = pair(100, right=80)
        with pytest.raises(QllmError, match="not measured on the same items"):
            accuracy(baseline, replace(candidate, ids=candidate.ids[::-1]))

    def test_fewer_items(self):
        with pytest.raises(QllmError, match=r"\(100 and 99, 99 in common\)"):
            accuracy(pair(100, right=80)[0], pair(99, right=80)[1])

    @pytest.mark.parametrize("field", ["scores", "weights", "chance"])
    def test_fewer_scores_than_items(self, field):
        baseline, candidate = pair(100, right=80)
        with pytest.raises(QllmError, match="where 100 were asked for"):
            accuracy(baseline, replace(candidate, **{field: np.ones(99)}))

    def test_an_item_that_is_there_twice(self):
        samples = [replace(sample, ids=(*sample.ids[:-1], sample.ids[0])) for sample in pair(100, right=80)]
        with pytest.raises(QllmError, match="1 of 100 items are there twice"):
            accuracy(*samples)

    @pytest.mark.parametrize("score", [0.5, 2.0, -1.0])
    def test_an_accuracy_that_is_neither_right_nor_wrong(self, score):
        with pytest.raises(QllmError, match="scores of 0 or 1"):
            accuracy(answers([1.0] * 99 + [0.0]), answers([1.0] * 99 + [score]))

    def test_a_document_without_tokens(self):
        with pytest.raises(QllmError, match="at least one scored token"):
            perplexity(documents([-1.0, -2.0], [10, 0]), documents([-1.0, -2.0], [10, 0]))

    def test_ten_identical_items_do_not_pass(self):
        verdict = accuracy(*pair(10, right=9), tolerance=0.03)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.evidence.effect == 0

    @pytest.mark.parametrize(("n", "outcome"), [(98, Outcome.INCONCLUSIVE), (116, Outcome.PASS)])
    def test_identical_answers_pass_three_points_from_about_100_items_on(self, n, outcome):
        assert accuracy(*pair(n, right=n - 10), tolerance=0.03).outcome is outcome

    def test_a_tolerance_of_zero_is_passed_by_no_identical_candidate(self):
        assert accuracy(*pair(1000, right=700), tolerance=0.0).outcome is Outcome.INCONCLUSIVE


class TestNoSignal:
    @pytest.mark.parametrize("right", [20, 25, 27])
    def test_a_baseline_near_chance(self, right):
        verdict = accuracy(*pair(100, right=right))
        assert verdict.outcome is Outcome.NO_SIGNAL
        assert verdict.evidence is None
        assert f"the baseline answers {right}.0% of 100 items, chance is 25.0%" in verdict.reason

    def test_too_few_items_for_a_baseline_that_is_above_chance(self):
        assert accuracy(*pair(400, right=146), tolerance=0.04).outcome is Outcome.NO_SIGNAL
        assert accuracy(*pair(1600, right=584), tolerance=0.04).outcome is Outcome.PASS

    def test_clusters_count_as_fewer_items(self):
        baseline, _ = pair(400, right=200)
        clusters = tuple(f"passage {i // 40}" for i in range(400))
        assert lacks_signal(baseline, Scale.DIFFERENCE, 0.03) is None
        assert lacks_signal(replace(baseline, clusters=clusters), Scale.DIFFERENCE, 0.03) is not None

    def test_it_is_said_from_the_baseline_alone(self):
        baseline, candidate = pair(100, right=25)
        assert lacks_signal(baseline, Scale.DIFFERENCE, 0.03) == accuracy(baseline, candidate).reason

    def test_a_perplexity_always_has_a_signal(self):
        assert lacks_signal(documents([-300.0, -200.0], [100, 90]), Scale.RATIO, 1.02) is None


class TestMeanScore:
    def test_an_accuracy_is_the_share_of_right_answers(self):
        assert mean_score(answers([1, 0, 1, 1]), Scale.DIFFERENCE) == 0.75

    def test_a_perplexity_is_per_token_not_per_document(self):
        assert mean_score(documents([-10.0, -50.0], [10, 10]), Scale.RATIO) == pytest.approx(np.exp(3.0))


@st.composite
def measured(draw: st.DrawFn) -> tuple[Sample, Sample]:
    """Baseline and candidate of up to 300 items, agreeing in most."""
    n = draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    baseline = rng.random(n) < draw(st.sampled_from([0.3, 0.6, 0.9, 1.0]))
    flipped = rng.random(n) < draw(st.sampled_from([0.0, 0.02, 0.1, 0.5]))
    cluster = draw(st.sampled_from([None, 1, 5]))
    clusters = cluster and tuple(f"passage {i // cluster}" for i in range(n))
    return answers(baseline, 0.25, clusters), answers(baseline ^ flipped, 0.25, clusters)


class TestProperties:
    @quick
    @given(measured(), st.sampled_from([0.01, 0.03, 0.08]), st.integers(0, 2**32 - 1))
    def test_the_order_of_the_items_does_not_matter(self, samples, tolerance, seed):
        order = np.random.default_rng(seed).permutation(len(samples[0].ids))
        verdict, shuffled = accuracy(*samples, tolerance), accuracy(*(take(s, order) for s in samples), tolerance)
        assert shuffled.outcome is verdict.outcome
        if verdict.evidence:
            assert interval(shuffled) == pytest.approx(interval(verdict), abs=1e-9)

    @quick
    @given(st.lists(st.tuples(st.floats(-900, -1), st.floats(-900, -1), st.integers(1, 300)), min_size=2), st.randoms())
    def test_the_order_of_the_documents_does_not_matter(self, rows, random):
        shuffled = random.sample(rows, len(rows))
        one, other = (
            perplexity(
                documents([r[0] for r in some], [r[2] for r in some]), documents(*list(zip(*some, strict=True))[1:])
            )
            for some in (rows, shuffled)
        )
        assert interval(one) == pytest.approx(interval(other), rel=1e-6)

    @quick
    @given(measured(), st.floats(0, 0.5), st.floats(0, 0.5))
    def test_a_larger_tolerance_never_turns_pass_into_fail_nor_inconclusive(self, samples, one, other):
        strict, wide = sorted((one, other))
        if accuracy(*samples, strict).outcome is Outcome.PASS:
            assert accuracy(*samples, wide).outcome in (Outcome.PASS, Outcome.NO_SIGNAL)

    @quick
    @given(measured(), st.floats(0, 0.5), st.floats(0, 0.5))
    def test_a_smaller_tolerance_never_turns_fail_into_anything_else(self, samples, one, other):
        strict, wide = sorted((one, other))
        if accuracy(*samples, wide).outcome is Outcome.FAIL:
            assert accuracy(*samples, strict).outcome is Outcome.FAIL

    @quick
    @given(measured())
    def test_baseline_and_candidate_swapped_mirror_the_interval(self, samples):
        found = [compare(Kind.ACCURACY, *pair, 0.03, 0.05) for pair in (samples, samples[::-1])]
        assert (found[1].low, found[1].high) == pytest.approx((-found[0].high, -found[0].low), abs=1e-6)

    @quick
    @given(measured(), st.floats(0, 0.5))
    def test_the_baseline_against_itself_never_fails(self, samples, tolerance):
        baseline, _ = samples
        assert accuracy(baseline, baseline, tolerance).outcome is not Outcome.FAIL

    @quick
    @given(st.lists(st.floats(-900, -1), min_size=1, max_size=30), st.floats(1, 2))
    def test_the_baseline_s_perplexity_against_itself_never_fails(self, loglikelihoods, tolerance):
        baseline = documents(loglikelihoods, [100] * len(loglikelihoods))
        assert perplexity(baseline, baseline, tolerance).outcome is not Outcome.FAIL

    @quick
    @given(measured(), st.floats(0, 0.5))
    def test_a_pass_means_that_the_whole_interval_lies_above_the_tolerance(self, samples, tolerance):
        verdict = accuracy(*samples, tolerance)
        if verdict.outcome is Outcome.PASS:
            assert -tolerance < verdict.evidence.low <= verdict.evidence.effect


def take(sample: Sample, order) -> Sample:
    return Sample(
        tuple(sample.ids[i] for i in order),
        sample.scores[order],
        sample.weights[order],
        sample.chance[order],
        sample.clusters and tuple(sample.clusters[i] for i in order),
    )


def interval(verdict) -> tuple[float, float, float]:
    return verdict.evidence.effect, verdict.evidence.low, verdict.evidence.high
