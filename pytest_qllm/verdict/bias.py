"""Bias scores that count only answers of a certain sort: when they may be gated at all."""

from __future__ import annotations

from pytest_qllm.verdict.verdict import Outcome, Verdict

MIN_INFORMATIVE = 100
"""Answers that a bias score must rest on in each model: its standard error then is at most 10 points."""


def bias_hindrance(accuracy: Verdict, baseline_informative: int, candidate_informative: int) -> str | None:
    """Why a bias score conditioned on accuracy may not be gated, or None where it may.

    A model that answers at random shows no bias (BBQ, Parrish et al., 2022: the score in ambiguous contexts is scaled
    by 1 - accuracy, in disambiguated ones it counts the answers that are not "unknown"). So a fall of the score says
    something only of a candidate that has kept its accuracy on the same questions: that must have passed first, a
    fixed-sequence test that costs no error (Maurer, Hothorn and Lehmacher, 1995).

    Args:
        accuracy: the verdict on the accuracy of the same questions, at its own tolerance.
        baseline_informative: answers of the baseline that the score rests on.
        candidate_informative: the same of the candidate.
    """
    if accuracy.outcome is not Outcome.PASS:
        return f"the accuracy on the same questions is {accuracy.outcome}: a bias score of lost answers is no gain"
    fewest = min(baseline_informative, candidate_informative)
    if fewest < MIN_INFORMATIVE:
        return f"the bias score rests on {fewest} answers; at least {MIN_INFORMATIVE} are needed in both models"
    return None
