"""pytest's hooks, each a few lines that call into another module. Importing this imports nothing heavy."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_qllm import hookspecs, options, schedule, session
from pytest_qllm.efficiency.fixture import efficiency
from pytest_qllm.errors import QllmError
from pytest_qllm.fixtures import gate, qllm_regime, regime
from pytest_qllm.session import Session, session_of
from pytest_qllm.stash import SESSION

__all__ = ["efficiency", "gate", "qllm_regime", "regime"]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "qllm_tolerance(value): tolerance of this test, for every width or by width such as {4: 0.05, 2: 0.1}",
    )
    # transformers imports HQQ where it is installed, which compiles its functions so: nothing that a user can mend.
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script:DeprecationWarning")
    config.addinivalue_line("markers", "qllm_items(n): number of items that this test measures")
    try:
        config.stash[SESSION] = Session.start(config)
    except QllmError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(config.stash[SESSION], "qllm-session")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "qllm_regime" in metafunc.fixturenames:
        names, ids = schedule.parameters(session_of(metafunc.config).regime_names, metafunc.fixturenames)
        metafunc.parametrize("qllm_regime", names, ids=ids, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    schedule.order(items, session_of(config).regime_names)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    fixtures = getattr(item, "fixturenames", ())
    settings = session_of(item.config).settings
    if (settings.plan or settings.fetch) and not {"gate", "qllm_regime"} <= set(fixtures):
        pytest.skip(f"not a gate: --qllm-{'plan' if settings.plan else 'fetch'} runs no other test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    session.attach(item, report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return schedule.make_scheduler(config, log, session_of(config).regime_names)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker whether timed tests run alone: only this package's own order sees to it."""
    dist = node.config.getoption("dist", "no")
    node.workerinput |= {"qllm_alone": dist == "load", "qllm_dist": dist}
