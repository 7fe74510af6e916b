"""Under pytest-xdist: the same records as in one process, and a crashed worker loses one test's result only."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Suite

pytest.importorskip("xdist")
pytestmark = pytest.mark.slow


def by_place(records: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Records without the command that runs them again, which names the store."""
    kept = [{name: value for name, value in record.items() if name != "rerun"} for record in records]
    return {(record.get("regime", "fp16"), record["benchmark"]): record for record in kept}


def test_two_workers_give_the_records_of_one_process(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    alone = suite.run()
    before = suite.report
    both = suite.run("-n2", store=suite.path / "other-store")
    assert both.parseoutcomes() == alone.parseoutcomes() == {"passed": 5, "failed": 2, "skipped": 2}
    for kind in ("verdicts", "baselines", "errors"):
        assert by_place(suite.report[kind]) == by_place(before[kind])
    assert table(both) == table(alone)
    files = [
        {path.relative_to(store): path.read_text() for path in (store / "measurements").rglob("*.json")}
        for store in (suite.path / "store", suite.path / "other-store")
    ]
    assert files[0] == files[1]


def test_a_crashed_worker_leaves_the_other_verdicts(suite: Suite) -> None:
    suite.more_regimes()
    suite.gates("lambada", "story_perplexity")
    suite.pytester.makepyfile(
        test_crash="""
        import os

        def test_crash(gate, regime):
            if regime.name == "same":
                os._exit(9)
            gate("arc_easy")
        """
    )
    result = suite.run("-n2", regimes="same,destroyed")
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["failed"], outcomes["skipped"]) == (5, 3, 1)
    assert suite.outcomes == {
        ("same", "lambada"): "PASS",
        ("same", "story_perplexity"): "PASS",
        ("destroyed", "lambada"): "FAIL",
        ("destroyed", "story_perplexity"): "FAIL",
        ("destroyed", "arc_easy"): "NO_SIGNAL",
    }
    (error,) = suite.report["errors"]
    assert (error["test"], error["regime"]) == ("test_crash.py::test_crash[same]", "same")
    assert "crashed" in error["message"]
    result.stdout.fnmatch_lines(["same *PASS*PASS*", "ERROR test_crash.py::test_crash[[]same]: *crashed*"])


def table(result: pytest.RunResult) -> dict[str, str]:
    """Rows of the summary by regime, whatever the order of its columns."""
    start = next(at for at, line in enumerate(result.outlines) if " quantization " in line)
    lines = [line for line in result.outlines[start:] if line.startswith(("regime", "fp16", "bnb-"))]
    columns = sorted(range(len(lines[0].split()) - 1), key=lambda at: lines[0].split()[1:][at])
    rows = {}
    for line in lines:
        cells = line.split("  ")
        cells = [cell.strip() for cell in cells if cell.strip()]
        rows[cells[0]] = " | ".join(cells[1:][at] for at in columns)
    return rows
