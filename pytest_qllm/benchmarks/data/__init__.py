"""Documents of a benchmark: from a pinned wheel, the hub at a pinned revision, or a directory of the user's."""

from pytest_qllm.benchmarks.data.source import DataSource, Document

__all__ = ["DataSource", "Document"]
