"""--qllm-trust-remote-code: a model whose architecture transformers does not know, with code of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.compute import choose
from pytest_qllm.efficiency import memory
from pytest_qllm.efficiency.costs import Shape
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import BASELINE

CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({ran!r}).write_text("")


class OddConfig(LlamaConfig):
    model_type = "odd"


class OddForCausalLM(LlamaForCausalLM):
    config_class = OddConfig


class OddTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    """What a run in this process makes known to transformers is forgotten with the test."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

    yield
    for known in (CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, TOKENIZER_MAPPING):
        known._extra_content.clear()


@pytest.fixture
def odd(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model as an architecture of its own; it leaves a file ``ran`` where its code is run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(suite.path / "modules"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(suite.path / "modules"))
    model = suite.own_model()
    (model / "modeling_odd.py").write_text(CODE.format(ran=str(suite.path / "ran")))
    _change(model / "config.json", model_type="odd", architectures=["OddForCausalLM"], auto_map=_map("odd"))
    suite.gates("lambada")
    return model


def _map(name: str) -> dict[str, str]:
    return {
        "AutoConfig": f"modeling_{name}.OddConfig",
        "AutoModelForCausalLM": f"modeling_{name}.OddForCausalLM",
    }


def _change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_it_is_skipped_with_what_to_do_and_its_code_is_not_run(suite: Suite, odd: Path) -> None:
    result = suite.run("-rs")
    assert result.parseoutcomes() == {"skipped": 3}
    result.stdout.fnmatch_lines([f"*{odd.name} needs code of its own*--qllm-trust-remote-code=fp16*"])
    suite.run(trust_remote_code="bnb-int8")
    assert not (suite.path / "ran").exists()


def test_named_it_is_gated_like_any_model(suite: Suite, odd: Path, tiny_model: Path) -> None:
    suite.run(model=tiny_model)
    known = suite.verdicts
    suite.run(trust_remote_code="fp16").assert_outcomes(passed=2, failed=1)
    assert (suite.path / "ran").exists()
    for place, verdict in suite.verdicts.items():
        figures = ("verdict", "baseline", "candidate", "effect", "n")
        assert [verdict[name] for name in figures] == [known[place][name] for name in figures]


def test_its_code_is_part_of_what_was_measured(suite: Suite, odd: Path) -> None:
    suite.run(regimes="bnb-int8", trust_remote_code="fp16")
    suite.scored.clear()
    suite.run(regimes="bnb-int8", trust_remote_code="fp16")
    assert suite.scored == []
    with (odd / "modeling_odd.py").open("a") as file:
        file.write("\n# another release\n")
    suite.run(regimes="bnb-int8", trust_remote_code="fp16")
    assert suite.scored


def test_its_tokenizer_may_be_its_own(suite: Suite, odd: Path) -> None:
    _change(
        odd / "tokenizer_config.json",
        tokenizer_class="OddTokenizer",
        auto_map={"AutoTokenizer": [None, "modeling_odd.OddTokenizer"]},
    )
    suite.run(trust_remote_code="fp16").assert_outcomes(passed=2, failed=1)


def test_a_process_of_its_own_runs_it_too(suite: Suite, odd: Path) -> None:
    """That in which the peak of memory is measured."""
    found = memory.measure(RegimeCatalog().get(BASELINE), odd, odd, choose("float32", "cpu", 1, 0), Shape(16, 8), 1)
    assert found > 0
    assert (suite.path / "ran").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('no such kernel')", "cannot be used (RuntimeError: no such kernel)"),
        ("import a_module_that_nobody_has", "a_module_that_nobody_has"),
        ("", "cannot be used (AttributeError"),
    ],
)
def test_code_that_does_not_run_is_one_line(suite: Suite, odd: Path, code: str, says: str) -> None:
    (odd / "modeling_odd.py").write_text(code)
    assert_refused(suite.run(trust_remote_code="fp16"), f"the code of {odd}", says)


def test_code_without_a_language_model_is_one_line(suite: Suite, odd: Path) -> None:
    _change(odd / "config.json", auto_map={"AutoConfig": "modeling_odd.OddConfig"})
    assert_refused(suite.run(trust_remote_code="fp16"), "has no AutoModelForCausalLM; it has AutoConfig")
