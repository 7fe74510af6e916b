"""The fixture ``efficiency``: costs of a tiny model, measured for real."""

from __future__ import annotations

import pytest

from conftest import Suite

pytestmark = pytest.mark.slow


def costs(suite: Suite, *calls: str) -> None:
    """A test for each call of the fixture."""
    tests = [f"def test_{number}(efficiency):\n    efficiency({call})\n" for number, call in enumerate(calls)]
    suite.pytester.makepyfile(test_costs="\n".join(tests))


def test_counts(suite: Suite) -> None:
    costs(
        suite,
        '"weight_memory"',
        '"disk_size", tolerance=0.1',
        '"decode_time", batch=2',
        '"prefill_time"',
        '"load_time"',
        '"peak_memory"',
        '"first_token_time", tolerance=50',
    )
    result = suite.run(regimes="bnb-nf4", shape="16x8")
    assert result.parseoutcomes() == {}
