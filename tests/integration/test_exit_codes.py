"""Exit codes are pytest's own: a CI needs no others."""

from __future__ import annotations

import answers
import pytest

from conftest import IMPORTED_BEFORE


@pytest.mark.parametrize(
    ("benchmarks", "arguments", "code"),
    [
        (("kept", "silent"), (), pytest.ExitCode.OK),
        (("kept", "lost"), (), pytest.ExitCode.TESTS_FAILED),
        (("kept", "open"), (), pytest.ExitCode.TESTS_FAILED),
        (("kept", "open"), ("--qllm-inconclusive=skip",), pytest.ExitCode.OK),
        (("broken",), (), pytest.ExitCode.TESTS_FAILED),
        (("kept",), ("--qllm-regimes=none-such",), pytest.ExitCode.USAGE_ERROR),
        (("kept",), ("-k", "nothing"), pytest.ExitCode.NO_TESTS_COLLECTED),
    ],
    ids=lambda value: value.name if isinstance(value, pytest.ExitCode) else " ".join(value),
)
def test_of_a_session(
    pytester: pytest.Pytester, benchmarks: tuple[str, ...], arguments: tuple[str, ...], code: pytest.ExitCode
) -> None:
    answers.write(pytester, *benchmarks)
    quiet = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    assert pytester.runpytest_inprocess(*arguments, *quiet, *IMPORTED_BEFORE).ret == code
