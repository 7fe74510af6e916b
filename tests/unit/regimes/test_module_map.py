"""A map from modules to regimes: what may stand in its table, and which layer gets what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402
from tiny_llama import TEXTS, write  # noqa: E402

from pytest_qllm.errors import QllmError  # noqa: E402
from pytest_qllm.regimes.backends import backend  # noqa: E402
from pytest_qllm.regimes.catalog import RegimeCatalog  # noqa: E402
from pytest_qllm.regimes.regime import Regime, version_of  # noqa: E402
from pytest_qllm.regimes.size import stored  # noqa: E402
from pytest_qllm.store import digest  # noqa: E402

OWN = {"method": "rtn", "bits": 2, "group_size": 16}


def mapped(modules: Any, **more: Any) -> Regime:
    """The regime of a table, beside one called ``own``."""
    return RegimeCatalog(tables={"mixed": {"modules": modules, **more}, "own": OWN}).get("mixed")


def test_a_part_is_a_name_a_spec_or_a_regime_of_another_table():
    regime = mapped({"down_proj": "rtn-8bit", "q_proj": "gptq-4bit-g32-asym"}, default="own")
    assert [part["name"] for part in regime.options["parts"]] == ["gptq-4bit-g32-asym", "own", "rtn-8bit"]
    assert (regime.bits, regime.weight_only, regime.simulated) == (2, True, True)


def test_the_calibration_of_the_parts_is_that_of_the_whole():
    gptq = RegimeCatalog().get("gptq-4bit")
    assert (
        mapped({"down_proj": "gptq-4bit", "up_proj": "spqr-3bit"}).options["calibration"]
        == (gptq.options["calibration"])
    )
    assert "calibration" not in mapped({"down_proj": "rtn-4bit"}).options


def test_a_part_whose_library_s_package_is_absent_is_what_the_map_lacks():
    part = Regime("theirs", "Theirs", 4, "their.backend", "nowhere.to_be_found", "theirs")
    regime = RegimeCatalog([part], tables={"mixed": {"modules": {"down_proj": "theirs"}}}).get("mixed")
    assert regime.options["parts"][0]["version"] == ""
    assert regime.missing() == "pip install 'pytest-qllm[theirs]'"


def test_a_part_s_version_is_its_distribution_s():
    pytest.importorskip("optimum.quanto")
    (part,) = mapped({"down_proj": "quanto-int4"}).options["parts"]
    assert part["version"] == version_of("optimum.quanto")


def test_adapter_and_cache_belong_to_the_whole():
    regime = mapped({"down_proj": "rtn-4bit"}, kv="int4", lora="adapters/one")
    assert (regime.kv, regime.adapter) == ("int4", "adapters/one")


@pytest.mark.parametrize(
    "change",
    [
        {"modules": {"down_proj": "rtn-4bit"}},
        {"modules": {"up_proj": "rtn-8bit"}},
        {"modules": {"down_proj": "rtn-8bit"}, "default": "rtn-4bit"},
        {"modules": {"down_proj": "rtn-8bit", "proj": "rtn-4bit"}},
        {"modules": {"proj": "rtn-4bit", "down_proj": "rtn-8bit"}},
    ],
)
def test_the_recipe_changes_with_all_that_changes_the_weights(change):
    one = mapped({"down_proj": "rtn-8bit"})
    other = mapped(**change)
    assert digest(one.recipe()) != digest(other.recipe())
    if len(change["modules"]) == 2:  # which expression is first decides
        turned = mapped(dict(reversed(change["modules"].items())))
        assert digest(turned.recipe()) != digest(other.recipe())


def test_the_recipe_has_the_versions_of_the_parts_libraries(monkeypatch):
    before = digest(mapped({"down_proj": "bnb-nf4"}).recipe())
    monkeypatch.setattr("importlib.metadata.version", lambda library: "99")
    assert digest(mapped({"down_proj": "bnb-nf4"}).recipe()) != before


def test_what_a_part_lacks_the_whole_lacks(monkeypatch):
    lacking = replace(RegimeCatalog().get("bnb-nf4"), name="lacking", library="no_such_library", extra="none")
    catalog = RegimeCatalog([lacking], {"mixed": {"modules": {"q_proj": "rtn-4bit", "down_proj": "lacking"}}})
    assert catalog.get("mixed").missing() == "pip install 'pytest-qllm[none]'"
    assert mapped({"q_proj": "rtn-4bit"}).missing() is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"modules": {}}, "modules is {}; expected a table such as"),
        ({"modules": ["down_proj"]}, r"modules is \['down_proj'\]; expected a table"),
        ({"modules": {"down_proj": 4}}, "modules is .*; expected a table"),
        ({"modules": {"(": "rtn-4bit"}}, r"'\(' is no regular expression"),
        ({"modules": {"q": "rtn-9bit"}}, "RTN has no width of 9 bits"),
        ({"modules": {"q": "no-such"}}, "unknown regime 'no-such'"),
        ({"modules": {"q": "bnb-int8"}}, "bnb-int8 quantizes activations"),
        ({"modules": {"q": "rtn-4bit+kv=int4"}}, r"rtn-4bit\+kv=int4 has an adapter or a cache"),
        ({"modules": {"q": "fp16"}}, "leaves every module in FP16"),
        ({"modules": {"q": "rtn-4bit"}, "bits": 4}, "has 'bits' beside modules; expected modules, default, lora, kv"),
        ({"modules": {"q": "rtn-4bit"}, "default": 4}, "default is 4; expected a value of type str"),
        ({"modules": {"q": "rtn-4bit"}, "kv": "int5"}, "kv is 'int5'; expected one of"),
        ({"modules": {"q": "gptq-4bit+calibration=code", "k": "gptq-3bit"}}, "give all parts the same"),
    ],
)
def test_what_cannot_be_a_map_is_one_line(table, words):
    with pytest.raises(QllmError, match=r"^pyproject\.toml: regimes\.mixed.*" + words):
        RegimeCatalog(tables={"mixed": table})


def test_a_map_in_a_map_is_refused():
    tables = {"a": {"modules": {"q": "rtn-4bit"}}, "b": {"modules": {"k": "a"}}}
    with pytest.raises(QllmError, match=r"regimes\.b: a is a map of modules itself"):
        RegimeCatalog(tables=tables)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("tiny") / "model")


def made(regime: Regime, model: Path, into: Path) -> Path:
    into.mkdir()
    backend(regime).build(regime, model, TEXTS, 0, into)
    return into


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in load_file(directory / "model.safetensors").items() if "_proj." in name}


def test_each_layer_is_that_of_the_first_regime_that_matches(model, tmp_path):
    regime = mapped({r"layers\.0.*down_proj": "own", "down_proj": "rtn-4bit-g32", "self_attn": "fp16"}, default="own")
    artifact = made(regime, model, tmp_path / "artifact")
    found, before = weights(artifact), weights(model)
    parts = {name: weights(made(RegimeCatalog(tables={"own": OWN}).get(name), model, tmp_path / name))
             for name in ("own", "rtn-4bit-g32")}  # fmt: skip
    for name, weight in found.items():
        if "self_attn" in name:
            expected = before[name]
        elif "layers.1.mlp.down_proj" in name:
            expected = parts["rtn-4bit-g32"][name]
        else:
            expected = parts["own"][name]
        assert torch.equal(weight, expected), name
    size = json.loads((artifact / "layers.json").read_text())
    widths = {name: layer["bits"] / layer["weights"] for name, layer in size["layers"].items()}
    assert widths.pop("model.layers.1.mlp.down_proj") == 4 + 32 / 32
    assert set(widths.values()) == {2 + 32 / 16}
    assert len(widths) == 5
    assert not [path for path in artifact.iterdir() if path.is_dir()]


def test_layers_without_a_regime_stay_in_fp16(model, tmp_path):
    found, before = weights(made(mapped({"up_proj": "own"}), model, tmp_path / "artifact")), weights(model)
    assert {name for name in found if not torch.equal(found[name], before[name])} == {
        name for name in found if "up_proj" in name
    }


def test_a_part_of_a_library_gives_its_dense_weights(model, tmp_path):
    pytest.importorskip("bitsandbytes")
    artifact = made(mapped({"up_proj": "bnb-nf4"}), model, tmp_path / "artifact")
    nf4 = RegimeCatalog().get("bnb-nf4")
    made(nf4, model, tmp_path / "nf4")
    dense = backend(nf4).dense(tmp_path / "nf4", torch.float16, "cpu")
    name = "model.layers.0.mlp.up_proj"
    assert torch.equal(weights(artifact)[f"{name}.weight"], dense.get_submodule(name).weight)
    size = json.loads((artifact / "layers.json").read_text())
    saved, _ = stored(tmp_path / "nf4", size["layers"])
    assert {name: layer["bits"] for name, layer in size["layers"].items()} == saved
    assert all(
        4.5 <= layer["bits"] / layer["weights"] < 5.1 for layer in size["layers"].values()
    )  # and a small codebook


def test_an_expression_that_decides_nothing_is_refused(model, tmp_path):
    with pytest.raises(QllmError, match=r"mixed: 'up_prj' decides for no linear layer .*layers\.0\.self_attn\.q_proj"):
        made(mapped({"up_prj": "own"}), model, tmp_path / "one")
    with pytest.raises(QllmError, match="'down_proj' decides for no linear layer"):
        made(mapped({"proj": "own", "down_proj": "rtn-4bit-g16"}), model, tmp_path / "two")
