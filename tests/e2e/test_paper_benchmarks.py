"""The paper's benchmarks on real items, asked and scored as by lm-eval: the real default model, in float32."""

from __future__ import annotations

import os
import random

import pytest

torch = pytest.importorskip("torch")
lm_eval = pytest.importorskip("lm_eval")

import numpy as np  # noqa: E402
from paper_data import shared_data  # noqa: E402

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog  # noqa: E402
from pytest_qllm.benchmarks.bias import BIAS_METRICS  # noqa: E402
from pytest_qllm.benchmarks.corpus import corpus_metric  # noqa: E402
from pytest_qllm.benchmarks.data import DataSource  # noqa: E402
from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark  # noqa: E402
from pytest_qllm.engine.engine import Generated  # noqa: E402
from pytest_qllm.engine.torch_engine import TorchEngine  # noqa: E402
from pytest_qllm.models import loader, source  # noqa: E402
from pytest_qllm.options import cache_directory  # noqa: E402
from pytest_qllm.store import Store  # noqa: E402

pytestmark = pytest.mark.real
NATS = 1e-3
CHOSEN = {"mmlu": ("anatomy", 2), "ceval": ("law", 2), "snli": ("", 6), "bbq": ("", 4), "truthfulqa_mc1": ("", 2)}
CHOSEN["truthfulqa_mc2"] = ("", 2)
"""Subset, and how many items: few, for a second or two each."""


@pytest.fixture(scope="module")
def cache():
    return Store(cache_directory())


@pytest.fixture(scope="module")
def model_and_tokenizer(cache):
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    checkpoint = source.resolve(source.DEFAULT, cache)
    return loader.load_dense(checkpoint.path, torch.float32, "cpu"), loader.load_tokenizer(checkpoint.path)


def prepared(name, cache, subset="", **generation):
    """The benchmark, the task that both sides use, and its documents."""
    ours = LmEvalBenchmark(BenchmarkCatalog().get(name), DataSource(f"{shared_data()},auto", cache), seed=0)
    task = ours._task(subset)
    if generation:
        task.config.generation_kwargs.update(generation)
    return ours, task


def by_lm_eval(model_and_tokenizer, task, count):
    """Results and samples of lm-eval's own run of the task's first documents."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = model_and_tokenizer
    found = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
        tasks=[task],
        limit=count,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    (results,), (samples,) = found["results"].values(), found["samples"].values()
    return results, sorted(samples, key=lambda sample: sample["doc_id"])


@pytest.mark.parametrize("name", CHOSEN)
def test_choices_are_scored_as_lm_eval_does(name, cache, model_and_tokenizer):
    subset, count = CHOSEN[name]
    ours, task = prepared(name, cache, subset)
    results, samples = by_lm_eval(model_and_tokenizer, task, count)
    items = [ours._item(subset, sample["doc"]) for sample in samples]
    scores = ours.score(items, TorchEngine(*model_and_tokenizer, packed=True))
    for score, sample in zip(scores, samples, strict=True):
        assert score.loglikelihoods == pytest.approx([float(one[0][0]) for one in sample["resps"]], abs=NATS)
        assert score.metrics["acc"] == pytest.approx(sample["acc"], abs=1e-4)
    assert np.mean([score.metrics["acc"] for score in scores]) == pytest.approx(results["acc,none"], abs=1e-4)
    if name == "mmlu":
        assert items[0].requests[0][0].count("Answer:") == 6, "five shots and the question"
    if name == "bbq":
        for metric in BIAS_METRICS:
            parts = np.array([score.parts[metric] for score in scores])
            assert float(corpus_metric(metric)(parts)) == pytest.approx(results[f"{metric},none"])


@pytest.mark.parametrize("name", ["cnn_dailymail", "xsum", "gsm8k_zeroshot"])
def test_texts_are_generated_and_scored_as_lm_eval_does(name, cache, model_and_tokenizer):
    ours, task = prepared(name, cache, max_gen_toks=12)
    results, samples = by_lm_eval(model_and_tokenizer, task, 1)
    items = [ours._item("", sample["doc"]) for sample in samples]
    scores = ours.score(items, TorchEngine(*model_and_tokenizer, packed=True))
    assert [score.answer for score in scores] == [sample["resps"][0][0] for sample in samples]
    for metric in scores[0].metrics:
        mean = float(np.mean([score.metrics[metric] for score in scores]))
        assert mean == pytest.approx(results[metric if "," in metric else f"{metric},none"])


def test_articles_of_wikitext_are_scored_as_lm_eval_does(cache, model_and_tokenizer):
    ours, task = prepared("wikitext2", cache)
    shortest = min(task.eval_docs, key=lambda document: len(document["page"]))
    at = list(task.eval_docs).index(shortest)
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = model_and_tokenizer
    item = ours._item("", shortest)
    (request,) = (task.construct_requests(shortest, "", metadata=(task.config.task, at, 1)),)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).loglikelihood_rolling([request])
    (score,) = ours.score([item], TorchEngine(model, tokenizer, packed=True))
    assert score.loglikelihoods[0] == pytest.approx(theirs[0], rel=1e-5)


class Says:
    """An engine whose every answer is this text."""

    def __init__(self, text):
        self.text = text

    def generations(self, requests):
        return [Generated(self.text, 1, False) for _ in requests]


def test_instructions_are_checked_as_lm_eval_does(cache):
    """IFEval's checkers on answers of our own making."""
    pytest.importorskip("langdetect")
    ours, task = prepared("ifeval", cache)
    documents = [document for document in task.eval_docs if "punctuation:no_comma" in document["instruction_id_list"]]
    assert len(task.eval_docs) == 541
    item = ours._item("", documents[0])

    plain = ours._item("", next(one for one in documents if one["instruction_id_list"] == ["punctuation:no_comma"]))
    kept, broken = ("No comma is in here.", "Yes, there is.")
    for text, followed in ((kept, 1.0), (broken, 0.0)):
        (score,) = ours.score([plain], Says(text))
        assert score.metrics["prompt_level_strict_acc"] == followed
        assert score.metrics["prompt_level_loose_acc"] == followed
    assert item.generation(0).limit == 1280


def test_every_instruction_of_ifeval_can_be_checked_and_gives_the_same_twice(cache):
    """Its checkers draw from the global random state, which lm-eval leaves to chance."""
    pytest.importorskip("langdetect")
    ours, task = prepared("ifeval", cache)
    items = [ours._item("", document) for document in task.eval_docs]
    text = "Ein kurzer Text. My answer is yes.\n\n* a point\n\nP.S. <<title>> It ends here."
    found = []
    for seed in (1, 2):
        random.seed(seed)
        found.append(ours.score(items, Says(text)))
        assert random.random() == random.Random(seed).random(), "and leaves it as it was"
    assert found[0] == found[1]
    assert len({name for item in items for name in item.document["instruction_id_list"]}) == 25
