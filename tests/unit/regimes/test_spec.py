"""What a user may write for a regime: specs, what follows their plus signs, and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.catalog import METHODS, RegimeCatalog
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

TOY = Method(
    "toy", "Toy", "my.toy", (4, 2), groups=(32, 64), group=64, symmetric=True, keeps=True, options={"act": False}
)
CATALOG = RegimeCatalog([TOY, Regime("plain", "Plain", 8, "my.plain")])


def test_a_spec_without_parameters_is_the_method_s_default() -> None:
    assert CATALOG.get("toy-4bit").options == {"group_size": 64, "symmetric": True, "act": False}


def test_a_spec_says_group_size_and_grid() -> None:
    found = CATALOG.get("toy-2bit-g32-asym")
    assert (found.name, found.bits, found.options["group_size"], found.options["symmetric"]) == (
        "toy-2bit-g32-asym",
        2,
        32,
        False,
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("toy-3bit", "Toy has no width of 3 bits; it has 4, 2"),
        ("toy-4bit-g48", "Toy has groups of 32, 64"),
        ("toy-4bit+calibration=code", "needs no calibration"),
        ("plain+calibration=code", "needs no calibration"),
        ("toy-4bit+kv=int3", "expected one of int2, int4, int8"),
        ("toy-4bit+kv=", "kv= is empty"),
        ("toy-4bit+kv=int4+kv=int2", "kv= is given twice"),
        ("toi-4bit", "unknown regime 'toi-4bit'; the nearest names are"),
        ("toy-4bit+", "'+' is no part of a spec; expected +calibration=SET, +lora=DIR or +kv=WIDTH"),
        ("fp16+foo=1", "'+foo=1' is no part of a spec"),
        ("mine=", "names no checkpoint; expected mine=DIRECTORY"),
        ("mine=/no/such/place", "no such directory, GGUF file or hub id"),
        ("plain=/no/such/place", "the name 'plain' is taken"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, words: str) -> None:
    with pytest.raises(QllmError) as refused:
        CATALOG.get(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_adapter_and_a_cache_change_no_artifact() -> None:
    found = CATALOG.get("toy-4bit-g32+lora=/some/where/mine+kv=int4")
    assert found.name == "toy-4bit-g32+lora=mine+kv=int4"
    assert (found.adapter, found.kv) == ("/some/where/mine", "int4")
    assert found.base == CATALOG.get("toy-4bit-g32")


def test_the_baseline_with_a_small_cache_is_a_candidate() -> None:
    found = CATALOG.get("fp16+kv=int4")
    assert not found.is_baseline
    assert found.base.is_baseline
    assert found.judged_bits == 4


def test_the_width_that_is_judged_is_what_a_weight_really_takes() -> None:
    assert Regime("a", "A", 2, "a", bits_per_weight=3.25).judged_bits == 3
    assert Regime("a", "A", 2, "a", bits_per_weight=3.25, kv="int2").judged_bits == 2
    assert Regime("a", "A", 2, "a").judged_bits == 2


def test_two_regimes_of_one_name_are_refused() -> None:
    with pytest.raises(QllmError, match="two regimes would be called plain\\+lora=mine"):
        CATALOG.choose(["plain+lora=/a/mine", "plain+lora=/b/mine"])


def test_a_calibration_file_is_relative_to_the_root(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("some text")
    found = RegimeCatalog(root=tmp_path).get("gptq-4bit+calibration=mine.txt")
    assert found.options["calibration"]["corpus"] == str(tmp_path / "mine.txt")
    assert found.name == "gptq-4bit+calibration=mine"


@pytest.mark.parametrize("name", ["ct-smoothquant-w8a8", "quanto-w8a8", "spqr-2bit-no-outliers", "mine", "gptq-4bit"])
def test_a_calibrated_name_takes_other_texts(name: str) -> None:
    catalog = RegimeCatalog(tables={"mine": {"method": "gptq", "bits": 3, "group_size": 32}})
    usual, other = catalog.get(name), catalog.get(f"{name}+calibration=code+kv=int4")
    assert (other.name, other.kv) == (f"{name}+calibration=code+kv=int4", "int4")
    assert other.options == {**usual.options, "calibration": {**usual.options["calibration"], "corpus": "code"}}


def test_a_map_s_parts_take_other_texts_together() -> None:
    catalog = RegimeCatalog(tables={"mixed": {"modules": {"down_proj": "gptq-4bit", "up_proj": "rtn-4bit"}}})
    options = catalog.get("mixed+calibration=code").options
    calibrated = [part["options"].get("calibration", {}).get("corpus") for part in options["parts"]]
    assert (options["calibration"]["corpus"], calibrated) == ("code", ["code", None])


def test_a_table_makes_a_regime_of_every_parameter() -> None:
    table = {"method": "toy", "bits": 4, "group_size": 32, "symmetric": False, "keep": ["lm_head"], "kv": "int8"}
    found = RegimeCatalog([TOY], {"mine": {**table, "options": {"act": True}}}).get("mine")
    assert found.options == {"group_size": 32, "symmetric": False, "keep": ["lm_head"], "act": True}
    assert (found.name, found.kv) == ("mine", "int8")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"bits": 4}, "says no method"),
        ({"method": "toy"}, "says no bits"),
        ({"method": "toi", "bits": 4}, "unknown method 'toi'"),
        ({"method": "toy", "bits": "4"}, "bits is '4'; expected a value of type int"),
        ({"method": "toy", "bits": True}, "bits is True"),
        ({"method": "toy", "bits": 4, "grup_size": 32}, "has 'grup_size'"),
        ({"method": "toy", "bits": 4, "keep": ["("]}, "no regular expression"),
        ({"method": "toy", "bits": 4, "keep": [1]}, "expected a list of regular expressions"),
        ({"method": "toy", "bits": 4, "options": {"desc": 1}}, "no option 'desc'; it has act"),
        ({"method": "toy", "bits": 4, "kv": "int5"}, "kv is 'int5'"),
        ("toy", "expected a table"),
    ],
)
def test_a_wrong_table_names_the_file_and_the_place(table: object, words: str) -> None:
    with pytest.raises(QllmError) as refused:
        RegimeCatalog([TOY], {"mine": table}, "some.toml")
    assert str(refused.value).startswith("some.toml: regimes.mine")
    assert words in str(refused.value)


def test_a_table_takes_no_name_that_is_taken() -> None:
    with pytest.raises(QllmError, match="there is a regime of that name already"):
        RegimeCatalog(tables={"bnb-nf4": {"method": "gptq", "bits": 4}})


@given(st.data())
def test_every_spec_of_a_method_is_read_back_from_its_own_name(data: st.DataObject) -> None:
    method = data.draw(st.sampled_from(METHODS))
    bits = data.draw(st.sampled_from(method.widths))
    group = data.draw(st.sampled_from([None, *method.groups]))
    grid = data.draw(st.sampled_from([None, True, False])) if method.symmetric is not None else None
    regime = method.regime(bits, group_size=group, symmetric=grid)
    assert RegimeCatalog().get(regime.name) == regime


CLASS = """
from pytest_qllm.regimes.regime import Regime

class Halved:
    REGIMES = (Regime("halved", "halved", 8),)
"""


def test_a_class_offers_its_regimes_with_itself_as_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halving_package.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    from halving_package import Halved  # type: ignore[import-not-found]

    assert RegimeCatalog([Halved]).get("halved").backend == "halving_package:Halved"


def test_a_regime_without_a_backend_is_refused() -> None:
    """It would be measured as the baseline, and pass."""
    with pytest.raises(QllmError, match="the regimes of halved name no backend"):
        RegimeCatalog([Regime("halved", "halved", 8)])


def test_a_cache_whose_library_is_not_here_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> object | None:
        if name == "optimum.quanto":
            raise ModuleNotFoundError("No module named 'optimum'")
        return object()

    monkeypatch.setattr("importlib.util.find_spec", find)
    assert Regime("fp16", "none", 16, kv="int4").missing() == "pip install 'pytest-qllm[kv]'"
