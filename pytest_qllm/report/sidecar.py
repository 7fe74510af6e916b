"""A file beside qllm.json: packed JSON of one benchmark after another, with its hash in the report."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError


def encode(content: Mapping[str, Any]) -> bytes:
    """The file's bytes; they depend on the content alone: no time, no name in the archive."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), mtime=0)


def read(path: Path, sha256: str, schema: str, what: str) -> list[dict[str, Any]]:
    """The entries of a file that ``encode`` made; ``what`` it holds is for the message.

    Raises:
        QllmError: if there is no such file, it is damaged, of another schema, or not the one with that hash.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise QllmError(
            f"{path} cannot be read ({error.strerror}); {what} are there, keep it beside its qllm.json"
        ) from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise QllmError(f"{path} is not the file that was written with the qllm.json beside it")
    content = json.loads(gzip.decompress(packed))
    if content["schema"] != schema:
        raise QllmError(f"{path} has the schema {content['schema']!r}; expected {schema!r}")
    return list(content["benchmarks"])
