"""Regimes by name, and what tells two of them apart in the store."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.options import OPTIONS
from pytest_qllm.regimes.catalog import BUILTIN, METHODS, RegimeCatalog
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import digest

NF4 = RegimeCatalog().get("bnb-nf4")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gtpq-4bit", "the nearest names are gptq-4bit, spqr-4bit, gptq-8bit"),
        ("1234", "no name is near it"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_are_near(name, meant):
    with pytest.raises(QllmError) as refused:
        RegimeCatalog().get(name)
    assert str(refused.value) == (
        f"unknown regime {name!r}; {meant} (all: `pytest-qllm list`); methods for specs such as gptq-4bit-g64-sym: "
        f"{', '.join(method.prefix for method in METHODS)}"
    )


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_auto_gptq_s_name_still_means_gptq(bits):
    catalog = RegimeCatalog()
    assert catalog.get(f"auto-gptq-{bits}bit") is catalog.get(f"gptq-{bits}bit")


def test_an_alias_and_its_name_are_one_regime():
    names = [regime.name for regime in RegimeCatalog().choose(["auto-gptq-4bit", "bnb-nf4", "gptq-4bit", "bnb-nf4"])]
    assert names == ["fp16", "gptq-4bit", "bnb-nf4"]


@pytest.mark.parametrize("names", [["bnb-nf4"], ["bnb-nf4", "fp16"], ["fp16", "bnb-nf4"]])
def test_the_baseline_always_comes_first_and_once(names):
    assert [regime.name for regime in RegimeCatalog().choose(names)] == ["fp16", "bnb-nf4"]


def test_one_unknown_name_among_good_ones_is_refused():
    with pytest.raises(QllmError, match="unknown regime 'nf5'"):
        RegimeCatalog().choose(["bnb-nf4", "nf5"])


def test_a_plugin_s_regime_can_be_chosen_beside_the_built_in_ones():
    own = Regime("mine-4bit", "mine", 4, "my_package.mine")
    catalog = RegimeCatalog([own])
    assert catalog.get("mine-4bit") is own
    assert [regime.name for regime in catalog] == [*(regime.name for regime in BUILTIN), "mine-4bit"]


def test_names_methods_and_widths_agree():
    assert len({regime.name for regime in BUILTIN}) == len(BUILTIN)
    assert [regime.name for regime in BUILTIN if regime.is_baseline] == ["fp16"]
    for regime in BUILTIN:
        if regime.method == "GPTQ":
            assert regime.name == f"gptq-{regime.bits}bit"
            assert regime.options["group_size"] != 32, "the default model's weights lie on a grid of 32"


def test_the_default_regimes_are_known():
    (option,) = [option for option in OPTIONS if option.name == "regimes"]
    names = option.default.split(",")
    assert [regime.name for regime in RegimeCatalog().choose(names)] == ["fp16", *names]


class TestRecipe:
    @pytest.fixture(autouse=True)
    def _any_version(self, monkeypatch):
        monkeypatch.setattr("importlib.metadata.version", lambda library: "1.0")

    @pytest.mark.parametrize(
        "change", [{"bits": 3}, {"method": "FP4"}, {"options": {"block_size": 128}}, {"options": {}}]
    )
    def test_changes_with_all_that_changes_the_weights(self, change):
        assert digest(replace(NF4, **change).recipe()) != digest(NF4.recipe())

    def test_changes_with_an_option_deep_inside(self):
        gptq = RegimeCatalog().get("gptq-4bit")
        deeper = {**gptq.options, "calibration": {**gptq.options["calibration"], "rows": 32}}
        assert digest(replace(gptq, options=deeper).recipe()) != digest(gptq.recipe())

    def test_changes_with_the_version_of_the_library(self, monkeypatch):
        before = digest(NF4.recipe())
        monkeypatch.setattr("importlib.metadata.version", lambda library: "1.1")
        assert digest(NF4.recipe()) != before

    def test_does_not_change_with_a_name(self):
        assert replace(NF4, name="mine").recipe() == NF4.recipe()

    def test_differs_between_any_two_regimes(self):
        assert len({digest(regime.recipe()) for regime in BUILTIN}) == len(BUILTIN)


class TestMissing:
    def test_names_the_command_that_installs_it(self):
        regime = replace(NF4, library="no_such_library", extra="bitsandbytes")
        assert regime.missing() == "pip install 'pytest-qllm[bitsandbytes]'"

    def test_is_none_where_everything_is_there(self):
        assert replace(NF4, library="json").missing() is None

    def test_a_part_of_a_package_that_is_not_there_is_missing(self):
        regime = replace(NF4, library="no_such_package.part", extra="quanto")
        assert regime.missing() == "pip install 'pytest-qllm[quanto]'"


class TestDevice:
    AWQ = RegimeCatalog().get("awq-4bit")

    def test_what_needs_cuda_says_so_where_there_is_none(self, monkeypatch):
        monkeypatch.setattr("pytest_qllm.regimes.regime._cuda_works", lambda: False)
        assert self.AWQ.needs_device() == "awq-4bit runs on CUDA only: gptqmodel has no other kernel for AWQ"

    def test_it_runs_where_there_is_one(self, monkeypatch):
        monkeypatch.setattr("pytest_qllm.regimes.regime._cuda_works", lambda: True)
        assert self.AWQ.needs_device() is None

    def test_others_run_anywhere(self, monkeypatch):
        monkeypatch.setattr("pytest_qllm.regimes.regime._cuda_works", lambda: False)
        assert NF4.needs_device() is None

    def test_a_machine_without_a_gpu_is_known_without_torch(self, monkeypatch):
        monkeypatch.setattr("os.path.exists", lambda path: False)
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setitem(sys.modules, "torch", None)  # importing it would raise
        assert self.AWQ.needs_device() is not None
