"""MT-Bench for lm-eval: its questions, whose further turns ``benchmarks/dialogue.py`` asks and has graded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


def questions(rows: Dataset) -> Dataset:
    """Questions as documents: what is asked, turn by turn, and the reference answers, where there are some."""
    from datasets import Dataset

    return Dataset.from_list([document(row) for row in rows])


def document(row: dict[str, Any]) -> dict[str, Any]:
    """One question, from FastChat's fields (``question_id``, ``turns``) or the hub's (``prompt_id``, ``prompt``)."""
    turns, reference = row.get("turns") or row.get("prompt"), row.get("reference") or []
    return {
        "question": str(row.get("question_id") or row.get("prompt_id") or ""),
        "category": row.get("category") or "",
        "turns": [turns] if isinstance(turns, str) else list(turns or []),
        "reference": [reference] if isinstance(reference, str) else list(reference),
    }


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Nothing: what an answer is worth, a judge says."""
    return {}
