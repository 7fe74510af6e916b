"""Reports as hypothesis makes them: any verdicts that a session may have, and text that a model may answer."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from hypothesis import strategies as st

from pytest_qllm.regimes.kernel import Difference, Figures
from pytest_qllm.report.items import Scores
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Change, Trend
from pytest_qllm.verdict.expected import Acceptance
from pytest_qllm.verdict.noise import NoiseFloor

HOSTILE = (
    "a|b",
    "`x`",
    "``` \n```",
    "<script>alert(1)</script>",
    "@team",
    "</details>",
    "[a](http://x)",
    "*_~#",
    "\\|",
)

proportions = st.floats(0, 1)
texts = st.sampled_from(HOSTILE) | st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
names = st.sampled_from(("bnb-int8", "gptq-4bit", "gptq-2bit", "mine")) | texts
benchmarks = st.sampled_from(("arc_easy", "lambada", "story_perplexity", "mmlu")) | texts

noises = st.builds(
    NoiseFloor, st.integers(1, 40), proportions, st.integers(0, 5), st.none() | proportions, proportions
).map(asdict)
changes = st.builds(
    Change,
    st.integers(1, 999),
    proportions,
    proportions,
    st.floats(-1, 1),
    st.tuples(st.none() | st.floats(-1, 0), st.none() | st.floats(0, 1)),
    texts,
    st.none() | st.integers(0, 9),
    st.none() | st.integers(0, 9),
)
trends = st.builds(
    Trend,
    file=texts,
    time=st.just("2026-01-02T03:04:05+00:00"),
    model=texts,
    verdict=st.none() | st.sampled_from(("PASS", "FAIL", "INCONCLUSIVE", "NO_SIGNAL")),
    reason=texts,
    items=st.none() | st.integers(0, 999),
    regime=st.none() | changes,
    baseline=st.none() | changes,
    differs=st.lists(st.sampled_from(("weights", "engine")), unique=True).map(tuple),
).map(Trend.to_json)
acceptances = st.builds(
    Acceptance,
    texts,
    proportions,
    st.booleans(),
    st.sampled_from(("xfail", "worse", "mended", "xpass", "undecided")),
    st.none() | st.booleans(),
    st.none() | st.integers(1, 99),
    st.none() | st.lists(st.none() | st.floats(-1, 1), min_size=2, max_size=2),
    texts,
)
differences = st.builds(Difference, proportions, proportions, proportions, proportions)
figures = st.builds(
    Figures,
    st.integers(1, 99),
    st.integers(1, 9),
    st.just("float32"),
    st.just("float16"),
    st.none() | differences,
    differences,
    differences,
    st.integers(0, 9),
    st.integers(0, 9),
    texts,
    st.none() | st.floats(0, 10),
)
kernels = st.builds(KernelRecord, texts, names, texts, st.integers(1, 16), figures, rerun=texts).map(
    KernelRecord.to_json
)
errors = st.fixed_dictionaries({"test": texts, "regime": names, "message": texts})
provenances = st.fixed_dictionaries(
    {
        "time": st.just("2026-01-02T03:04:05+00:00"),
        "python": st.just("3.11.7"),
        "versions": st.dictionaries(texts, texts, max_size=3),
        "hardware": st.just({"machine": "x86_64", "cores": 2}),
        "settings": st.fixed_dictionaries({"regimes": st.lists(names, max_size=3), "seed": st.integers(0, 9)}),
    }
)

baselines = st.builds(
    Record,
    texts,
    st.just("fp16"),
    st.just("none"),
    st.just(16),
    benchmarks,
    st.sampled_from(("knowledge", "language")) | texts,
    st.sampled_from(("acc", "acc_norm", "prob")),
    st.just("difference"),
    st.integers(1, 999),
    proportions,
    noise=st.none() | noises,
    against=st.none() | trends,
    rerun=texts,
)


@st.composite
def verdicts(draw: st.DrawFn) -> Record:
    """A verdict with its evidence, or one of the kinds that have none."""
    base = replace(draw(baselines), regime=draw(names), method=draw(texts), bits=draw(st.integers(1, 8)))
    outcome = draw(st.sampled_from(("PASS", "FAIL", "INCONCLUSIVE", "NO_SIGNAL")))
    base = replace(base, outcome=outcome, tolerance=draw(st.floats(0.001, 0.5)), reason=draw(texts))
    if outcome == "NO_SIGNAL":
        return base
    is_ratio = draw(st.booleans())
    effect = draw(st.floats(0.5, 3) if is_ratio else st.floats(-1, 1))
    return replace(
        base,
        scale="ratio" if is_ratio else "difference",
        metric="perplexity" if is_ratio else base.metric,
        baseline=draw(st.floats(1, 99) if is_ratio else proportions),
        candidate=draw(st.floats(1, 99) if is_ratio else proportions),
        effect=effect,
        ci=(draw(st.none() | st.just(effect - 0.1)), draw(st.none() | st.just(effect + 0.1))),
        alphas=(0.05, 0.045),
        interval=draw(texts),
        planned=draw(st.none() | st.integers(1, 999)),
        looks=draw(st.integers(1, 3)),
        p_pass=draw(st.none() | proportions),
        p_fail=draw(st.none() | proportions),
        broken=None if is_ratio else draw(st.integers(0, 99)),
        mended=None if is_ratio else draw(st.integers(0, 99)),
        expected=draw(st.none() | acceptances),
        scores=draw(st.none() | scores().map(Scores.to_json)),
        rerun=draw(texts),
    )


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    """Scores of a few items."""
    count = draw(st.integers(1, 5))
    column = st.lists(st.floats(-9, 1), min_size=count, max_size=count)
    ids = [f"item-{at}" for at in range(count)]
    return Scores(ids, draw(column), draw(column), draw(st.just(()) | column), draw(st.just(()) | st.just(tuple(ids))))


@st.composite
def sessions(draw: st.DrawFn) -> dict[str, Any]:
    """The arguments of ``json.document`` and ``json.write``."""
    return {
        "contents": [one.to_json() for one in draw(st.lists(baselines | verdicts(), max_size=6))],
        "errors": draw(st.lists(errors, max_size=2)),
        "provenance": draw(provenances),
        "kernels": draw(st.lists(kernels, max_size=2)),
        "exitstatus": draw(st.none() | st.integers(0, 5)),
    }
