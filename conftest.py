"""For the tests of the plugin: pytester, and the fast tests first."""

import pytest

pytest_plugins = ["pytester"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folders = ("unit", "integration", "browser", "e2e")
    ranks = {folder: rank for rank, folder in enumerate(folders)}
    items.sort(key=lambda item: max((ranks.get(part, -1) for part in item.path.parts), default=-1))
