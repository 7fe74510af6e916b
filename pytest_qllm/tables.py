"""The tables of a project's TOML file: tolerances, known losses and regimes, each under ``tool.qllm``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError


def read_tolerances(path: Path) -> Mapping[str, Any]:
    """``[tool.qllm.tolerances]`` of a TOML file, empty if it has none.

    Raises:
        QllmError: if the file is no TOML or has something else there.
    """
    return _table(path, "tolerances")


def read_expected(path: Path) -> Mapping[str, Any]:
    """``[tool.qllm.expected]`` of a TOML file, empty if it has none.

    Raises:
        QllmError: if the file is no TOML or has something else there.
    """
    return _table(path, "expected")


def read_regimes(path: Path) -> Mapping[str, Any]:
    """``[tool.qllm.regimes]`` of a TOML file, empty if it has none.

    Raises:
        QllmError: if the file is no TOML or has something else there.
    """
    return _table(path, "regimes")


def _table(path: Path, of: str) -> Mapping[str, Any]:
    try:
        tables: Any = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise QllmError(f"{path} is not valid TOML: {error}") from error
    for name in ("tool", "qllm", of):
        tables = tables.get(name, {})
        if not isinstance(tables, dict):
            raise QllmError(f"{path}: {name} of tool.qllm.{of} is {tables!r}; expected a table")
    assert isinstance(tables, dict)
    return tables
