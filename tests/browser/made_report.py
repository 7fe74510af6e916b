"""A report of made-up scores, judged by the real statistics: regimes from harmless to destroyed, each kind of item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from pytest_qllm.regimes.kernel import Difference, Figures
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import write
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.report.texts import Answer, Asked, Texts
from pytest_qllm.verdict.expected import Acceptance
from pytest_qllm.verdict.fidelity import summarize
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.verdict import judge, mean_score

PLANTED = "<script>window.planted = 1</script></script><img src=x onerror='window.planted = 2'>"
SUBJECTS = ("anatomy", "astronomy", "college_mathematics", "econometrics", "philosophy", "virology")
WORDS = (
    *("atom", "basin", "cell", "delta", "ether", "field", "graph", "heart"),
    *("index", "joule", "lemma", "metal", "north", "orbit", "plane", "quark"),
)


@dataclass(frozen=True)
class Made:
    """A regime, and how much it spoils: of answers that were right, and of those that were wrong."""

    name: str
    method: str
    bits: int
    broken: float
    mended: float
    nats: float
    bits_per_weight: float


REGIMES = (
    Made("bnb-int8", "LLM.int8()", 8, 0.004, 0.006, 0.002, 8.0),
    Made("gptq-4bit", "GPTQ", 4, 0.05, 0.03, 0.05, 4.25),
    Made("bnb-nf4", "NF4", 4, 0.06, 0.03, 0.09, 4.13),
    Made("gptq-3bit", "GPTQ", 3, 0.16, 0.05, 0.25, 3.25),
    Made("gptq-2bit", "GPTQ", 2, 0.55, 0.12, 2.2, 2.25),
)
TOLERANCES = {8: (0.03, 1.03), 4: (0.04, 1.08), 3: (0.06, 1.15), 2: (0.08, 1.2)}
PARAMETERS = 135e6

ITEMS = 240
"""Of mmlu, in the report that the tests open."""

PATIENCE = 120_000
"""Milliseconds that a machine with much other work may take for anything."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
"""Of chromium."""

Open = Callable[..., Any]
"""Opens a report's page at a place: the fixture ``opened``."""


def write_report(directory: Path, *, items: int = 600, regimes: Sequence[Made] = REGIMES, planted: bool = True) -> Path:
    """``qllm.json`` and what lies beside it; ``items`` of mmlu, fewer of the others. Returns the file."""
    generator = np.random.default_rng(7)
    benchmarks = [
        _choices("mmlu", "knowledge", items, generator, SUBJECTS, planted),
        _choices("arc_easy", "knowledge", min(items, 400), generator, (), planted),
        _continuations("lambada", min(items, 300), generator),
        _generations("gsm8k", min(items, 200), generator, planted),
        _stories("story_perplexity", 40, generator),
    ]
    records: list[Record] = []
    for benchmark in benchmarks:
        records.append(benchmark.baseline())
        records += [benchmark.judged(regime, np.random.default_rng(regime.bits)) for regime in regimes]
    silent = replace(benchmarks[1].baseline(), benchmark="piqa", scores=None, texts=None)
    reason = "the baseline scores 51.0%, not above chance (50.0%)"
    records.append(silent)
    records += [
        replace(silent, regime=one.name, method=one.method, bits=one.bits, outcome="NO_SIGNAL", reason=reason)
        for one in regimes
    ]
    file = directory / "qllm.json"
    provenance = {
        "time": "2026-11-23T02:00:00+00:00",
        "python": "3.11.7",
        "versions": {"pytest-qllm": "0.1.0", "torch": "2.13.0"},
        "hardware": {"machine": "x86_64", "cores": 2},
        "settings": {"regimes": [one.name for one in regimes], "seed": 0, "alpha": 0.05},
    }
    error = {"test": "suites/t.py::test_boolq[bnb-nf4]", "regime": "bnb-nf4", "message": f"no data: {PLANTED}"}
    kernels = [_kernel(one).to_json() for one in regimes[1:2]]
    write(file, [one.to_json() for one in records], [error] if planted else [], provenance, kernels, exitstatus=1)
    return file


@dataclass(frozen=True)
class _Benchmark:
    name: str
    dimension: str
    metric: str
    kind: Kind
    asked: Sequence[Asked]
    scores: np.ndarray
    answers: Sequence[Answer]
    weights: np.ndarray
    chance: float

    def sample(self, scores: np.ndarray) -> Sample:
        ids = tuple(one.id for one in self.asked)
        return Sample(ids, scores, self.weights, np.full(len(ids), self.chance))

    def baseline(self) -> Record:
        sample = self.sample(self.scores)
        rolls = self.kind is Kind.PERPLEXITY
        scores = Scores(sample.ids, self.scores.tolist(), (), self.weights.tolist() if rolls else ())
        return Record(
            model="smollm2-135m",
            regime="fp16",
            method="none",
            bits=16,
            benchmark=self.name,
            dimension=self.dimension,
            metric=self.metric,
            scale=str(self.kind.scale),
            n=len(sample.ids),
            baseline=mean_score(sample, self.kind),
            noise={"items": 8, "largest": 1e-5, "flips": 0, "expected_flips": 0.0, "floor": 1.0 if rolls else 0.0},
            scores=scores.to_json(),
            texts=Texts(self.asked, self.answers).packed(),
            size=_size(16),
            rerun=f"pytest 'suites/t.py::test_{self.name}[fp16]' --qllm-regimes=fp16",
            provenance={"weights": "99b36bff", "regime": {"method": "none", "bits": 16}, "dtype": "float32"},
        )

    def judged(self, regime: Made, generator: np.random.Generator) -> Record:
        scores, answers = self._spoiled(regime, generator)
        before, after = self.sample(self.scores), self.sample(scores)
        rolls = self.kind is Kind.PERPLEXITY
        tolerance = TOLERANCES[regime.bits][rolls]
        verdict = judge(before, after, self.kind, tolerance)
        base = self.baseline()
        record = replace(
            base,
            regime=regime.name,
            method=regime.method,
            bits=regime.bits,
            outcome=str(verdict.outcome),
            reason=verdict.reason,
            tolerance=tolerance,
            planned=base.n,
            size=_size(regime.bits_per_weight),
            rerun=f"pytest 'suites/t.py::test_{self.name}[{regime.name}]' --qllm-regimes={regime.name}",
            provenance={**base.provenance, "regime": {"method": regime.method, "bits": regime.bits}},
        )
        found = verdict.evidence
        if found is None:
            return record
        lists = Scores(before.ids, self.scores.tolist(), scores.tolist(), self.weights.tolist() if rolls else ())
        record = replace(
            record,
            candidate=found.candidate,
            effect=found.effect,
            ci=(found.low, found.high),
            alphas=found.alphas,
            interval=found.interval,
            looks=1,
            broken=found.broken,
            mended=found.mended,
            p_pass=found.p_pass,
            p_fail=found.p_fail,
            scores=lists.to_json(),
            texts=Texts(self.asked, self.answers, answers).packed(),
        )
        if rolls:
            positions = np.column_stack([generator.gamma(0.4, regime.nats, 900), generator.random((900, 3))])
            positions[:, 1] = positions[:, 1] > regime.nats / 3
            record = replace(record, fidelity=asdict(summarize(positions, [90] * 10)))
        if (self.name, regime.name) == ("lambada", "gptq-2bit") and record.outcome == "FAIL":
            known = Acceptance("two bits lose the last word; the release notes say so", 0.9, True, "xfail", True)
            record = replace(record, expected=known)
        return record

    def _spoiled(self, regime: Made, generator: np.random.Generator) -> tuple[np.ndarray, list[Answer]]:
        if self.kind is Kind.PERPLEXITY:
            lost = generator.normal(regime.nats, 0.2 * regime.nats + 0.005, len(self.scores))
            return self.scores - self.weights * lost, list(self.answers)
        chance = generator.random(len(self.scores))
        hard = np.array([1.6 if one.subset == "college_mathematics" else 0.9 for one in self.asked])
        flipped = np.where(self.scores == 1, chance < hard * regime.broken, chance < regime.mended)
        scores = np.where(flipped, 1 - self.scores, self.scores)
        pairs = zip(self.asked, self.answers, scores, flipped, strict=True)
        return scores, [_answer(*pair, generator) if pair[3] else pair[1] for pair in pairs]


def _answer(asked: Asked, before: Answer, score: float, flipped: bool, generator: np.random.Generator) -> Answer:
    """The answer that has this score."""
    if len(asked.choices) > 1:
        assert isinstance(asked.target, int)
        wrong = (asked.target + 1 + int(generator.integers(len(asked.choices) - 1))) % len(asked.choices)
        return _chosen(asked.target if score else wrong, len(asked.choices), generator)
    if asked.choices:
        return Answer(int(score), (float(-0.3 if score else -4.0),))
    return Answer(f"{before.answer} So the answer is {asked.target if score else 17}.", (), not score)


def _chosen(place: int, count: int, generator: np.random.Generator) -> Answer:
    likelihoods = generator.normal(-9.0, 1.0, count)
    likelihoods[place] = likelihoods.max() + 0.1 + generator.exponential(0.8)
    return Answer(place, tuple(likelihoods.tolist()))


def _sentence(generator: np.random.Generator, count: int) -> str:
    return " ".join(WORDS[at] for at in generator.integers(len(WORDS), size=count))


def _choices(
    name: str, dimension: str, count: int, generator: np.random.Generator, subsets: Sequence[str], planted: bool
) -> _Benchmark:
    asked, answers, scores = [], [], []
    for at in range(count):
        subset = subsets[at % len(subsets)] if subsets else ""
        prompt = f"Question {at}: what is the {_sentence(generator, 22)}?\nAnswer:"
        choices = [f" {_sentence(generator, 4)}" for _ in range(4)]
        if planted and at == 3:
            prompt, choices[1] = f"Question 3: {PLANTED}\nAnswer:", f" {PLANTED}"
        target = int(generator.integers(4))
        right = float(generator.random() < 0.62)
        asked.append(
            Asked(f"{name}{at:020x}", prompt, f"Questions on {subset}.\n\n" * bool(subset), choices, target, subset)
        )
        answers.append(_chosen(target if right else (target + 1) % 4, 4, generator))
        scores.append(right)
    return _Benchmark(name, dimension, "acc", Kind.ACCURACY, asked, np.array(scores), answers, np.ones(count), 0.25)


def _continuations(name: str, count: int, generator: np.random.Generator) -> _Benchmark:
    asked = [
        Asked(f"{name}{at:020x}", _sentence(generator, 60), "", (f" {WORDS[at % 16]}",), WORDS[at % 16])
        for at in range(count)
    ]
    scores = (generator.random(count) < 0.55).astype(float)
    answers = [Answer(int(score), (-0.4 if score else -3.0,)) for score in scores]
    return _Benchmark(name, "language", "acc", Kind.ACCURACY, asked, scores, answers, np.ones(count), 0.0)


def _generations(name: str, count: int, generator: np.random.Generator, planted: bool) -> _Benchmark:
    asked = [
        Asked(f"{name}{at:020x}", f"Q: Ann has {at} apples and buys {at}. How many?\nA:", "", (), str(2 * at))
        for at in range(count)
    ]
    scores = (generator.random(count) < 0.5).astype(float)
    answers = [
        Answer(f"She has {at} + {at} = {2 * at if score else 9}. {PLANTED * planted}")
        for at, score in enumerate(scores)
    ]
    metric = "exact_match,strict-match"
    return _Benchmark(name, "reasoning", metric, Kind.ACCURACY, asked, scores, answers, np.ones(count), 0.0)


def _stories(name: str, count: int, generator: np.random.Generator) -> _Benchmark:
    asked = [Asked(f"{name}{at:020x}", _sentence(generator, 200)) for at in range(count)]
    weights = generator.integers(150, 300, count).astype(float)
    scores = -weights * generator.normal(log(21.8), 0.2, count)
    return _Benchmark(
        name, "language", "perplexity", Kind.PERPLEXITY, asked, scores, [Answer(None)] * count, weights, 0.0
    )


def _size(bits: float) -> dict[str, float]:
    whole = 0.7 * bits + 0.3 * 16  # the embeddings stay
    return {"bits_per_weight": bits, "model_bits_per_weight": whole, "bytes": int(PARAMETERS * whole / 8)}


def _kernel(regime: Made) -> KernelRecord:
    difference = Difference(0.91, 0.065, 1e-4, 0.98)
    figures = Figures(68, 4, "float32", "float16", difference, difference, difference, 210, 0, "layers.29.down", 1.2)
    return KernelRecord("smollm2-135m", regime.name, regime.method, regime.bits, figures)
