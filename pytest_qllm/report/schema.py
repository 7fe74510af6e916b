"""The JSON Schemas of qllm.json and of the files beside it, made of the types that readers check a file by.

``python -m pytest_qllm.report.schema DIR`` writes them. The schemas let unknown fields through, as readers do.
"""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from pytest_qllm.report import items, texts
from pytest_qllm.report.json import SCHEMA
from pytest_qllm.report.wire import Document, ItemsDocument, TextsDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"

FILES = {
    "qllm.schema.json": (SCHEMA, "qllm.json", Document),
    "items.schema.json": (items.SCHEMA, items.NAME, ItemsDocument),
    "texts.schema.json": (texts.SCHEMA, texts.NAME, TextsDocument),
}
"""By file name: version of the schema, the file that it describes, and its type."""


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of that file name in ``FILES``."""
    version, described, kind = FILES[name]
    (body,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():
        if "description" in part:
            part["description"] = cleandoc(part["description"])  # Python 3.13 and later do it themselves
    return {
        "$schema": DIALECT,
        "$id": f"urn:{version.replace('/', ':')}",
        "title": f"{described} of pytest-qllm, schema {version}",
        **body,
        "$defs": {one: parts[one] for one in sorted(parts)},
    }


def encode(content: dict[str, Any]) -> str:
    """The file's text."""
    return json.dumps(content, indent=2) + "\n"


def main(directory: Path) -> None:
    """Write every schema into a directory."""
    for name in FILES:
        (directory / name).write_text(encode(schema(name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
