"""Run the kernel probe: the library's kernels and the dense shadow on the same texts, one model in memory at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pad_sequence

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.kernel import LAYER_LIMIT, Difference, Figures

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEXTS = (
    "The committee met on Tuesday to decide whether the old bridge over the river should be repaired or replaced.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "Yes.",
    "Question: Which of these is a mammal?\nA. trout\nB. whale\nC. lizard\nD. eagle\nAnswer: B",
)
"""Prose, code and a question, of several lengths. Few: a half-precision kernel may run on a CPU that emulates it."""

MAX_TOKENS = 128
"""Longest row; a tokenizer of bytes makes four tokens of a word."""

POSITIONS = 8
"""Where the layers are compared, spread over all rows; their inputs wait in memory for the second model."""

UNIT = 2.0**-8
"""Largest relative error of one rounding to bfloat16."""


@dataclass(frozen=True)
class _Layer:
    """What the shadow has at one layer: its input and exact output at the positions, and the unit of the difference.

    Shapes (positions, in features), and twice (positions, out features); float32 on the CPU.
    """

    input: torch.Tensor
    output: torch.Tensor
    unit: torch.Tensor


@torch.no_grad()
def probe(
    load_dense: Callable[[], PreTrainedModel],
    load_exact: Callable[[], PreTrainedModel],
    tokenizer: PreTrainedTokenizerBase,
) -> Figures:
    """Compare the logits, and the quantized layers that have the same name in both models.

    Raises:
        QllmError: if there is nothing to compare, or the shadow itself gives NaN or infinity.
    """
    rows = [tokenizer.encode(text)[:MAX_TOKENS] for text in TEXTS]
    if not all(rows):
        raise QllmError("the tokenizer makes no token of a text: the kernel probe has nothing to compare")
    shadow = load_dense()
    dtype = _dtype(shadow)
    with _capture(shadow, _positions(rows)) as layers:
        reference = _logits(shadow, rows)
    alone = torch.cat([_logits(shadow, [row]) for row in rows])
    with _rounded(shadow):
        rounded = _logits(shadow, rows)
    if not all(torch.isfinite(logits).all() for logits in (reference, alone, rounded)):
        raise QllmError("the dense weights themselves give NaN or infinity: the kernel cannot be compared with them")
    noise, rounding = _difference(alone, reference), _difference(rounded, reference)
    if not rounding.mean > 0:
        raise QllmError("a rounding in every layer changes no logit: the kernel probe cannot see this model's layers")
    del shadow
    gc.collect()

    with torch.compiler.set_stance("force_eager"):  # compiling GPTQModel's unpacking of 2 bits takes minutes on a CPU
        return _compare(load_exact(), rows, layers, reference, dtype, noise, rounding)


def _compare(
    exact: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    layers: Mapping[str, _Layer],
    reference: torch.Tensor,
    dtype: str,
    noise: Difference,
    rounding: Difference,
) -> Figures:
    """The figures of the model with the real kernels against what the shadow left."""
    modules = dict(exact.named_modules())
    quantized = [name for name in layers if name in modules and not _is_plain(modules[name])]
    if not quantized and layers.keys() <= modules.keys():
        raise QllmError("no layer of the model with the real kernels is quantized: there is no kernel to compare")
    logits = _logits(exact, rows)
    found = {name: _units(exact, name, layers[name]) for name in quantized}
    broken = [name for name, units in found.items() if units is None]
    worst = broken[0] if broken else max(found, key=lambda name: found[name] or 0.0, default="")
    return Figures(
        tokens=len(reference),
        texts=len(rows),
        dtype=dtype,
        kernel_dtype=_dtype(exact),
        logits=_difference(logits, reference) if torch.isfinite(logits).all() else None,
        noise=noise,
        rounding=rounding,
        layers=len(quantized),
        faulty=sum(units is None or units > LAYER_LIMIT for units in found.values()),
        worst_layer=worst,
        worst=found.get(worst),
    )


def _logits(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Of every token, shape (tokens, vocabulary), float32 on the CPU; the rows are padded on the right."""
    device = next(model.parameters()).device
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    logits = model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    return torch.cat([logits[at, : len(row)] for at, row in enumerate(rows)]).float().cpu()


def _difference(found: torch.Tensor, reference: torch.Tensor) -> Difference:
    apart = (found - reference).abs()
    theirs, ours = found.double().log_softmax(-1), reference.double().log_softmax(-1)
    kl = (ours.exp() * (ours - theirs)).sum(-1).mean()
    agreement = (found.argmax(-1) == reference.argmax(-1)).double().mean()
    # A divergence is not negative; the sum of its terms may be, by a rounding.
    return Difference(float(apart.max()), float(apart.mean()), max(0.0, float(kl)), float(agreement))


def _positions(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of the positions at which layers are compared."""
    places = [(at, column) for at, row in enumerate(rows) for column in range(len(row))]
    count = min(POSITIONS, len(places))
    chosen = torch.tensor([places[at * len(places) // count] for at in range(count)])
    return chosen[:, 0], chosen[:, 1]


@contextmanager
def _capture(model: nn.Module, positions: tuple[torch.Tensor, torch.Tensor]) -> Iterator[dict[str, _Layer]]:
    """Fill the dictionary with what the next forward pass brings to each linear layer."""
    layers: dict[str, _Layer] = {}
    rows, columns = positions

    def note(name: str, layer: nn.Linear, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        if inputs[0].ndim != 3 or name in layers:
            return  # an expert's tokens, say: no batch in which to find the positions
        at = inputs[0][rows.to(inputs[0].device), columns.to(inputs[0].device)].float()
        weight, bias = layer.weight.float(), None if layer.bias is None else layer.bias.float()
        exact = linear(at, weight, bias)
        unit = UNIT * (linear(at**2, weight**2).sqrt() + exact.abs())
        layers[name] = _Layer(at.cpu(), exact.cpu(), unit.cpu())

    hooks = [
        module.register_forward_hook(partial(note, name))
        for name, module in model.named_modules()
        if type(module) is nn.Linear
    ]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _rounded(model: nn.Module) -> Iterator[None]:
    """Move each linear layer's input and output by random relative errors as large as a rounding to bfloat16 makes.

    Random ones, so that they tell something in every compute dtype: rounding bfloat16 to bfloat16 does nothing.
    """
    generator = torch.Generator().manual_seed(0)

    def noisy(values: torch.Tensor) -> torch.Tensor:
        error = 1 + UNIT * (2 * torch.rand(values.shape, generator=generator) - 1)
        return (values.float() * error.to(values.device)).to(values.dtype)

    hooks = []
    for module in model.modules():
        if type(module) is nn.Linear:
            hooks.append(module.register_forward_pre_hook(lambda _, inputs: (noisy(inputs[0]), *inputs[1:])))
            hooks.append(module.register_forward_hook(lambda _, __, output: noisy(output)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_plain(module: nn.Module) -> bool:
    """torchao's layers are plain ones, too, with weights of a kind of their own."""
    return type(module) is nn.Linear and type(module.weight) is nn.Parameter


def _units(model: PreTrainedModel, name: str, layer: _Layer) -> float | None:
    """How far the kernel of one layer is off, in rounding units; None if its output has NaN or infinity.

    All positions go through together, as in a batch, and the last one alone, as in decoding: libraries have a kernel
    for each.
    """
    module = model.get_submodule(name)
    device = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), model.device)
    inputs = layer.input.to(device, model.dtype)
    together, single = module(inputs[None])[0], module(inputs[None, -1:])[0]
    found = torch.cat([together, single]).float().cpu()
    if not torch.isfinite(found).all():
        return None
    expected, unit = (torch.cat([one, one[-1:]]) for one in (layer.output, layer.unit))
    units = (found - expected).abs() / unit.clamp_min(torch.finfo(torch.float32).tiny)
    return float(max(units.median(0).values.max(), units.median(1).values.max()))


def _dtype(model: PreTrainedModel) -> str:
    return str(model.dtype).removeprefix("torch.")
