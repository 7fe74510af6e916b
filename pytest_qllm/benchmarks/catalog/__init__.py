"""The benchmarks that can be chosen by name, a room for each dimension."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.catalog.alignment import ALIGNMENT
from pytest_qllm.benchmarks.catalog.knowledge import KNOWLEDGE
from pytest_qllm.benchmarks.catalog.language import LANGUAGE

BUILTIN: tuple[Benchmark, ...] = (*KNOWLEDGE, *ALIGNMENT, *LANGUAGE)
