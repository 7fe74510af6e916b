"""Gates that answer at once, by the benchmark's name and without a model: for what a report does with the answers."""

from __future__ import annotations

import pytest

HOSTILE = "<script>alert('m')</script> & ]]> \x1b[31m\x00 \"quoted\""
"""A model's name that means something in XML, in HTML and to a terminal."""

CONFTEST = """
    import pytest

    from pytest_qllm.errors import QllmError
    from pytest_qllm.questions import Questions
    from pytest_qllm.report.record import Record
    from pytest_qllm.session import Session

    HOSTILE = {hostile!r}
    JUDGED = {{
        "kept": dict(outcome="PASS", effect=0.0, candidate=0.5, ci=(-0.02, 0.02)),
        "lost": dict(outcome="FAIL", effect=-0.3, candidate=0.2, ci=(-0.4, -0.2)),
        "open": dict(outcome="INCONCLUSIVE", effect=-0.05, candidate=0.45, ci=(float("-inf"), 0.02)),
        "silent": dict(outcome="NO_SIGNAL", reason="too near chance: " + HOSTILE),
    }}

    def answer(self, benchmark, regime, node):
        if benchmark == "broken":
            raise QllmError("cannot be measured: " + HOSTILE)
        known = dict(model=HOSTILE, dimension="d", metric="acc", scale="difference", n=120, baseline=0.5)
        judged = {{}} if regime.is_baseline else dict(tolerance=0.03, **JUDGED[benchmark])
        return Record(regime=regime.name, method="M", bits=regime.bits, benchmark=benchmark, **known, **judged)

    PATCH = pytest.MonkeyPatch()

    def pytest_configure():
        PATCH.setattr(Questions, "of_benchmark", lambda self, node, regime, benchmark, *_: benchmark)
        PATCH.setattr(Session, "sized", lambda self, regime: regime)
        PATCH.setattr(Session, "answer", answer)

    def pytest_unconfigure():
        PATCH.undo()
"""

VERDICTS = {"kept": "PASS", "lost": "FAIL", "open": "INCONCLUSIVE", "silent": "NO_SIGNAL"}


def write(pytester: pytest.Pytester, *benchmarks: str) -> None:
    """A user's directory with a gate for each of ``VERDICTS`` (or of ``benchmarks``; ``broken`` ends in an error)."""
    pytester.makeconftest(CONFTEST.format(hostile=HOSTILE))
    for name in benchmarks or VERDICTS:
        pytester.makepyfile(**{f"test_{name}": f"def test_{name}(gate):\n    gate({name!r})\n"})
    pytester.makeini("[pytest]\nqllm_regimes = bnb-int8\nqllm_store = store\n")
