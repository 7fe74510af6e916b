"""Answers are lm-eval's answers: on the real default model, in float32, against lm-eval's own `hf` model."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

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
ITEMS = 40
NATS = 1e-3


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
            assert score.loglikelihoods == pytest.approx(expected, abs=NATS)
            for metric in set(score.metrics) & {"acc", "acc_norm"}:
                assert score.metrics[metric] == sample[metric]
        if packed:
            assert len(scores) == ITEMS
            (results,) = theirs["results"].values()
            for metric in set(scores[0].metrics) - {"prob"}:  # ours, which lm-eval has not
                mean = sum(score.metrics[metric] for score in scores) / ITEMS
                assert mean == pytest.approx(results[f"{metric},none"])


def test_few_shot_scores_are_those_of_lm_eval(tmp_path, cache, model_and_tokenizer):
    """MMLU with five shots, which are the same for every item of a subject: they are computed once."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, tokenizer = model_and_tokenizer
    lm_eval_tasks = Path(find_spec("lm_eval").origin).parent / "tasks"
    content = {"include": str(lm_eval_tasks / "mmlu/default/mmlu_anatomy.yaml"), "num_fewshot": 5}
    (tmp_path / "anatomy.yaml").write_text(yaml.safe_dump(content))
    mmlu = replace(BenchmarkCatalog().get("mmlu"), task=f"{tmp_path}/{{subset}}.yaml", subsets=("anatomy",))
    ours = LmEvalBenchmark(mmlu, DataSource("auto", cache), seed=0)
    items = ours.items(12, Store(tmp_path / "store"))
    (shared,) = {item.shared for item in items}
    assert items[0].requests[0][0][:shared].count("Answer:") == 5

    task = ours._task("anatomy")
    documents = list(task.eval_docs)
    chosen = [documents.index(item.document) for item in items]
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
        tasks=[task],
        samples={task.config.task: sorted(chosen)},
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    (samples,) = theirs["samples"].values()
    expected = {sample["doc_id"]: [float(response[0][0]) for response in sample["resps"]] for sample in samples}
    assert sorted(expected) == sorted(chosen)

    engine = TorchEngine(model, tokenizer, packed=True)
    for score, index in zip(ours.score(items, engine), chosen, strict=True):
        assert score.loglikelihoods == pytest.approx(expected[index], abs=NATS)
    (prefix,) = engine.runner._prefixes
    text = items[0].requests[0][0][:shared]
    assert prefix == tuple(tokenizer.encode(text))[:-1], "the shots were kept"


def test_generations_are_those_of_transformers(cache, model_and_tokenizer):
    """GSM8K with its eight shots, token for token."""
    model, tokenizer = model_and_tokenizer
    ours = LmEvalBenchmark(BenchmarkCatalog().get("gsm8k"), DataSource("auto", cache), seed=0)
    requests = [replace(item.generation(seed=0), limit=32) for item in ours.items(3, cache)]
    assert requests[0].context[: requests[0].shared].count("Q:") >= 8

    engine = TorchEngine(model, tokenizer, packed=True)
    made = engine.generations(requests)
    (prefix,) = engine.runner._prefixes
    assert len(prefix) > 500
    for one, request in zip(made, requests, strict=True):
        ids = tokenizer(request.context, return_tensors="pt").input_ids
        with torch.inference_mode():
            tokens = model.generate(ids, do_sample=False, max_new_tokens=32)[0, ids.shape[1] :].tolist()
        texts = [tokenizer.decode(tokens[:count]) for count in range(1, len(tokens) + 1)]
        stopped = [count for count, text in enumerate(texts, 1) if any(stop in text for stop in request.until)]
        expected = tokens[: min(stopped, default=len(tokens))]
        assert one.tokens == len(expected)
        text = tokenizer.decode(expected, skip_special_tokens=True)
        assert one.text == min((text.split(stop)[0] for stop in request.until), key=len)


@pytest.mark.parametrize("name", ["arc_easy", "gsm8k"])
def test_in_its_chat_template_the_model_says_what_it_says_in_lm_eval(name, tmp_path, cache, model_and_tokenizer):
    """Likelihoods of choices, and answers after shots that are turns of the conversation."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from pytest_qllm.models.chat import ChatTemplate

    model, tokenizer = model_and_tokenizer
    checkpoint = source.resolve(source.DEFAULT, cache)
    benchmark = BenchmarkCatalog().get(name)
    chat = ChatTemplate(lambda: checkpoint.path)
    ours = LmEvalBenchmark(benchmark, DataSource("auto", cache), 0, chat)
    items = ours.items(2 if name == "gsm8k" else 8, Store(tmp_path / "store"))
    assert all("<|im_start|>user" in item.requests[0][0] for item in items)
    assert items[0].shared > 0
    task = ours._task("")
    if name == "gsm8k":
        task.config.generation_kwargs["max_gen_toks"] = 24
        options = {"until": items[0].requests[0][1]["until"], "do_sample": False, "max_gen_toks": 24}
        items = [replace(item, requests=((item.requests[0][0], options),)) for item in items]
    documents = list(task.eval_docs)
    chosen = sorted(documents.index(item.document) for item in items)
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1),
        tasks=[task],
        samples={task.config.task: chosen},
        apply_chat_template=True,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    (samples,) = theirs["samples"].values()
    expected = {sample["doc_id"]: sample for sample in samples}
    for item, score in zip(items, ours.score(items, TorchEngine(model, tokenizer, packed=True)), strict=True):
        sample = expected[documents.index(item.document)]
        assert [request[0] for request in item.requests] == [context for context, _ in sample["arguments"]]
        if name == "gsm8k":
            assert score.answer == sample["resps"][0][0]
        else:
            likelihoods = [float(response[0][0]) for response in sample["resps"]]
            assert score.loglikelihoods == pytest.approx(likelihoods, abs=NATS)
            assert score.metrics["acc"] == sample["acc"]
