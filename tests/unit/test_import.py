"""Having the plugin installed costs a session nothing heavy until a gate runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "lm_eval", "datasets", "numpy", "scipy", "pandas", "rich")

GATES = """
import pytest

def test_boolq(gate):
    gate("boolq")

@pytest.mark.qllm_tolerance({4: 0.05})
@pytest.mark.parametrize("language", ["de", "en"])
def test_many(gate, regime, language):
    gate("mmlu")
"""


def imported_by(statement: str, folder: Path) -> list[str]:
    """The heavy libraries that a fresh interpreter has imported after the statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_that_it_would_be_seen(tmp_path):
    assert imported_by("import numpy", tmp_path) == ["numpy"]


@pytest.mark.parametrize(
    "module", ["plugin", "options", "session", "schedule", "fixtures", "store", "cli", "hookspecs"]
)
def test_importing_imports_nothing_heavy(tmp_path, module):
    assert imported_by(f"import pytest_qllm.{module}", tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["--markers"],
        ["--collect-only", "-q"],
        ["--collect-only", "--qllm-regimes=gptq-4bit"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_before_a_gate_runs(tmp_path, arguments):
    (tmp_path / "test_gates.py").write_text(GATES)
    assert imported_by(f"import pytest; assert pytest.main({arguments!r}) == 0", tmp_path) == []


def test_a_session_of_other_tests_imports_nothing_heavy(tmp_path):
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    assert imported_by("import pytest; assert pytest.main(['-q']) == 0", tmp_path) == []
