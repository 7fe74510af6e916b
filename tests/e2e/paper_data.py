"""Real benchmark files beside the checkout, for tests of what no wheel has; nothing of them is in this repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data() -> Path:
    """The folder, or a skip that says where it is looked for."""
    folder = Path(os.environ.get("QLLM_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no benchmark files in {folder}: name their folder with QLLM_SHARED_DATA")
    return folder
