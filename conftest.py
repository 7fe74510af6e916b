"""For the tests of the plugin: pytester, and the fast tests first."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

# GPTQModel compiles a helper for a minute once for each home directory, and pytester gives each test a home of its own.
os.environ.setdefault("GPTQMODEL_TORCH_EXTENSIONS_DIR", str(Path.home() / ".cache/gptqmodel/torch_extensions"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = ("unit", "integration", "browser", "e2e")
    ranks = {folder: rank for rank, folder in enumerate(folders)}
    items.sort(key=lambda item: max((ranks.get(part, -1) for part in item.path.parts), default=-1))
