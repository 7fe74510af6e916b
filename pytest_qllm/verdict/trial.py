"""A whole group-sequential test: judge at each look until it is decided, and say what it took."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_qllm.verdict.sequential import DEFAULT, Design, Look, overall_p_value
from pytest_qllm.verdict.verdict import Outcome, Verdict


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
    p_pass, p_fail, judged = 1.0, 1.0, 0
    verdict: Verdict | None = None
    for k, look in enumerate(looks):
        verdict = judge_at(look)
        if verdict is None or verdict.evidence is None:
            continue
        judged += 1
        fractions = tuple(past.items / planned for past in looks[: k + 1])
        evidence = verdict.evidence
        if evidence.p_pass is not None and evidence.p_fail is not None:
            p_pass = min(p_pass, overall_p_value(evidence.p_pass, fractions, design.rho))
            p_fail = min(p_fail, overall_p_value(evidence.p_fail, fractions, design.rho))
            evidence = replace(evidence, p_pass=p_pass, p_fail=p_fail)
        verdict = replace(verdict, evidence=replace(evidence, looks=judged, planned=planned))
        if verdict.outcome in (Outcome.PASS, Outcome.FAIL):
            return verdict
    if verdict is None:
        raise ValueError("no look was judged: the last one has to be")
    return verdict
