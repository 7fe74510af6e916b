"""The truth about each weight-only regime: its effective weights lie on a grid of its width, and more bits err less."""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pytest_qllm.errors import QllmError
from pytest_qllm.models.loader import load_dense
from pytest_qllm.regimes.backends import backend, dense_backend
from pytest_qllm.regimes.catalog import BUILTIN, METHODS, RegimeCatalog
from pytest_qllm.regimes.layers import linears, pack, unpack
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import digest

TEXTS = [f"The {number} ships left the harbour before sunrise, and {number + 3} came back.\n" for number in range(200)]

CODEBOOKS = {"NF4", "FP4", "torchao Float8WeightOnly", "quanto FP8 E4M3", "quanto FP8 E5M2"}
"""Methods whose levels are no multiples of a step: a group's weights, over its largest one, are from one code."""

LIBRARY_GROUPS = {("quanto integers", 4): 128, ("quanto integers", 2): 128}
"""Group sizes that the library chooses itself, for widths of 256 and 512."""


UNTOUCHED = ("model.embed_tokens.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight")
"""Tensors that no regime quantizes."""

MIXED = {"SliM-LLM"}
"""Methods whose groups have a width more or less than the mean."""


def weight_only() -> Iterator[Regime]:
    """Every named regime that tells its effective weights, and each method at each of its widths.

    SpQR without its outliers, which are on no grid: tests/unit/regimes/test_sparse.py has them.
    """
    regimes = [regime for regime in BUILTIN if not regime.is_baseline]
    regimes += [method.regime(bits) for method in METHODS for bits in method.widths]
    seen = set()
    for regime in regimes:
        if regime.options.get("outliers"):
            regime = replace(regime, options={**regime.options, "outliers": False})
        key = (regime.method, regime.bits, str(regime.options))
        if regime.weight_only and dense_backend(regime) is not None and key not in seen:
            seen.add(key)
            yield regime


REGIMES = list(weight_only())


def write_model(directory: Path, hidden: int) -> Path:
    """A checkpoint of one layer with random weights, and a tokenizer of bytes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
    )
    LlamaForCausalLM(config).half().save_pretrained(directory)
    vocabulary = {symbol: at for at, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    return directory


@functools.cache
def model_of(hidden: int) -> Path:
    return write_model(Path(tempfile.mkdtemp()), hidden)


_SHARED: list[Path] = []
"""Where artifacts are, for all processes of a run: GPTQ takes half a minute for each."""


@pytest.fixture(autouse=True, scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.getbasetemp()
    _SHARED[:] = [(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "grids"]
    _SHARED[0].mkdir(exist_ok=True)


def made(regime: Regime, hidden: int = 256) -> Path:
    """An artifact; the test is skipped where the library or its device is not here."""
    reason = regime.missing() or regime.needs_device()
    if reason:
        pytest.skip(reason)
    artifact = _SHARED[0] / f"{regime.name}-{digest([regime.recipe(), hidden])}"
    with FileLock(f"{artifact}.lock"):
        if not artifact.is_dir():
            into = Path(tempfile.mkdtemp(dir=_SHARED[0]))
            backend(regime).build(regime, model_of(hidden), TEXTS if "calibration" in regime.options else [], 0, into)
            into.rename(artifact)
    return artifact


@functools.cache
def original() -> dict[str, torch.Tensor]:
    return weights_of(load_dense(model_of(256), torch.float32, "cpu"))


@functools.cache
def effective(name: str) -> dict[str, torch.Tensor]:
    """The effective weights of each layer, float32; each regime is made once for all tests."""
    regime = next(regime for regime in REGIMES if regime.name == name)
    shadow = dense_backend(regime)
    assert shadow is not None
    return weights_of(shadow.dense(made(regime), torch.float32, "cpu"))


def weights_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach().clone() for name, layer in linears(model).items()}


def error(name: str) -> float:
    """Mean absolute error of the weights of all layers."""
    return float(
        torch.cat([(weight - original()[at]).abs().flatten() for at, weight in effective(name).items()]).mean()
    )


def groups_of(regime: Regime, weight: torch.Tensor) -> torch.Tensor:
    """Shape (groups, weights in a group); without a group size, a group is an output channel."""
    size = regime.options.get("group_size") or LIBRARY_GROUPS.get((regime.method, regime.bits)) or weight.shape[1]
    return weight.reshape(-1, size)


def cases(regimes: list[Regime]) -> list[object]:
    """GPTQ starts a process that imports its library, for each width."""
    slow = [pytest.mark.real]
    return [pytest.param(one, id=one.name, marks=slow if one.backend == "gptqmodel" else []) for one in regimes]


def widest(regime: Regime) -> int:
    """Bits of the widest group."""
    return regime.bits + (regime.method in MIXED)


def distance_from_a_grid(levels: torch.Tensor, steps: int) -> float:
    """How far sorted levels are from the nearest grid of at most so many steps, in steps; the ends are on it."""
    whole = torch.arange(1, steps + 1, dtype=torch.float64)[:, None]
    places = whole * (levels - levels[0]) / (levels[-1] - levels[0])
    return float((places - places.round()).abs().amax(1).min())


@pytest.mark.parametrize("regime", cases(REGIMES))
def test_each_group_has_at_most_as_many_levels_as_its_width_allows(regime: Regime) -> None:
    for name, weight in effective(regime.name).items():
        groups = groups_of(regime, weight)
        assert max(len(group.unique()) for group in groups) <= 2 ** widest(regime), name


@pytest.mark.parametrize("regime", cases([one for one in REGIMES if one.method not in CODEBOOKS]))
def test_the_levels_of_a_group_are_whole_steps_apart(regime: Regime) -> None:
    """So that 64 weights of 8 bits, which could all differ, are still known to be on a grid of 256 levels."""
    for name, weight in effective(regime.name).items():
        for group in groups_of(regime, weight)[:64]:
            levels = group.double().unique()
            if len(levels) < 3:
                continue
            # Weights in FP16 are off by a tenth of a step of 8 bits.
            assert distance_from_a_grid(levels, 2 ** widest(regime) - 1) < 0.2, name


@pytest.mark.parametrize("regime", cases([one for one in REGIMES if one.method in CODEBOOKS]))
def test_all_groups_take_their_levels_from_one_code(regime: Regime) -> None:
    levels = [groups / groups.abs().amax(1, keepdim=True) for groups in code_groups(regime)]
    assert len(torch.cat([level.flatten() for level in levels]).mul(1e4).round().unique()) <= 2**regime.bits


def code_groups(regime: Regime) -> list[torch.Tensor]:
    return [groups_of(regime, weight) for weight in effective(regime.name).values()]


@pytest.mark.parametrize("regime", cases(REGIMES))
def test_every_layer_is_quantized_and_close_to_what_it_was(regime: Regime) -> None:
    assert effective(regime.name).keys() == original().keys()
    for name, weight in effective(regime.name).items():
        assert not torch.equal(weight, original()[name]), name
    # Rounding errs by half a step at most, on a grid of 2**bits levels over the range of a normal variable; a code's
    # levels lie closer near zero, and far from it up to a quarter of a weight apart.
    spread = float(original()["model.layers.0.mlp.up_proj"].std())
    assert error(regime.name) < spread * (1 / 4 if regime.method in CODEBOOKS else 8 / 2**regime.bits)


@pytest.mark.parametrize("regime", cases([one for one in REGIMES if not one.simulated]))
def test_what_is_not_quantized_takes_16_bits(regime: Regime) -> None:
    """So that the artifact's size is the regime's, and not that of the dtype in which it was calibrated."""
    found = {}
    for path in (one for one in made(regime).rglob("*.safetensors") if one.parent.name != "dense"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_slice(name).get_dtype() for name in file.keys() if name in UNTOUCHED}  # noqa: SIM118
    assert found == dict.fromkeys(UNTOUCHED, "F16")


def families() -> dict[str, list[Regime]]:
    """Regimes of one method, one for each width, fewest bits first."""
    found: dict[str, dict[int, Regime]] = {}
    for regime in REGIMES:
        found.setdefault(regime.method, {}).setdefault(regime.bits, regime)
    return {name: [of[bits] for bits in sorted(of)] for name, of in found.items() if len(of) > 1}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(of, id=name.replace(" ", "-"), marks=[pytest.mark.real] if of[0].backend == "gptqmodel" else [])
        for name, of in families().items()
    ],
)
def test_the_error_falls_as_bits_grow(family: list[Regime]) -> None:
    errors = [error(regime.name) for regime in family]
    assert all(more < less for less, more in itertools.pairwise(errors)), errors


def grouped() -> list[Method]:
    """Methods that neither pad nor take a shorter last group, and so refuse a group size that does not divide."""
    return [one for one in METHODS if one.groups and not one.device and one.backend not in ("gptqmodel", "spqr")]


@pytest.mark.parametrize("method", grouped(), ids=lambda method: method.prefix)
def test_a_group_size_that_does_not_divide_is_refused(method: Method) -> None:
    regime = method.regime(4, group_size=64)
    with pytest.raises(QllmError) as refused:
        made(regime, hidden=96)
    fit = [size for size in method.groups if 96 % size == 0]
    said = str(refused.value)
    assert "groups of 64 do not divide the 96 inputs of model.layers.0.self_attn.q_proj" in said
    assert said.endswith(f": {', '.join(map(str, fit))}")


def keeping() -> list[object]:
    regimes = [
        method.regime(method.widths[-1], keep=(r"k_proj$", r"mlp\.up"))
        for method in METHODS
        if method.keeps and not method.device
    ]
    return cases([one for one in regimes if one.method != "SmoothQuant W8A8"])  # its columns are scaled, kept or not


@pytest.mark.parametrize("regime", keeping())
def test_modules_that_are_kept_stay_in_fp16(regime: Regime) -> None:
    artifact = made(regime)
    model = backend(regime).load(artifact, torch.float32, "cpu")
    for name, weight in original().items():
        layer = model.get_submodule(name)
        untouched = type(layer.weight) is torch.nn.Parameter if type(layer) is torch.nn.Linear else False
        kept = "k_proj" in name or "mlp.up" in name
        assert (untouched and torch.equal(layer.weight.detach().float(), weight)) == kept, name


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (("self_atn",), "keep 'self_atn' matches no linear layer; they are called as model.layers.0.self_attn.q_proj"),
        (("proj",), "keep matches every linear layer: nothing is left to quantize"),
    ],
)
def test_patterns_that_keep_nothing_or_all_are_refused(keep: tuple[str, ...], words: str) -> None:
    regime = replace(RegimeCatalog().get("torchao-4bit"), options={"group_size": 64, "symmetric": True, "keep": keep})
    with pytest.raises(QllmError, match=words):
        made(regime)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_codes_come_back(bits: int) -> None:
    codes = torch.randint(2**bits, (7, 13), generator=torch.Generator().manual_seed(bits))
    packed = pack(codes, bits)
    assert packed.shape == (7, -(-13 * bits // 8))
    assert torch.equal(unpack(packed, bits, 13), codes.to(torch.uint8))
