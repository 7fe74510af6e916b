"""A copy of the hub's local cache, as huggingface_hub lays it out, with content that the tests invent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Content = str | Sequence[Mapping[str, Any]]
"""A text, or rows: written as parquet or JSON lines, as the file's name says."""


def add(cache: Path, repo: str, revision: str, files: Mapping[str, Content]) -> Path:
    """Put a dataset at a commit into the cache; returns the folder of the snapshot."""
    root = cache / f"datasets--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / revision
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    (root / "refs").mkdir(exist_ok=True)
    (root / "refs/main").write_text(revision)
    for name, content in files.items():
        data = _bytes(name, content)
        blob = root / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    return snapshot


def card(configs: Mapping[str, Mapping[str, str]]) -> str:
    """A dataset's card that says which files are which split of which configuration."""
    listed = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
        for name, files in configs.items()
    ]
    return f"---\n{json.dumps({'configs': listed})}\n---\n# Invented\n"


def _bytes(name: str, content: Content) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if name.endswith(".parquet"):
        import io

        from datasets import Dataset

        file = io.BytesIO()
        Dataset.from_list([dict(row) for row in content]).to_parquet(file)
        return file.getvalue()
    return "".join(json.dumps(row) + "\n" for row in content).encode()
