"""What a test tells the session: one record, plain JSON content that crosses processes on the test's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

from pytest_qllm.report import costs
from pytest_qllm.report import expected as known_loss
from pytest_qllm.report.pool import Pool
from pytest_qllm.report.trend import Trend
from pytest_qllm.verdict.expected import Acceptance, Standing
from pytest_qllm.verdict.verdict import Outcome, Scale, Verdict


@dataclass(frozen=True)
class Record:
    """A verdict with its evidence, or a baseline's score (``outcome`` None).

    Proportions and ratios, not percent; see docs/reference/qllm-json.md.

    Attributes:
        p_pass_holm, p_fail_holm: adjusted for all verdicts of the session; None until that is known.
        beside: the accuracy of the same answers, where the verdict is on a graded score.
        hit_limit: answers that were ended by their limit of tokens, of the baseline's and of the candidate's; None
            where nothing is generated.
        against: what changed since a previous release (``trend.Trend``).
        scores: of the single items (``items.Scores``), which go into a file of their own.
        texts: their prompts and answers (``texts.Texts``, packed), which go into another.
        pooled: of a whole dimension: the benchmarks that it was judged on (``pool.Pool``).
        size: of the regime: ``bits_per_weight``, ``model_bits_per_weight``, ``bytes``, and ``outlier_share`` where
            weights are kept in FP16; None where it is not known.
        rerun: the command that runs this test again.
    """

    model: str
    regime: str
    method: str
    bits: int
    benchmark: str
    dimension: str
    metric: str
    scale: str
    n: int
    baseline: float
    outcome: str | None = None
    candidate: float | None = None
    effect: float | None = None
    ci: Sequence[float | None] | None = None
    alphas: Sequence[float] | None = None
    interval: str | None = None
    tolerance: float | None = None
    broken: int | None = None
    mended: int | None = None
    planned: int | None = None
    fixed: int | None = None
    looks: int | None = None
    p_pass: float | None = None
    p_fail: float | None = None
    p_any_loss: float | None = None
    p_pass_holm: float | None = None
    p_fail_holm: float | None = None
    expected: Acceptance | None = None
    reason: str = ""
    undecidable: str = ""
    noise: Mapping[str, Any] | None = None
    fidelity: Mapping[str, Any] | None = None
    beside: Mapping[str, Any] | None = None
    hit_limit: Mapping[str, Any] | None = None
    size: Mapping[str, Any] | None = None
    against: Mapping[str, Any] | None = None
    pooled: Mapping[str, Any] | None = None
    scores: Mapping[str, Any] | None = field(default=None, repr=False)
    texts: str | None = field(default=None, repr=False)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    rerun: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        expected = content.get("expected")
        return cls(**{**content, "expected": None if expected is None else Acceptance(**expected)})

    def decided(self, verdict: Verdict) -> Record:
        """With a verdict, and the figures of its evidence where it has any."""
        told = replace(self, outcome=str(verdict.outcome), reason=verdict.reason)
        evidence = verdict.evidence
        if evidence is None:
            return told
        return replace(
            told,
            n=evidence.n,
            planned=evidence.planned,
            fixed=evidence.fixed,
            looks=evidence.looks,
            baseline=evidence.baseline,
            candidate=evidence.candidate,
            effect=evidence.effect,
            ci=(evidence.low, evidence.high),
            alphas=evidence.alphas,
            p_pass=evidence.p_pass,
            p_fail=evidence.p_fail,
            interval=evidence.interval,
            broken=evidence.broken,
            mended=evidence.mended,
            p_any_loss=evidence.p_any_loss,
        )

    def to_json(self) -> dict[str, Any]:
        content = asdict(self)
        for name in ("ci", "alphas"):
            if content[name] is not None:
                content[name] = [_finite(value) for value in content[name]]
        if self.expected is not None and self.expected.ci is not None:
            content["expected"]["ci"] = [_finite(value) for value in self.expected.ci]
        return content

    @property
    def standing(self) -> str | None:
        """How the test ends: the outcome, or xfail, xpass, mended or worse where a loss was expected."""
        if self.expected is None or self.expected.outcome == Standing.UNDECIDED:
            return self.outcome
        return self.expected.outcome

    def accepted(self) -> str:
        """Verdict, figures and reason of an expected loss in a line; empty where none was."""
        return "" if self.expected is None else known_loss.line(self, self.expected)

    @property
    def is_ratio(self) -> bool:
        return self.scale == Scale.RATIO

    @property
    def is_relative(self) -> bool:
        return self.scale == Scale.RELATIVE

    @property
    def is_bias(self) -> bool:
        """Whether the score is best at 0, and an effect is how much nearer to it the candidate lies."""
        return self.metric.endswith("bias_score")

    @property
    def trend(self) -> Trend | None:
        return None if self.against is None else Trend.from_json(self.against)

    @property
    def has_slid(self) -> bool:
        """Whether a loss beyond the tolerance is proven against the previous release."""
        return self.trend is not None and self.trend.verdict == Outcome.FAIL

    @property
    def is_cost(self) -> bool:
        """Whether it is of time, memory or size."""
        return costs.is_cost(self)

    def score(self, value: float) -> str:
        """A score for people: ``53.0 %``, a perplexity as ``23.89``, or a cost as ``45.2 tokens/s``."""
        if self.is_cost:
            return costs.figure(self.metric, value)
        return f"{value:.2f}" if self.is_ratio else f"{100 * value:.1f} %"

    def change(self, value: float | None) -> str:
        """An effect or a bound for people: ``-2.5`` points, ``-2.5 %`` of the baseline's score, or ``x1.27``."""
        if value is None or not isfinite(value):
            return "unbounded"
        return f"x{value:.3g}" if self.is_ratio else f"{100 * value:+.1f}{' %' if self.is_relative else ''}"

    def amount(self, value: float) -> str:
        """A tolerance or a noise floor for people: ``3 points``, ``1 %`` of the baseline's score, or ``x1.03``."""
        return f"x{value:.4g}" if self.is_ratio else f"{100 * value:.3g} {'%' if self.is_relative else 'points'}"

    def cell(self) -> str:
        """One cell of the summary."""
        if self.outcome is None:
            return self.score(self.baseline)
        if self.outcome == Outcome.NO_SIGNAL:
            return "no signal"
        word = {"INCONCLUSIVE": "INCONCL."}.get(self.outcome, self.outcome)
        if self.expected is not None and self.standing != self.outcome:
            word = self.expected.outcome
        if self.is_cost:
            return costs.cell(self, word)
        return f"{word} {self.change(self.effect)}" if self.effect is not None else word

    def message(self, rerun: str) -> str:
        """What a failed or skipped test says; reads at once."""
        outcome = self.outcome
        if self.has_slid and outcome != Outcome.FAIL:
            outcome = f"FAIL since the previous release ({outcome} against the baseline)"
        subject = f"{outcome}: {self.benchmark} on {self.regime} ({self.method}, {self.bits} bits) of {self.model}"
        if self.is_cost:
            return costs.message(self, subject, rerun)
        if self.effect is None or self.ci is None or self.candidate is None or self.tolerance is None:
            return f"{subject}: {self.reason}\n  rerun       {rerun}"
        why = known_loss.headline(self, self.expected) if self.expected is not None else ""
        why = "; ".join(text for text in (self.reason, why) if text) or self._sentence(outcome)
        whole = "perplexity" if self.is_ratio else "score"
        unit = f"of the baseline's {whole}" if self.is_ratio or self.is_relative else "points"
        if self.is_bias:
            unit = "points nearer to 0"
        allowed = self.change(self.tolerance if self.is_ratio else -self.tolerance)
        low, high = map(self.change, self.ci)
        lines = [
            f"{subject}: {why}" if why else subject,
            f"  baseline    {self.metric} {self.score(self.baseline)}",
            f"  candidate   {self.metric} {self.score(self.candidate)}",
            f"  effect      {self.change(self.effect)} {unit}, between {low} and {high} ({self._confidence()})",
            f"  tolerance   {allowed} {unit}: {self._meaning()}",
            f"  items       {self._items()}",
            f"  rerun       {rerun}",
        ]
        if self.expected is not None:
            lines[5:5] = [f"  {name:<11} {text}" for name, text in known_loss.lines(self, self.expected)]
        if self.broken is not None:
            lines.insert(
                -1, f"  flips       {self.broken} broken (right to wrong), {self.mended} mended (wrong to right)"
            )
        if self.beside is not None:
            lines.insert(-1, f"  beside      {self.beside_line()}")
        if self.limit_line():
            lines.insert(-1, f"  limit       {self.limit_line()}")
        if self.pooled is not None:
            lines.insert(-1, f"  pooled      {self.pooled_line()}")
        if self.trend is not None:
            lines[-1:-1] = [f"  {name:<11} {text}" for name, text in self.trend.message(self)]
        if self.undecidable and self.outcome == Outcome.INCONCLUSIVE:
            lines.insert(-1, f"  power       {self.undecidable}")
        if self.noise is not None:
            lines.insert(-1, f"  noise       {self.amount(self.noise['floor'])}, when only the batches change")
        if self.fidelity is not None:
            lines.insert(-1, f"  fidelity    {self.fidelity_line()}")
        return "\n".join(lines)

    def fidelity_line(self) -> str:
        """The fidelity figures in a line; empty where there are none."""
        if self.fidelity is None:
            return ""
        figures = self.fidelity
        return (
            f"KL {figures['kl_mean']:.3g} nats (99 %: {figures['kl_percentiles']['99']:.3g}), "
            f"same top token {100 * figures['same_top']:.1f} %, "
            f"p of the true token {100 * figures['delta_p_mean']:+.2f} % (RMS {100 * figures['delta_p_rms']:.1f} %)"
        )

    def beside_line(self) -> str:
        """The accuracy of the same answers in a line; empty where the verdict is on it."""
        if self.beside is None:
            return ""
        figures = self.beside
        return (
            f"{figures['metric']} {100 * figures['baseline']:.1f} % -> {100 * figures['candidate']:.1f} %, "
            f"{figures['broken']} broken, {figures['mended']} mended"
        )

    def limit_line(self) -> str:
        """How many answers were ended by their limit of tokens, in a line; empty where none was.

        A candidate that rambles is a finding, whatever its score is.
        """
        if self.hit_limit is None or not any(self.hit_limit.values()):
            return ""
        before, after = self.hit_limit["baseline"], self.hit_limit["candidate"]
        sides = f"{before}" if after is None else f"{before} (baseline) and {after} (candidate)"
        return f"{sides} of {self.n} answers ended at their limit of tokens"

    def pooled_line(self) -> str:
        """The benchmarks of a dimension in a line; empty where the verdict is on one."""
        return "" if self.pooled is None else Pool.from_json(self.pooled).line()

    def _sentence(self, outcome: str | None) -> str:
        """What the verdict says of the loss; a reader of CI results may see no more than this line."""
        assert self.tolerance is not None
        allowed = f"of more than {self.amount(self.tolerance)}"
        loss = f"a perplexity {allowed} the baseline's" if self.is_ratio else f"a loss {allowed}"
        if outcome is not None and outcome.startswith(Outcome.FAIL):
            return f"{loss} is proven{'' if outcome == Outcome.FAIL else ' since then'}"
        return f"{loss} is neither proven nor ruled out" if outcome == Outcome.INCONCLUSIVE else ""

    def _items(self) -> str:
        """How many were used, of how many, and what it would have taken without looking early."""
        text = f"{self.n}{f' of {self.planned}' if self.planned and self.planned > self.n else ''}"
        if self.looks and self.looks > 1:
            text += f", at {self.looks} looks"
        return text + (f" (a fixed design would have needed {self.fixed})" if self.fixed else "")

    def _confidence(self) -> str:
        low, high = (f"{100 * (1 - alpha):.4g} %" for alpha in self.alphas or (0.05, 0.05))
        return f"each bound one-sided, {low if low == high else f'{low} and {high}'}"

    def _meaning(self) -> str:
        if self.outcome == Outcome.FAIL:
            return "the loss is proven larger"
        if self.outcome == Outcome.PASS:
            return "the loss is proven smaller"
        more = "" if self.reason else "; more items decide it (`items=` of the gate)"
        return f"the loss is neither proven smaller nor proven larger{more}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
