"""Known losses: a regime's loss on a benchmark that is accepted, for a reason, up to a bound."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.verdict.sequential import DEFAULT, Design, Look
from pytest_qllm.verdict.tolerance import Tolerance
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Outcome, Verdict, decide

MENDED = "the loss has been mended: remove it from [tool.qllm.expected]"


@dataclass(frozen=True)
class Expected:
    """A loss that is accepted.

    Attributes:
        reason: why, for people.
        bound: up to which it is: a difference of proportions (0.4: 40 points), or a ratio of perplexities.
        strict: whether the test fails once the loss has been mended.
        relative: whether the bound is a share of the baseline's score, as the tolerance then has to be.
    """

    reason: str
    bound: float
    strict: bool = True
    relative: bool = False


class Standing(StrEnum):
    """What becomes of a verdict on a loss that is expected."""

    XFAIL = "xfail"
    """There it is, and not proven larger than the bound."""
    WORSE = "worse"
    """Proven larger than the bound: fails."""
    MENDED = "mended"
    """A PASS, which fails since the entry is strict."""
    XPASS = "xpass"
    """A PASS, and the entry is not strict."""
    UNDECIDED = "undecided"
    """Nothing is proven, of the tolerance or of the bound: the verdict stays what it is."""


@dataclass(frozen=True)
class Acceptance:
    """An expected loss and what became of it.

    Attributes:
        outcome: a ``Standing``.
        within: what is proven of the bound: True (the loss is smaller), False (it is larger), None (neither, or it
            was not asked, since the verdict says enough).
        n: items at which the bound was judged last; None where it was not.
        ci: limits of the effect on those items.
        note: why the bound can hardly be exceeded, or "".
    """

    reason: str
    bound: float
    strict: bool
    outcome: str
    within: bool | None = None
    n: int | None = None
    ci: Sequence[float | None] | None = None
    note: str = ""


def accept(
    expected: Expected,
    verdict: Verdict,
    looks: Sequence[Look],
    judge_at: Callable[[Look], Verdict],
    design: Design = DEFAULT,
    most: float | None = None,
) -> Acceptance:
    """What becomes of a verdict by the tolerance: the loss is also judged by the bound, at the same looks.

    Where the tolerance was decided before the bound is, the test goes on to the next looks, to the last one if need be.
    Both questions share one error: the limits of all looks hold together with an error of alpha to each side (repeated
    confidence intervals: Jennison and Turnbull, 2000, chapter 9), and either decision is wrong only if one of them
    excludes the true loss. Going on after the tolerance's decision does no harm, for no boundary relies on stopping.

    Args:
        expected: the loss.
        verdict: by the tolerance, from ``conduct`` with the same looks.
        looks: of the test.
        judge_at: the verdict by the tolerance at a look; asked again for the looks that have been judged.
        design: of the looks.
        most: what a model that answers at random loses, a difference of proportions; None where that is not known.
    """

    def bound_at(look: Look) -> Verdict:
        judged = judge_at(look)
        # Where the limits are no ground for a verdict (there is a reason), they are none for the bound either.
        if judged.evidence is None or judged.reason:
            return judged
        evidence = replace(judged.evidence, p_pass=None, p_fail=None, p_any_loss=None)  # of the tolerance
        return Verdict(decide(evidence, expected.bound), expected.bound, evidence)

    def stand(standing: Standing) -> Acceptance:
        return Acceptance(expected.reason, expected.bound, expected.strict, str(standing))

    if verdict.outcome is Outcome.PASS:
        return stand(Standing.MENDED if expected.strict else Standing.XPASS)
    if verdict.evidence is None:
        return stand(Standing.UNDECIDED)
    bounded = conduct(looks, bound_at, design)
    within = {Outcome.PASS: True, Outcome.FAIL: False}.get(bounded.outcome)
    if within is False:
        standing = Standing.WORSE
    elif verdict.outcome is Outcome.FAIL or within:
        standing = Standing.XFAIL
    else:
        standing = Standing.UNDECIDED
    evidence, note = bounded.evidence, ""
    if most is not None and expected.bound >= most:
        lost = f"{100 * most:.3g} {'% of the score' if expected.relative else 'points'}"
        note = f"a model that answers at random loses {lost} here: the bound catches nothing better"
    return replace(
        stand(standing),
        within=within,
        n=None if evidence is None else evidence.n,
        ci=None if evidence is None else (evidence.low, evidence.high),
        note=note,
    )


class ExpectedLosses:
    """``[tool.qllm.expected]``, by regime and benchmark."""

    def __init__(self, entries: Mapping[tuple[str, str], Expected], where: str) -> None:
        self._entries = dict(entries)
        self._where = where

    def __iter__(self) -> Iterator[tuple[str, str, Expected]]:
        return ((regime, benchmark, entry) for (regime, benchmark), entry in self._entries.items())

    @classmethod
    def from_toml(
        cls,
        tables: Mapping[str, Any],
        name_of: Callable[[str], str],
        kinds: Mapping[str, str],
        where: str,
    ) -> ExpectedLosses:
        """From tables such as ``{"gptq-2bit": {"arc_easy": {"reason": "for tests only", "bound": 0.4}}}``.

        Args:
            tables: as they were written.
            name_of: the name of a regime that may be given by an alias; raises QllmError if it is none.
            kinds: kind of metric by benchmark.
            where: the file, for messages.

        Raises:
            QllmError: for a regime or a benchmark that is none, or an entry that lacks or adds something.
        """
        entries: dict[tuple[str, str], Expected] = {}
        for given, table in tables.items():
            try:
                regime = name_of(given)
            except QllmError as error:
                raise QllmError(f"{where}: expected.{given}: {error}") from None
            if regime == BASELINE:
                raise QllmError(f"{where}: expected.{given}: the baseline loses nothing; expected a regime")
            if not isinstance(table, Mapping):
                raise QllmError(f"{where}: expected.{given} is {table!r}; expected a table with a table by benchmark")
            for benchmark, content in table.items():
                what = f"{where}: expected.{given}.{benchmark}"
                if benchmark not in kinds:
                    raise QllmError(f"{what}: unknown benchmark {benchmark!r}; known benchmarks: {', '.join(kinds)}")
                if (regime, benchmark) in entries:
                    raise QllmError(f"{what}: {regime} has an entry for {benchmark} already, by another name")
                entries[regime, benchmark] = _entry(content, kinds[benchmark], what)
        return cls(entries, where)

    def of(self, regime: str, benchmark: str, tolerance: Tolerance) -> Expected | None:
        """What is expected of a regime on a benchmark, if anything.

        Raises:
            QllmError: if the bound is not above the tolerance, or one of them is a share and the other is not.
        """
        entry = self._entries.get((regime, benchmark))
        what = f"{self._where}: expected.{regime}.{benchmark}"
        if entry is not None and entry.relative != tolerance.relative:
            raise QllmError(
                f"{what}: the bound is {Tolerance(entry.bound, entry.relative).written} and the tolerance "
                f"{tolerance.written}; expected two shares of the baseline, or two differences"
            )
        if entry is not None and entry.bound <= tolerance.value:
            raise QllmError(
                f"{what}: the bound {entry.bound:g} is not above the tolerance {tolerance.value:g}; a loss up to that "
                "needs no entry"
            )
        return entry


def _entry(content: Any, kind: str, what: str) -> Expected:
    if not isinstance(content, Mapping):
        raise QllmError(f'{what} is {content!r}; expected a table such as {{reason = "for tests only", bound = 0.4}}')
    unknown = [name for name in content if name not in ("reason", "bound", "strict")]
    if unknown:
        raise QllmError(f"{what} has {unknown[0]!r}; expected reason, bound and perhaps strict")
    for name in ("reason", "bound"):
        if name not in content:
            raise QllmError(f"{what} has no {name}; an accepted loss needs a reason and a bound")
    reason, bound, strict = content["reason"], content["bound"], content.get("strict", True)
    if not isinstance(reason, str) or not reason.strip():
        raise QllmError(f"{what}: the reason is {reason!r}; expected a text")
    if not isinstance(strict, bool):
        raise QllmError(f"{what}: strict is {strict!r}; expected true or false")
    return Expected(" ".join(reason.split()), *_bound(bound, kind, what, strict))


def _bound(bound: object, kind: str, what: str, strict: bool) -> tuple[float, bool, bool]:
    """Bound, strict, and whether the bound is relative."""
    # A perplexity has no largest ratio: a destroyed model's may be 30,000 times the baseline's.
    is_ratio = kind == "perplexity"
    kept = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", bound) if isinstance(bound, str) and not is_ratio else None
    if kept and float(kept[1]) < 100:
        return round(1 - float(kept[1]) / 100, 12), strict, True
    low, high = (1.0, inf) if is_ratio else (0.0, inf if kind == "mean" else 1.0)
    if isinstance(bound, int | float) and not isinstance(bound, bool) and low < bound < high:
        return float(bound), strict, False
    meant = "a ratio above 1 such as 1.5" if is_ratio else "a difference of proportions such as 0.4"
    raise QllmError(f"{what}: the bound {bound!r} is out of range; expected {meant}")
