"""What --qllm-regimes takes besides names: checkpoints, adapters, small caches, tables and other packages' classes."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from conftest import Suite, assert_refused


def _needs(library: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"{library} is not installed")


@pytest.fixture
def adapter(suite: Suite, tmp_path: Path) -> Path:
    """A LoRA adapter of the tiny model that changes every answer."""
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(suite.options["model"], dtype=torch.float32)
    config = peft.LoraConfig(r=4, target_modules=["up_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data *= 8
    adapted.save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


@_needs("bitsandbytes")
def test_a_checkpoint_of_bitsandbytes_own_is_recognized(suite: Suite, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    given = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    AutoModelForCausalLM.from_pretrained(
        suite.options["model"], dtype=torch.float16, quantization_config=given
    ).save_pretrained(tmp_path / "theirs")
    suite.gates("story_perplexity")
    suite.run(regimes=f"theirs={tmp_path / 'theirs'},bnb-nf4")
    theirs, ours = (suite.verdicts[name, "story_perplexity"] for name in ("theirs", "bnb-nf4"))
    assert (theirs["method"], theirs["bits"]) == ("NF4", 4)
    assert theirs["tolerance"] == ours["tolerance"]
    assert theirs["candidate"] == ours["candidate"]
    assert theirs["size"]["bits_per_weight"] == ours["size"]["bits_per_weight"]


@_needs("torchao")
@pytest.mark.parametrize(("kind", "bits"), [("Int8WeightOnlyConfig", 8), ("IntxWeightOnlyConfig", 4)])
def test_a_checkpoint_of_torchao_s_own_is_recognized(suite: Suite, tmp_path: Path, kind: str, bits: int) -> None:
    import torch
    from torchao import quantization
    from torchao.quantization.granularity import PerGroup
    from transformers import AutoModelForCausalLM, TorchAoConfig

    options = {} if bits == 8 else {"weight_dtype": torch.int4, "granularity": PerGroup(32)}
    config = TorchAoConfig(getattr(quantization, kind)(**options))
    AutoModelForCausalLM.from_pretrained(
        suite.options["model"], dtype=torch.float32, quantization_config=config
    ).save_pretrained(tmp_path / "theirs")
    suite.gates("story_perplexity")
    suite.run(regimes=f"theirs={tmp_path / 'theirs'}")
    verdict = suite.verdicts["theirs", "story_perplexity"]
    assert (verdict["method"], verdict["bits"]) == (f"INT{bits} (torchao)", bits)
    assert verdict["tolerance"] == {8: 1.03, 4: 1.08}[bits]
    assert verdict["candidate"] != verdict["baseline"]


def test_the_fp16_model_itself_is_no_quantized_checkpoint(suite: Suite) -> None:
    suite.gates("story_perplexity")
    assert_refused(suite.run(regimes=f"mine={suite.options['model']}"), "is not quantized")


def test_an_adapter_changes_the_scores_and_not_the_artifact(suite: Suite, adapter: Path) -> None:
    suite.more_regimes()
    suite.gates("story_perplexity")
    suite.run(regimes=f"same,same+lora={adapter}")
    plain = suite.verdicts["same", "story_perplexity"]
    adapted = suite.verdicts["same+lora=mine", "story_perplexity"]
    assert plain["candidate"] == plain["baseline"]
    assert adapted["candidate"] > 1.01 * plain["candidate"]


def test_an_adapter_for_another_base_is_a_failure_in_a_line(suite: Suite, adapter: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_A" in name)
    weights[name] = torch.zeros(4, 48)
    save_file(weights, adapter / "adapter_model.safetensors")
    suite.more_regimes()
    suite.gates("story_perplexity")
    result = suite.run(regimes=f"same+lora={adapter}")
    result.stdout.fnmatch_lines(["*is for another base*48 wide*"])
    assert result.parseoutcomes()["failed"] == 1


def test_an_adapter_without_matrices_is_refused(suite: Suite, adapter: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"base_model.model.other": torch.zeros(4)}, adapter / "adapter_model.safetensors")
    suite.more_regimes()
    suite.gates("story_perplexity")
    result = suite.run(regimes=f"same+lora={adapter}")
    result.stdout.fnmatch_lines(["*changes nothing: its weights have no LoRA matrices*"])
    assert result.parseoutcomes()["failed"] == 1


def test_a_pickled_adapter_is_never_read(suite: Suite, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    suite.more_regimes()
    suite.gates("story_perplexity")
    result = suite.run(regimes=f"same+lora={adapter}")
    result.stdout.fnmatch_lines(["*only pickled weights (adapter_model.bin)*"])


@_needs("optimum.quanto")
def test_a_small_cache_costs_more_the_smaller_it_is(suite: Suite) -> None:
    suite.gates("story_perplexity")
    suite.run(regimes="fp16+kv=int4,fp16+kv=int2")
    four, two = (suite.verdicts[f"fp16+kv=int{bits}", "story_perplexity"] for bits in (4, 2))
    assert four["baseline"] < four["candidate"] < two["candidate"]
    assert (four["bits"], two["bits"]) == (4, 2)


def test_a_table_of_the_user_s(suite: Suite) -> None:
    suite.more_regimes()
    suite.pytester.makepyprojecttoml(
        """
        [tool.qllm.regimes.mine]
        method = "noisy"
        bits = 8
        options = {noise = 0.0}
        """
    )
    suite.pytester.makeconftest(
        """
        from pytest_qllm.regimes.method import Method

        def pytest_qllm_regimes():
            return [Method("noisy", "noise", "mine.noise", (8, 2), options={"noise": 3.0})]
        """
    )
    suite.gates("story_perplexity")
    suite.run(regimes="mine,noisy-2bit")
    assert suite.outcomes["mine", "story_perplexity"] == "PASS"
    assert suite.outcomes["noisy-2bit", "story_perplexity"] == "FAIL"


def test_a_class_in_another_package_s_entry_point(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The complete regime of docs/how-to/own-regime.md, from outside the package."""
    page = (Path(__file__).parents[2] / "docs/how-to/own-regime.md").read_text()
    code = page.split("<!-- their_package.py -->\n```python\n", 1)[1].split("```", 1)[0]
    assert len(code.splitlines()) < 40
    site = suite.pytester.mkdir("site")
    (site / "their_package.py").write_text(code)
    (site / "their_package-1.0.dist-info").mkdir()
    (site / "their_package-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n"
    )
    (site / "their_package-1.0.dist-info/entry_points.txt").write_text(
        "[pytest_qllm.regimes]\nthirds = their_package:Thirds\n"
    )
    monkeypatch.syspath_prepend(site)
    suite.gates("story_perplexity")
    suite.run(regimes="thirds")
    verdict = suite.verdicts["thirds", "story_perplexity"]
    assert verdict["method"] == "ternary"
    assert verdict["candidate"] > verdict["baseline"]


def test_an_entry_point_that_cannot_be_imported_is_named(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its regimes are asked for: another package's fault is none of a session without them."""
    site = suite.pytester.mkdir("site")
    (site / "broken-1.0.dist-info").mkdir()
    (site / "broken-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (site / "broken-1.0.dist-info/entry_points.txt").write_text("[pytest_qllm.regimes]\nx = no_such_module:X\n")
    monkeypatch.syspath_prepend(site)
    suite.gates("story_perplexity")
    assert_refused(suite.run(regimes="theirs"), "the regimes of no_such_module:X cannot be imported")
    suite.run(regimes="bnb-int8").assert_outcomes(passed=2)


def test_a_checkpoint_that_needs_its_own_code_is_skipped(suite: Suite, tmp_path: Path) -> None:
    shutil.copytree(str(suite.options["model"]), tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs/config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    (tmp_path / "theirs/config.json").write_text(json.dumps(config))
    suite.gates("story_perplexity")
    result = suite.run("-rs", regimes=f"theirs={tmp_path / 'theirs'}")
    result.stdout.fnmatch_lines(["*--qllm-trust-remote-code=theirs*"])
    assert result.parseoutcomes()["skipped"] == 1
