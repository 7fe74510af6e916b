"""How many items the tests of real runs used, beside what a fixed design would have needed: read from qllm.json.

    pytest suites/ perf/graded --qllm-regimes bnb-int8,hqq-3bit,gptq-2bit --qllm-report r      # any run
    python perf/items_used.py r/qllm.json ...

``perf/graded`` has tests of ``prob`` on the multiple-choice benchmarks of the suites.

``fixed`` is what a single look with errors of 5 % both ways takes to tell no loss from the tolerance, by the spread
that the test saw. Where the items ended before a test was decided (INCONCLUSIVE) its ratio says how many there were,
and not what stopping early saves: such a test is listed, and left out of the first median.

``of acc`` is a test of ``prob`` beside the fixed design of the accuracy on the same items, where the same report has
that: what stopping early and the graded score save together.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

PROB = "prob"
DECIDED = ("PASS", "FAIL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", type=Path, nargs="+", help="qllm.json files")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [row for file in given.reports for row in rows_of(json.loads(file.read_text()))]
    print(f"{'regime':12} {'benchmark':17} {'metric':12} {'verdict':13}     n planned  fixed  ratio  of acc")
    for row in rows:
        print(line(row))
    decided = [row for row in rows if row["verdict"] in DECIDED]
    found = {
        "decided": summary(decided, "ratio"),
        "all": summary(rows, "ratio"),
        "decided by prob, of the accuracy's fixed design": summary(decided, "of_accuracy"),
    }
    for name, figures in found.items():
        print(f"{name}: {figures['tests']} tests, median ratio {figures['median']}")
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, "summary": found}, indent=1) + "\n")


def rows_of(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Verdicts of a report that rest on items; a NO_SIGNAL rests on none."""
    names = ("regime", "benchmark", "metric", "verdict", "n", "planned", "fixed")
    rests = [one for one in report["verdicts"] if one["effect"] is not None and one["fixed"]]
    accuracies = {(one["regime"], one["benchmark"]): one["fixed"] for one in rests if one["metric"] != PROB}
    for verdict in rests:
        accuracy = accuracies.get((verdict["regime"], verdict["benchmark"])) if verdict["metric"] == PROB else None
        yield {
            **{name: verdict[name] for name in names},
            "ratio": verdict["n"] / verdict["fixed"],
            "of_accuracy": verdict["n"] / accuracy if accuracy else None,
        }


def summary(rows: Sequence[Mapping[str, Any]], figure: str) -> dict[str, Any]:
    ratios = [row[figure] for row in rows if row[figure] is not None]
    return {"tests": len(ratios), "median": round(median(ratios), 3) if ratios else None}


def line(row: Mapping[str, Any]) -> str:
    of_accuracy = "" if row["of_accuracy"] is None else f"{row['of_accuracy']:7.2f}"
    return (
        f"{row['regime']:12} {row['benchmark']:17} {row['metric']:12} {row['verdict']:13} {row['n']:5} "
        f"{row['planned']:7} {row['fixed']:6} {row['ratio']:6.2f} {of_accuracy}".rstrip()
    )


if __name__ == "__main__":
    main()
