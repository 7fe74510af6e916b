"""Scores are lm-eval's scores: on the real default model, in float32, against lm-eval's own `hf` model."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
lm_eval = pytest.importorskip("lm_eval")

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog  # noqa: E402
from pytest_qllm.benchmarks.data import DataSource  # noqa: E402
from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark  # noqa: E402
from pytest_qllm.engine.torch_engine import TorchEngine  # noqa: E402
from pytest_qllm.models import loader, source  # noqa: E402
from pytest_qllm.options import cache_directory  # noqa: E402
from pytest_qllm.store import Store  # noqa: E402

pytestmark = pytest.mark.real
ITEMS = 100


@pytest.fixture(scope="module")
def cache():
    return Store(cache_directory())


@pytest.fixture(scope="module")
def model_and_tokenizer(cache):
    # Two workers with two threads each on two cores spend their time waiting for each other.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
    checkpoint = source.resolve(source.DEFAULT, cache)
    return loader.load_dense(checkpoint.path, torch.float32, "cpu"), loader.load_tokenizer(checkpoint.path)


@pytest.mark.parametrize("name", ["arc_easy", "hellaswag", "lambada"])
def test_scores_are_those_of_lm_eval(name, cache, model_and_tokenizer):
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = model_and_tokenizer
    ours = LmEvalBenchmark(BenchmarkCatalog().get(name), DataSource("auto", cache), seed=0)
    task = ours._task("")
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16),
        tasks=[task],
        limit=ITEMS,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    (samples,) = theirs["samples"].values()
    samples = sorted(samples, key=lambda sample: sample["doc_id"])
    items = [ours._item("", sample["doc"]) for sample in samples]

    for packed in (True, False):
        engine = TorchEngine(model, tokenizer, packed=packed)
        scores = ours.score(items if packed else items[:20], engine)
        for score, sample in zip(scores, samples, strict=False):
            expected = [float(response[0][0]) for response in sample["resps"]]
            assert score.loglikelihoods == pytest.approx(expected, abs=1e-3)
            for metric in set(score.metrics) & {"acc", "acc_norm"}:
                assert score.metrics[metric] == sample[metric]
        if packed:
            assert len(scores) == ITEMS
            (results,) = theirs["results"].values()
            for metric in set(scores[0].metrics):
                mean = sum(score.metrics[metric] for score in scores) / ITEMS
                assert mean == pytest.approx(results[f"{metric},none"])
