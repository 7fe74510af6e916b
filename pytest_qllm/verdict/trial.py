"""A whole group-sequential test: judge at each look until it is decided, and say what it took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_qllm.verdict.sequential import DEFAULT, Design, Look, overall_p_value
from pytest_qllm.verdict.verdict import Evidence, Outcome, Verdict


def conduct(looks: Sequence[Look], judge_at: Callable[[Look], Verdict | None], design: Design = DEFAULT) -> Verdict:
    """The first verdict of PASS or FAIL, or the last look's.

    Args:
        looks: from ``sequential.looks`` under the same design.
        judge_at: measures so many items and judges them at the look's alpha. It may return None, or a verdict of
            NO_SIGNAL, to pass over a look: that must depend on the baseline alone, and can then only lower the error.
        design: whose spending function the looks follow.

    Returns:
        the verdict. Its evidence carries p-values that hold over all looks so far (the smallest repeated p-value:
        Jennison and Turnbull, 2000, section 9.5), how many looks there were, and how many items were planned.

    Raises:
        ValueError: if there are no looks, or the last one was passed over.
    """
    planned = looks[-1].items if looks else 0
    judged: list[tuple[Look, Evidence]] = []
    verdict: Verdict | None = None
    for look in looks:
        verdict = judge_at(look)
        if verdict is None or verdict.evidence is None:
            continue
        judged.append((look, verdict.evidence))
        if verdict.outcome in (Outcome.PASS, Outcome.FAIL):
            break
    if verdict is None:
        raise ValueError("no look was judged: the last one has to be")
    if verdict.evidence is None:
        return verdict
    fractions = tuple(look.items / planned for look in looks if look.items <= judged[-1][0].items)
    at = {look.items / planned: evidence for look, evidence in judged}

    def over_looks(of: Callable[[Evidence], float | None]) -> float | None:
        levels: list[float] = []
        for fraction in fractions:
            level = of(at[fraction]) if fraction in at else 1.0
            if level is None:
                return None
            levels.append(level)
        return overall_p_value(levels, fractions, design.rho)

    evidence = replace(
        verdict.evidence,
        p_pass=over_looks(lambda one: one.p_pass),
        p_fail=over_looks(lambda one: one.p_fail),
        p_any_loss=over_looks(lambda one: one.p_any_loss),
        looks=len(judged),
        planned=planned,
    )
    return replace(verdict, evidence=evidence)
