"""What stands in the files of a report, as types: readers check a file by them, and the JSON Schema is made of them.

A field with a default may be missing in a file: it came later than ``pytest-qllm/1`` itself. A field that is not known
here is passed over, so that older readers read newer reports of the same major version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any, Literal, get_type_hints

from pytest_qllm.regimes.kernel import Figures
from pytest_qllm.report.family import PooledRow, Together
from pytest_qllm.report.pool import Pool
from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Trend
from pytest_qllm.verdict.expected import Acceptance
from pytest_qllm.verdict.fidelity import Fidelity
from pytest_qllm.verdict.noise import NoiseFloor
from pytest_qllm.verdict.verdict import Outcome, Scale


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to run the session again: versions of the libraries, machine, and every option."""

    time: str
    python: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sidecar:
    """A file beside qllm.json, and the hash of its bytes."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Flips:
    """Answers right in the baseline and wrong in the candidate, and the reverse; null where there are none to count."""

    broken: int | None
    mended: int | None


@dataclass(frozen=True)
class Beside:
    """The accuracy of the answers that a graded score was taken of."""

    metric: str
    baseline: float
    candidate: float
    effect: float
    broken: int
    mended: int


@dataclass(frozen=True)
class HitLimit:
    """Generated answers that were ended by their limit of tokens; the candidate's is null for a baseline alone."""

    baseline: int
    candidate: int | None


@dataclass(frozen=True)
class TestError:
    """A test that ended without a verdict."""

    __test__ = False

    test: str
    regime: str
    message: str


@dataclass(frozen=True)
class Baseline:
    """The score of the FP16 baseline on one benchmark."""

    model: str
    benchmark: str
    dimension: str
    metric: str
    scale: Scale
    n: int
    baseline: float
    provenance: Mapping[str, Any]
    noise: NoiseFloor | None = None
    against: Trend | None = None
    pooled: Pool | None = None
    size: Mapping[str, Any] | None = None
    hit_limit: HitLimit | None = None
    rerun: str = ""


@dataclass(frozen=True)
class Limits:
    """Largest differences of a kernel that agrees: mean of the logits, and a layer's in rounding units."""

    logits_mean: float
    layer: float


@dataclass(frozen=True)
class Kernel:
    """Whether a regime's kernel computes what its weights say."""

    model: str
    regime: str
    method: str
    bits: int
    figures: Figures
    provenance: Mapping[str, Any]
    agrees: bool
    reason: str
    limits: Limits
    rerun: str = ""


_TYPED: Mapping[str, Any] = {
    "scale": Scale,
    "noise": NoiseFloor | None,
    "fidelity": Fidelity | None,
    "beside": Beside | None,
    "hit_limit": HitLimit | None,
    "against": Trend | None,
    "pooled": Pool | None,
    "expected": Acceptance | None,
}
"""Fields of a record that are plain content between processes, and have a type in the file."""

_ELSEWHERE = ("outcome", "broken", "mended", "scores", "texts")
"""Fields of a record that have another name in a verdict, or another place."""


def _verdict() -> type:
    """The type of a verdict: a record's fields, so that what is added to a record is read as well."""
    types = {**get_type_hints(Record), **_TYPED}
    required: list[Any] = [("verdict", Outcome), ("flips", Flips)]
    optional: list[Any] = []
    for one in fields(Record):
        if one.name in _ELSEWHERE:
            continue
        if one.default is MISSING and one.default_factory is MISSING:
            required.append((one.name, types[one.name]))
        else:
            copy = field(default=one.default, default_factory=one.default_factory)
            optional.append((one.name, types[one.name], copy))
    made = make_dataclass("Verdict", [*required, *optional], frozen=True)
    made.__module__ = __name__
    made.__doc__ = "One regime on one benchmark, with its evidence. Proportions and ratios, never percent."
    return made


Verdict = _verdict()


@dataclass(frozen=True)
class Document:
    """qllm.json: the verdicts of a session, with their evidence and provenance."""

    schema: Literal["pytest-qllm/1"]
    provenance: Provenance
    baselines: tuple[Baseline, ...]
    verdicts: tuple[Verdict, ...]  # type: ignore[valid-type]
    errors: tuple[TestError, ...]
    kernels: tuple[Kernel, ...] = ()
    pooled: tuple[PooledRow, ...] = ()
    session: Together | None = None
    items: Sidecar | None = None
    texts: Sidecar | None = None
    exitstatus: int | None = None


@dataclass(frozen=True)
class Table:
    """One benchmark and metric: its items, and the scores of each regime in their order.

    Attributes:
        items: hash of each item.
        weights: scored tokens of each text; None where every item counts as one.
        clusters: cluster of each item; None where items are independent.
        chance: score expected of a random answer to each item; None where that is not known.
        scores: by regime. A column that ends early was not measured further; None in between was not measured.
    """

    benchmark: str
    metric: str
    items: tuple[str, ...]
    weights: tuple[float, ...] | None
    clusters: tuple[str, ...] | None
    scores: Mapping[str, tuple[float | None, ...]]
    chance: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ItemsDocument:
    """items.json.gz: the score of every item, beside qllm.json."""

    schema: Literal["pytest-qllm-items/1"]
    benchmarks: tuple[Table, ...]


@dataclass(frozen=True)
class Answers:
    """What one regime answered, in the order of the items; None where an item was not asked.

    Attributes:
        answers: index of the choice on which the metric rests; 1 or 0, whether the one continuation would be said; the
            generated text; None for a perplexity.
        likelihoods: of the choices in nats.
        hit_limit: places of generations that were ended by their limit of tokens.
    """

    metric: str
    regime: str
    answers: tuple[int | str | None, ...]
    likelihoods: tuple[tuple[float, ...] | None, ...] | None = None
    hit_limit: tuple[int, ...] = ()


@dataclass(frozen=True)
class Texts:
    """What one benchmark asked, and what each regime answered; a column of which no item has anything is None.

    Attributes:
        items: hash of each item.
        prompts: of each, without what the prompts of its subset all begin with.
        beginnings: those; ``beginning`` has the place of each item's among them.
        choices: continuations that are compared, or the one that is scored.
        targets: index of the right choice, or the right answer.
        subsets: subset of each item.
    """

    benchmark: str
    items: tuple[str, ...]
    prompts: tuple[str, ...]
    answers: tuple[Answers, ...]
    beginnings: tuple[str, ...] = ()
    beginning: tuple[int | None, ...] | None = None
    choices: tuple[tuple[str, ...] | None, ...] | None = None
    targets: tuple[int | str | None, ...] | None = None
    subsets: tuple[str | None, ...] | None = None


@dataclass(frozen=True)
class TextsDocument:
    """texts.json.gz: what was asked and answered, beside qllm.json."""

    schema: Literal["pytest-qllm-texts/1"]
    benchmarks: tuple[Texts, ...]
