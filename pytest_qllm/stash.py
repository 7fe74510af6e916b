"""Keys of what the plugin keeps on pytest's objects; a module of its own, so that nothing imports in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_qllm.session import Session

SESSION: pytest.StashKey[Session] = pytest.StashKey()
RECORDS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
KERNELS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
PLANS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
FETCHED: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
OUTCOME: pytest.StashKey[str] = pytest.StashKey()
