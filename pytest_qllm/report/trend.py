"""What changed since a previous release, for the report: figures, and how they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_qllm.report.record import Record


@dataclass(frozen=True)
class Change:
    """One regime, then and now, on the items that both releases measured.

    Attributes:
        n: common items.
        previous, now: the metric on them.
        effect: now minus previous, or over it for a perplexity; ``ci`` are its one-sided limits (None: unbounded).
    """

    n: int
    previous: float
    now: float
    effect: float
    ci: tuple[float | None, float | None]
    interval: str
    broken: int | None = None
    mended: int | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Change:
        return cls(**{**content, "ci": (content["ci"][0], content["ci"][1])})


@dataclass(frozen=True)
class Trend:
    """A regime against its own previous release; see docs/reference/qllm-json.md.

    Attributes:
        file: the previous report, as it was given.
        time: when that was written.
        model: what was gated then.
        alpha: error of each limit, and of each verdict; the items are looked at once.
        verdict: PASS, FAIL, INCONCLUSIVE or NO_SIGNAL by today's tolerance; None where nothing was compared, and for a
            baseline, which has no tolerance.
        reason: why nothing was compared, or why there is no verdict.
        items: items that the regime had then.
        regime: the regime's change; None where nothing was compared.
        baseline: the baseline's change on the same items.
        differs: what else is not as it was, such as ``weights`` or ``engine``.
    """

    file: str
    time: str
    model: str
    alpha: float = 0.05
    verdict: str | None = None
    reason: str = ""
    items: int | None = None
    p_pass: float | None = None
    p_fail: float | None = None
    regime: Change | None = None
    baseline: Change | None = None
    differs: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Trend:
        changes = {
            name: None if content[name] is None else Change.from_json(content[name]) for name in ("regime", "baseline")
        }
        return cls(**{**content, **changes, "differs": tuple(content["differs"])})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def name(self) -> str:
        """The release, for people: the file and the day."""
        return f"{self.file} of {self.time[:10]}"

    def message(self, record: Record) -> list[tuple[str, str]]:
        """Rows of a test's message."""
        change = self.regime or self.baseline
        if change is None:
            return [("previous", f"not compared with {self.name}: {self.reason}")]
        rows = [
            ("previous", f"{record.metric} {record.score(change.previous)} in {self.name}, {self._items(change)}"),
        ]
        sure = f" (each bound one-sided, {100 * (1 - self.alpha):.4g} %)"
        if self.regime is not None:
            verdict = f": {self.verdict}" if self.verdict else ""
            why = f" ({self.reason})" if self.reason else ""
            rows.append(("since then", f"{extent(self.regime, record)}{sure}{verdict}{why}"))
        if self.baseline is not None:
            rows.append(("  baseline", extent(self.baseline, record)))
        if self.differs:
            rows.append(("  not as then", ", ".join(self.differs)))
        return rows

    def _items(self, change: Change) -> str:
        known = f" of its {self.items}" if self.items != change.n else ""
        return f"on {change.n}{known} items that both have"


def extent(change: Change, record: Record) -> str:
    """An effect with its limits and flips."""
    low, high = map(record.change, change.ci)
    flips = "" if change.broken is None else f", {change.broken} broken, {change.mended} mended"
    return f"{record.change(change.effect)}, between {low} and {high}{flips}"
