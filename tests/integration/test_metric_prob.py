"""metric="prob": the probability of the right choice, with a tolerance of its own and the accuracy beside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import write_documents
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from conftest import Suite, assert_refused
from pytest_qllm.verdict.tolerance import DEFAULTS

GATE = "def test_arc_easy(gate):\n    gate('arc_easy', metric='prob'{more})\n"


@pytest.fixture
def known(suite: Suite) -> Suite:
    """ARC-Easy with answers that the tiny model gives: the right one is the choice that it finds likeliest."""
    suite.more_regimes()
    data = suite.own_data()
    file = data / "arc_easy/validation.jsonl"
    documents = [json.loads(line) for line in file.read_text().splitlines()]
    write_documents(file, _answered(documents, Path(str(suite.options["model"]))))
    return suite


@torch.inference_mode()
def _answered(documents: list[dict], model: Path) -> list[dict]:
    network = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    for document in documents:
        logits = network(torch.tensor([tokenizer.encode(f"Question: {document['question']}\nAnswer:")])).logits[0, -1]
        words = tokenizer.convert_tokens_to_ids([f"Ġ{word}" for word in document["choices"]["text"]])
        document["answerKey"] = "ABCD"[int(logits[words].argmax())]
    return documents


def gates(suite: Suite, more: str = "") -> None:
    suite.pytester.makepyfile(test_arc_easy=GATE.format(more=more))


def test_the_same_model_passes_with_the_accuracy_beside_it(known: Suite) -> None:
    gates(known, ", tolerance=0.1")
    result = known.run(regimes="same")
    result.assert_outcomes(passed=2)
    verdict = known.verdicts["same", "arc_easy"]
    assert (verdict["metric"], verdict["scale"], verdict["tolerance"]) == ("prob", "difference", 0.1)
    assert verdict["effect"] == 0.0
    assert 0.25 < verdict["baseline"] == verdict["candidate"] < 1
    assert "Gaffke" in verdict["interval"]
    assert verdict["flips"] == {"broken": None, "mended": None}
    assert verdict["beside"] == {
        "metric": "acc",
        "baseline": 1.0,
        "candidate": 1.0,
        "effect": 0.0,
        "broken": 0,
        "mended": 0,
    }
    result.stdout.fnmatch_lines(["beside prob of same on arc_easy: acc 100.0 % -> 100.0 %, 0 broken, 0 mended"])


def test_a_loss_fails_and_shows_both(known: Suite) -> None:
    gates(known)
    result = known.run(regimes="destroyed")
    result.assert_outcomes(passed=1, failed=1)
    verdict = known.verdicts["destroyed", "arc_easy"]
    assert verdict["verdict"] == "FAIL"
    assert verdict["beside"]["broken"] > 0
    result.stdout.fnmatch_lines(
        [
            "FAIL: arc_easy on destroyed *",
            "  baseline    prob * %",
            "  tolerance   -7.0 points: the loss is proven larger",
            "  beside      acc 100.0 % -> * %, * broken, 0 mended",
        ]
    )


def test_it_moves_where_no_answer_does(known: Suite) -> None:
    """A little noise flips few answers or none; every probability has changed."""
    gates(known)
    known.run(regimes="slight")
    verdict = known.verdicts["slight", "arc_easy"]
    assert verdict["beside"]["broken"] <= 1
    assert verdict["effect"] != 0.0
    low, high = verdict["ci"]
    assert low < verdict["effect"] < high


def test_an_accuracy_has_nothing_beside_it(known: Suite) -> None:
    known.gates("arc_easy")
    known.run(regimes="same")
    verdict = known.verdicts["same", "arc_easy"]
    assert (verdict["metric"], verdict["beside"]) == ("acc", None)
    assert verdict["tolerance"] == DEFAULTS["accuracy"][8]


def test_its_noise_is_a_probability_s(known: Suite) -> None:
    gates(known)
    known.run(regimes="same")
    noise = known.verdicts["same", "arc_easy"]["noise"]
    assert 0 <= noise["floor"] < 1e-4
    assert noise["flips"] == 0


def test_its_own_table_and_no_benchmark_s(known: Suite) -> None:
    gates(known)
    known.pytester.makepyprojecttoml("[tool.qllm.tolerances]\nprob = {8 = 0.012}\narc_easy = {8 = 0.5}")
    known.run(regimes="same")
    assert known.verdicts["same", "arc_easy"]["tolerance"] == 0.012


def test_the_call_s_own_tolerance(known: Suite) -> None:
    gates(known, ", tolerance=0.033")
    known.run(regimes="same")
    assert known.verdicts["same", "arc_easy"]["tolerance"] == 0.033


def test_a_benchmark_without_choices_has_none(suite: Suite) -> None:
    suite.pytester.makepyfile(test_lambada="def test_lambada(gate):\n    gate('lambada', metric='prob')\n")
    assert_refused(suite.run(max_items=40), "lambada has no metric 'prob'; measured: acc")


def test_a_previous_release_is_compared_by_it(known: Suite) -> None:
    gates(known, ", tolerance=0.1")
    known.run(regimes="same", report="old")
    known.run(regimes="same", against="old/qllm.json")
    since = known.verdicts["same", "arc_easy"]["against"]
    assert (since["verdict"], since["regime"]["effect"]) == ("PASS", 0.0)
    known.gates("arc_easy")
    known.run(regimes="same", against="old/qllm.json")
    assert known.verdicts["same", "arc_easy"]["against"]["reason"] == "it has prob of arc_easy, not acc"
