"""kill -9 of a run at any moment, or two runs at once: what was measured stays, and the results are the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import MORE_REGIMES, Suite

pytestmark = pytest.mark.slow

CHUNKS = 6
"""Of fp16 and of a regime that needs no library, together."""

WATCHED = """
    import json
    import os
    import signal
    import time

    import pytest
    from mine import noise

    os.sched_getaffinity = lambda _: {0}  # tiny matrices gain nothing from a second thread

    def die(place):
        if os.environ.get("QLLM_KILL") == place:
            os.kill(os.getpid(), signal.SIGKILL)

    @pytest.fixture(autouse=True, scope="session")
    def watched():
        from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark

        score, build = LmEvalBenchmark.score, noise.build
        chunks = []

        def watched_score(self, items, engine):
            if engine.runner.budget.slots == 1:  # asked again, for the noise floor
                return score(self, items, engine)
            chunks.append(items)
            die(f"scoring {len(chunks)}")
            time.sleep(float(os.environ.get("QLLM_SLOW", 0)))
            with open(os.environ["QLLM_LOG"], "a") as file:
                model = float(engine.model.lm_head.weight.sum())
                file.write(json.dumps([model, *(item.id for item in items)]) + "\\n")
            return score(self, items, engine)

        def watched_build(*arguments):
            build(*arguments)
            die("quantizing")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LmEvalBenchmark, "score", watched_score)
            patch.setattr(noise, "build", watched_build)
            yield
"""
"""A conftest that logs every chunk that is scored, and dies where it is told to."""


@pytest.fixture(autouse=True)
def watched(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.gates("lambada")
    suite.more_regimes()
    suite.pytester.makeconftest(MORE_REGIMES + WATCHED)
    suite.options["regimes"] = "slight"
    monkeypatch.setenv("QLLM_LOG", str(suite.path / "scored.log"))


@pytest.fixture
def undisturbed(suite: Suite, watched: None) -> dict[str, Any]:
    """The report of a run that nobody killed, with a store of its own."""
    suite.run(store=suite.path / "other-store").assert_outcomes(passed=2)
    report = suite.report
    shutil.rmtree(suite.path / "reports")
    (suite.path / "scored.log").unlink()
    return report


def found(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Verdicts and baselines without the commands that give them again, which name the store."""
    records = [*report["verdicts"], *report["baselines"]]
    return [{name: value for name, value in record.items() if name != "rerun"} for record in records]


def start(suite: Suite, *arguments: str, report: str = "reports", **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *suite.arguments(report=report), *arguments],
        cwd=suite.path,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stored(suite: Suite) -> list[Path]:
    return list((suite.path / "store/measurements").rglob("*.json"))


def scored(suite: Suite) -> Counter[str]:
    """How often each chunk was scored, by all processes since the log was removed."""
    log = suite.path / "scored.log"
    return Counter(log.read_text().splitlines() if log.exists() else [])


def assert_completed(suite: Suite, undisturbed: dict[str, Any]) -> None:
    """Run again: only what is not stored is measured, and all is as if nothing had happened."""
    kept = len(stored(suite))
    (suite.path / "scored.log").unlink(missing_ok=True)
    suite.run().assert_outcomes(passed=2)
    assert sum(scored(suite).values()) == CHUNKS - kept
    assert found(suite.report) == found(undisturbed)


@pytest.mark.parametrize(("place", "kept"), [("quantizing", 1), ("scoring 5", 4)])
def test_a_run_that_dies(suite: Suite, undisturbed: dict[str, Any], place: str, kept: int) -> None:
    run = start(suite, QLLM_KILL=place)
    assert run.wait(120) == -signal.SIGKILL
    assert len(stored(suite)) == kept
    assert not (suite.path / "reports/qllm.json").exists()
    assert_completed(suite, undisturbed)


def test_killing_the_run_and_its_workers(suite: Suite, undisturbed: dict[str, Any]) -> None:
    run = start(suite, "-n2", QLLM_SLOW="1")
    while len(stored(suite)) < 2 and run.poll() is None:
        time.sleep(0.02)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert 2 <= len(stored(suite)) < CHUNKS
    assert_completed(suite, undisturbed)


def test_two_runs_on_one_store_share_the_work(suite: Suite, undisturbed: dict[str, Any]) -> None:
    runs = [start(suite, report=name, QLLM_SLOW="0.2") for name in ("one", "other")]
    assert [run.wait(180) for run in runs] == [0, 0]
    assert scored(suite).total() == CHUNKS
    assert set(scored(suite).values()) == {1}
    for name in ("one", "other"):
        report = json.loads((suite.path / name / "qllm.json").read_text())
        assert found(report) == found(undisturbed)
    assert len(list((suite.path / "store/artifacts").iterdir())) == 1
