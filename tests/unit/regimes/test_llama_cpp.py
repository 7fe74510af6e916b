"""Quantizing by llama.cpp: the weights lie on their type's grid, and the error falls as bits grow."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'pytest-qllm[llama]'")

import gguf
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.backends import backend, dense_backend, engine_backend
from pytest_qllm.regimes.backends.llama_cpp import REGIMES, build, describe_gguf, size
from pytest_qllm.regimes.gguf_convert import convert

BY_NAME = {regime.name: regime for regime in REGIMES}
LAYER = "blk.0.ffn_up.weight"

# The weights of a block of the type, and the levels that its codes, its scale and its zero point allow.
LEVELS = {"q4_0": (32, 16), "q4_1": (32, 16), "q5_0": (32, 32), "q5_1": (32, 32), "q8_0": (32, 256), "iq4_nl": (32, 16)}
LEVELS |= {"q2_k": (16, 4), "q4_k_s": (32, 16), "q6_k": (16, 64)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A llama whose matrices have rows of 256 weights, so that every type has room for its block."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=264,
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    directory = tmp_path_factory.mktemp("llama")
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float16).save_pretrained(directory)
    symbols = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({symbol: at for at, symbol in enumerate(symbols)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def made(checkpoint, tmp_path_factory):
    """The artifact of each regime, by name."""
    found = {}

    def make(name):
        if name not in found:
            found[name] = tmp_path_factory.mktemp(name)
            build(BY_NAME[f"gguf-{name}"], checkpoint, [], 0, found[name])
        return found[name]

    return make


@pytest.fixture(scope="module")
def weights(checkpoint, tmp_path_factory):
    """A layer's weights by the file, or as they were."""
    source = tmp_path_factory.mktemp("source") / "source.gguf"
    convert(checkpoint, source)

    def read(artifact=None):
        file = artifact / "model.gguf" if artifact else source
        (tensor,) = (one for one in gguf.GGUFReader(file).tensors if one.name == LAYER)
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)

    return read


@pytest.mark.parametrize("name", LEVELS)
def test_a_group_has_no_more_levels_than_its_bits_allow(made, weights, name):
    group, most = LEVELS[name]
    levels = [len(set(one)) for one in weights(made(name)).reshape(-1, group).tolist()]
    assert max(levels) <= most
    assert max(levels) > most / 2 or most > group, "else the test could not tell a coarser grid"


def test_the_error_falls_as_bits_grow(made, weights):
    true = weights()
    names = ["q2_k", "q3_k_s", "q4_0", "q5_0", "q6_k", "q8_0"]
    errors = [float(np.sqrt(((weights(made(name)) - true) ** 2).mean() / (true**2).mean())) for name in names]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.5
    assert errors[-1] < 0.01


@pytest.mark.parametrize("regime", REGIMES, ids=[regime.name for regime in REGIMES])
def test_every_regime_is_made_and_recognized_as_what_it_is(made, regime):
    artifact = made(regime.name.removeprefix("gguf-"))
    assert [file.name for file in artifact.iterdir()] == ["model.gguf"]
    found = describe_gguf(artifact)
    assert (found.method, found.bits) == (regime.method, regime.bits)
    assert regime.bits < found.bits_per_weight < regime.bits + 2
    weighed = size(artifact)
    assert weighed.bits_per_weight == found.bits_per_weight
    assert weighed.bytes < (artifact / "model.gguf").stat().st_size


def test_making_is_deterministic(checkpoint, made, tmp_path):
    build(BY_NAME["gguf-q4_k_m"], checkpoint, [], 1, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == (made("q4_k_m") / "model.gguf").read_bytes()


def test_scores_of_8_bits_are_close_to_the_model_s(checkpoint, made):
    from pytest_qllm.engine.engine import Continuation
    from pytest_qllm.engine.torch_engine import TorchEngine

    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    reference = TorchEngine(model, transformers.AutoTokenizer.from_pretrained(checkpoint), packed=True)
    items = [[Continuation("what is this", answer) for answer in (" a dog", " a cat", " nothing")]]
    expected = [one.loglikelihood for one in reference.continuations(items)[0]]

    def off(name):
        engine = engine_backend(BY_NAME[f"gguf-{name}"]).engine(made(name), checkpoint, 1)
        found = [one.loglikelihood for one in engine.continuations(items)[0]]
        return max(abs(one - other) for one, other in zip(found, expected, strict=True))

    assert off("q8_0") < 0.05
    assert off("q8_0") < off("q2_k")


def test_the_engine_takes_a_file_as_well(checkpoint, made):
    regime = BY_NAME["gguf-q8_0"]
    engine = engine_backend(regime).engine(made("q8_0") / "model.gguf", checkpoint, 1)
    assert engine.runner.file == made("q8_0") / "model.gguf"
    assert dense_backend(regime) is None


def test_a_library_s_refusal_is_told(checkpoint, tmp_path, monkeypatch):
    import llama_cpp

    monkeypatch.setattr(llama_cpp, "llama_model_quantize", lambda *_: 1)
    with pytest.raises(RuntimeError, match="llama_model_quantize returned 1"):
        build(BY_NAME["gguf-q4_0"], checkpoint, [], 0, tmp_path)


def test_the_recipe_has_the_library_s_version():
    import llama_cpp

    assert BY_NAME["gguf-q4_0"].recipe()["version"] == llama_cpp.__version__
    assert backend(BY_NAME["gguf-q4_0"]).build is build


def test_an_unknown_architecture_is_one_line(tmp_path):
    config = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "into").mkdir()
    with pytest.raises(QllmError, match=r"is a GPT2LMHeadModel; the conversion to GGUF knows"):
        build(BY_NAME["gguf-q4_0"], tmp_path, [], 0, tmp_path / "into")
