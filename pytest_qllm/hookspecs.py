"""How another package adds regimes and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.regimes.regime import Regime


@pytest.hookspec
def pytest_qllm_regimes() -> Iterable[Regime]:  # type: ignore[empty-body]
    """Regimes to add to the catalog; ``Regime.backend`` names an importable ``Backend``."""


@pytest.hookspec
def pytest_qllm_benchmarks() -> Iterable[Benchmark]:  # type: ignore[empty-body]
    """Benchmarks to add to the catalog."""
