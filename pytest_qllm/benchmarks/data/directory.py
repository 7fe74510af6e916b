"""A folder of the user's: the files of a split as they are, or those that a data set's authors publish."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.data.forms import Form, pieces
from pytest_qllm.benchmarks.data.manifest import FILE
from pytest_qllm.errors import QllmError

_READERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv", ".tsv": "csv"}


def splits(folder: Path, subset: str, form: Form | None) -> Mapping[str, Any]:
    """Datasets by split.

    Args:
        folder: of the data set.
        subset: a folder in it, or a part of a name in the authors' layout; empty if there are none.
        form: the authors' layout, which is looked for first.

    Raises:
        QllmError: if there is nothing, or a file cannot be read.
    """
    from datasets import Dataset

    if form is not None:
        try:
            documents = form(folder, subset)
        except Exception as error:  # a file that is not what its name says fails as json, csv and dicts do
            raise QllmError(f"cannot read {folder} in its authors' form ({_told(error)})") from error
        if documents is not None:
            return {split: Dataset.from_list(found) for split, found in documents.items()}
    return _as_they_are(folder / subset)


def _as_they_are(folder: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            made = None if path.name == FILE else _read(path)
        except Exception as error:  # arrow, pandas and json each raise their own
            raise QllmError(f"cannot read {path} ({_told(error)})") from error
        if made is not None:
            found[path.stem] = made
    if not found:
        raise QllmError(f"{folder} has no data; expected SPLIT.jsonl (or {ENDINGS}) such as test.jsonl")
    return found


def _read(path: Path) -> Any | None:
    from datasets import Dataset, load_dataset, load_from_disk

    if path.is_dir():
        return load_from_disk(str(path)) if (path / "dataset_info.json").is_file() else None
    if path.suffix == ".txt":
        return Dataset.from_list(pieces(path.read_text(encoding="utf-8").split("\n\n"), "\n\n"))
    if path.suffix not in _READERS:
        return None
    more = {"delimiter": "\t"} if path.suffix == ".tsv" else {}
    return load_dataset(_READERS[path.suffix], data_files=str(path), split="train", **more)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


ENDINGS = ", ".join([*list(_READERS)[1:], ".txt"])
