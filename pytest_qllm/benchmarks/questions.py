"""The user's own questions: a file with a JSON object a line, which has a question and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.errors import QllmError

SUFFIX = ".jsonl"
ITEMS = 500
"""Items that a test measures of what has no number of its own."""

_ANSWERS, _FREE, _CHOICES = (f"qllm:questions/{name}.yaml" for name in ("answers", "free", "choices"))
_EXPECTED = 'expected {"question": "...", "answer": "..."}, or with "choices": [...] and the answer among them'

Document = dict[str, Any]


def benchmark_of(file: Path, *, scored: bool) -> Benchmark:
    """The benchmark that a file of questions is: with choices, or answered in words.

    Args:
        file: its full path.
        scored: whether a function says what an answer is worth, so that no right answer has to be given.

    Raises:
        QllmError: if it cannot be read, or a line is no question.
    """
    documents = read(file, scored=scored)
    chosen = "choices" in documents[0]
    if chosen and scored:
        raise QllmError(f"{file} has choices, of which one is chosen; a score function needs answers in words")
    return Benchmark(
        file.stem,
        "other",
        _CHOICES if chosen else _FREE if scored else _ANSWERS,
        "acc" if chosen else "exact_match",
        ITEMS,
        ITEMS,
        hub=file.name,
        chunk=40 if chosen else 8,
        cluster=("cluster",) if "cluster" in documents[0] else (),
        chat=True,
        own=(str(file),),
    )


def documents_of(benchmark: Benchmark) -> Mapping[str, Any] | None:
    """Its documents by split, if they are the user's own questions."""
    if not benchmark.task.startswith("qllm:questions/"):
        return None
    from datasets import Dataset

    file = Path(benchmark.own[0])
    documents = read(file, scored=benchmark.task == _FREE)
    try:
        return {"test": Dataset.from_list(documents)}
    except Exception as error:  # arrow's own, where a field has values of several types
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"{file} cannot be read as a table: a field has values of several types ({line})") from error


def read(file: Path, *, scored: bool) -> list[Document]:
    """The questions of a file.

    Raises:
        QllmError: naming the line that is none.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QllmError(f"cannot read {file}: {error}") from error
    documents = [_document(line, f"{file}, line {at}", scored) for at, line in enumerate(lines, 1) if line.strip()]
    if not documents:
        raise QllmError(f"{file} has no items: it is empty")
    for field in ("choices", "cluster"):
        having = sum(field in document for document in documents)
        if 0 < having < len(documents):
            raise QllmError(f"{file}: {having} of {len(documents)} lines have {field!r}; expected all or none")
    if any(isinstance(document["answer"], list) for document in documents):
        documents = [{**document, "answer": _listed(document["answer"])} for document in documents]
    return documents


def _document(line: str, where: str, scored: bool) -> Document:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise QllmError(f"{where} is no JSON ({error}); {_EXPECTED}") from error
    if not isinstance(content, dict) or not isinstance(content.get("question"), str):
        raise QllmError(f"{where} has no 'question'; {_EXPECTED}")
    if "choices" in content:
        return {**content, **_chosen(content, where)}
    answer = content.get("answer", "" if scored else None)
    texts = _listed(answer)
    if not scored and (not texts or not all(isinstance(one, str | int | float) and str(one).strip() for one in texts)):
        raise QllmError(f"{where} has the answer {answer!r}; {_EXPECTED}")
    return {**content, "answer": [str(one) for one in texts] if isinstance(answer, list) else str(answer)}


def _chosen(content: Document, where: str) -> Document:
    """The choices as texts, and the right one's place among them."""
    choices, answer = content["choices"], content.get("answer")
    if not isinstance(choices, list) or len(choices) < 2:
        raise QllmError(f"{where} has the choices {choices!r}; expected a list of at least two")
    texts = [str(one) for one in choices]
    if len(set(texts)) < len(texts):
        raise QllmError(f"{where} has a choice twice: {choices!r}")
    by_text = texts.index(str(answer)) if answer is not None and str(answer) in texts else None
    place = answer if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(texts) else None
    if place is not None and by_text is not None and place != by_text:
        raise QllmError(f"{where} has the answer {answer!r}, which is a choice and the place of another; reword them")
    right = by_text if place is None else place
    if right is None:
        raise QllmError(f"{where} has the answer {answer!r}, which is none of its choices, nor the place of one from 0")
    return {"choices": texts, "answer": right}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list) else [value]
