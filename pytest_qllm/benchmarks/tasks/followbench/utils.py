"""FollowBench for lm-eval: documents from the authors' rows, and the scores of what is checked by rules.

Plain lm-eval scores the rule-based part with it; the rest needs a judge, which ``benchmarks/followbench.py`` asks. The
folder stands by itself: copied into lm-eval's tasks it works there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any]

LEVELS = 5


def _beside(name: str) -> ModuleType:
    """A module of this folder by its path: lm-eval loads this file so too, which then has no package."""
    spec = spec_from_file_location(f"followbench_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rules = _beside("rules")


def instructions(rows: Dataset) -> Dataset:
    """All instructions of levels 1 to 5 as documents."""
    from datasets import Dataset

    return Dataset.from_list(list(documents(rows)))


def instructions_by_rule(rows: Dataset) -> Dataset:
    """Those whose constraints are checked by rules."""
    from datasets import Dataset

    return Dataset.from_list([document for document in documents(rows) if document["by_rule"]])


def documents(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """One document for each instruction with constraints, with all that it grew from.

    Args:
        rows: as the authors' files have them, one file after another, the levels of an example in order. Level 0 is the
            instruction without constraints; the examples of a pattern ("example") have none.
    """
    for example in _examples(rows):
        kind = _kind(example)
        for at, row in enumerate(example):
            if row["level"] == 0:
                continue
            yield {
                "kind": kind,
                "example": row["example_id"],
                "level": row["level"],
                "source": row["source"],
                "instruction": row["instruction"],
                "earlier": [] if kind == "example" else [one["instruction"] for one in example[:at]],
                "target": row["target"] or "",
                "by_rule": rules.is_by_rule(kind, row["source"], row["example_id"]),
            }


def process_results(document: Row, results: list[str]) -> dict[str, Any]:
    """Scores of an instruction that has a rule: satisfied or not, which is all that the authors' rules tell."""
    if not document["by_rule"]:
        return {}
    names = ("kind", "source", "example", "level", "target")
    satisfied: bool = rules.is_satisfied(results[0], **{name: document[name] for name in names})
    place = (f"{document['kind']} {document['example']}", document["level"], satisfied)
    return {"hsr": float(satisfied), "ssr": float(satisfied), "csl": place}


def consistent_levels(places: Iterable[tuple[str, int, bool]]) -> float:
    """CSL over 5: which share of the levels an example satisfies from the first on, as a mean over examples."""
    counts = [
        next((level for level, (*_, satisfied) in enumerate(group) if not satisfied), LEVELS)
        for _, group in groupby(sorted(places), key=lambda place: place[0])
    ]
    return sum(counts) / len(counts) / LEVELS


def _examples(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows of one example each: it ends where another number or a level that is no higher begins."""
    example: list[Row] = []
    for row in rows:
        if example and (row["example_id"] != example[-1]["example_id"] or row["level"] <= example[-1]["level"]):
            yield example
            example = []
        example.append(row)
    if example:
        yield example


def _kind(example: list[Row]) -> str:
    """The kind of constraint, by its file or its first level; further levels of mixed ones say what they add."""
    return str(example[0].get("constraint") or example[0]["category"])
