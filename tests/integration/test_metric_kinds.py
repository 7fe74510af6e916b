"""A metric is judged by its kind: grades, corpus metrics, means without bounds, and bias scores behind an accuracy."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch
from tiny import WORDS, write_documents
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from conftest import MORE_REGIMES, Suite, assert_refused

ITEMS = 120
LENGTH = 8

TASK = """
task: continued
output_type: generate_until
test_split: test
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list:
  - {metric: !function scores.overlap, aggregation: mean, higher_is_better: true}
  - {metric: !function scores.points, aggregation: mean, higher_is_better: true}
  - {metric: bleu, aggregation: bleu, higher_is_better: true}
  - {metric: chrf, aggregation: chrf, higher_is_better: true}
  - {metric: ter, aggregation: ter, higher_is_better: false}
  - {metric: !function scores.missed, aggregation: mean, higher_is_better: false}
"""

BIAS = """
task: continued
output_type: generate_until
test_split: test
doc_to_text: "{{text}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
process_results: !function scores.bias
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: fair, aggregation: mean, higher_is_better: true}
  - {metric: informative, aggregation: mean, higher_is_better: true}
"""

SCORES = '''
    def overlap(references, predictions):
        """Share of the words that are where they should be."""
        right, said = references[0].split(), predictions[0].split()
        return sum(one == other for one, other in zip(right, said)) / len(right)

    def points(references, predictions):
        return 200 * overlap(references, predictions) - 50

    def missed(references, predictions):
        return 1 - overlap(references, predictions)

    def bias(document, results):
        right = results[0].split()[:1] == document["answer"].split()[:1]
        return {"acc": float(right), "fair": float(len(results[0]) % 7 > 0), "informative": float(document["known"])}
'''

HOOKS = """
    from pytest_qllm.benchmarks.benchmark import Behind, Benchmark

    def pytest_qllm_benchmarks():
        kinds = {{"overlap": "graded", "points": "mean"}}
        behind = {{"fair": Behind("acc", "informative")}}
        return [
            Benchmark(name, "language", f"{folder}{{name}}.yaml", metric, 120, 120, None, "mine", 40, (), kinds, behind)
            for name, metric in (("continued", "overlap"), ("bias", "fair"))
        ]
"""


@pytest.fixture
def continued(suite: Suite) -> Suite:
    """A task of the user's own: texts that are to be continued as the tiny model does, but for every tenth."""
    suite.more_regimes()
    some = 'Regime("some", "noise", 8, backend="mine.noise", options={"noise": 0.03}),\n            ]'
    hooks = textwrap.dedent(HOOKS).format(folder=f"{suite.path}/tasks/")
    suite.pytester.makeconftest(textwrap.dedent(MORE_REGIMES).replace("]\n", f"    {some}\n", 1) + hooks)
    tasks = suite.path / "tasks"
    tasks.mkdir()
    (tasks / "continued.yaml").write_text(TASK)
    (tasks / "bias.yaml").write_text(BIAS)
    (tasks / "scores.py").write_text(textwrap.dedent(SCORES))
    data = suite.own_data()
    for name in ("continued", "bias"):
        write_documents(data / name / "test.jsonl", _documents(Path(str(suite.options["model"]))))
    suite.options["regimes"] = "same"
    return suite


@torch.inference_mode()
def _documents(model: Path) -> list[dict]:
    network = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    generator = torch.Generator().manual_seed(3)
    words = [[WORDS[at] for at in torch.randint(len(WORDS), (6,), generator=generator)] for _ in range(ITEMS)]
    prompts = torch.tensor([tokenizer.encode(" ".join(text)) for text in words])
    made = network.generate(prompts, max_new_tokens=LENGTH, do_sample=False)[:, prompts.shape[1] :]
    answers = [tokenizer.decode(one, skip_special_tokens=True).strip() for one in made]
    return [
        {"text": " ".join(text), "answer": answer if at % 10 else f"no {answer}", "known": at % 12 > 0}
        for at, (text, answer) in enumerate(zip(words, answers, strict=True))
    ]


def gate(suite: Suite, benchmark: str = "continued", **words: object) -> None:
    given = "".join(f", {name}={value!r}" for name, value in words.items())
    suite.pytester.makepyfile(test_it=f"def test_it(gate):\n    gate({benchmark!r}{given})\n")


def test_grades_are_judged_by_their_bounds(continued: Suite) -> None:
    gate(continued, tolerance=0.06)
    continued.run(regimes="same,destroyed").assert_outcomes(passed=2, failed=1)
    assert continued.outcomes == {("same", "continued"): "PASS", ("destroyed", "continued"): "FAIL"}
    verdict = continued.verdicts["same", "continued"]
    assert (verdict["metric"], verdict["interval"], verdict["effect"]) == ("overlap", "Gaffke", 0.0)
    assert 0.8 < verdict["baseline"] < 1
    assert verdict["flips"] == {"broken": None, "mended": None}


def test_what_nobody_knows_the_size_of_needs_a_tolerance(continued: Suite) -> None:
    gate(continued, metric="points")
    assert_refused(continued.run("-k", "same"), "continued: there is no tolerance for a metric of the kind 'mean'")
    continued.run("-k", "fp16").assert_outcomes(passed=1, deselected=1)  # a baseline is measured all the same


def test_a_grade_and_a_corpus_metric_have_one(continued: Suite) -> None:
    continued.pytester.makepyfile(
        "def test_it(gate): gate('continued')\ndef test_bleu(gate): gate('continued', metric='bleu')"
    )
    continued.run("--qllm-plan")
    plans = json.loads((continued.path / "reports/plan.json").read_text())["plans"]
    assert {one["metric"]: one["tolerance"] for one in plans if one["regime"] == "same"} == {
        "overlap": 0.02,
        "bleu": 0.02,
    }


@pytest.mark.parametrize("table", ["continued = {8 = 0.06}", "graded = {8 = 0.06}"])
def test_a_table_gives_one(continued: Suite, table: str) -> None:
    gate(continued)
    continued.pytester.makepyprojecttoml(f"[tool.qllm.tolerances]\n{table}")
    continued.run().assert_outcomes(passed=2)
    assert continued.verdicts["same", "continued"]["tolerance"] == 0.06


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_a_corpus_metric_is_resampled(continued: Suite, metric: str) -> None:
    gate(continued, metric=metric, tolerance=0.3)
    continued.run(regimes="some,destroyed").assert_outcomes(passed=2, failed=1)
    assert continued.outcomes == {("some", "continued"): "PASS", ("destroyed", "continued"): "FAIL"}
    verdict = continued.verdicts["some", "continued"]
    low, high = verdict["ci"]
    assert verdict["interval"] == "paired bootstrap, BCa"
    assert -0.3 < low < verdict["effect"] < high
    assert verdict["n"] == ITEMS  # no look at fewer than 100
    assert verdict["p_pass"] is None
    assert verdict["effect"] == pytest.approx(verdict["candidate"] - verdict["baseline"])


def test_equal_texts_have_no_spread_to_judge_a_corpus_by(continued: Suite) -> None:
    gate(continued, metric="bleu", tolerance=0.3)
    continued.run().assert_outcomes(passed=1, failed=1)
    verdict = continued.verdicts["same", "continued"]
    assert (verdict["verdict"], verdict["effect"]) == ("INCONCLUSIVE", 0.0)
    assert "no spread to judge by" in verdict["reason"]


def test_a_corpus_metric_is_not_compared_with_a_previous_release(continued: Suite) -> None:
    gate(continued, metric="bleu", tolerance=0.3)
    continued.run(regimes="some", report="old")
    continued.run(regimes="some", against="old/qllm.json")
    assert "bleu is a score of all texts together" in continued.verdicts["some", "continued"]["against"]["reason"]


def test_a_model_that_gets_nothing_right_has_no_bleu_to_lose(continued: Suite) -> None:
    """Its every candidate would be within the tolerance of it."""
    documents = (continued.path / "data/continued/test.jsonl").read_text().splitlines()
    write_documents(
        continued.path / "data/continued/test.jsonl",
        ({**json.loads(line), "answer": f"nothing of the kind was said in {at}"} for at, line in enumerate(documents)),
    )
    gate(continued, metric="bleu")
    continued.run(regimes="same,destroyed").assert_outcomes(passed=1, skipped=2)
    verdict = continued.verdicts["destroyed", "continued"]
    assert verdict["verdict"] == "NO_SIGNAL"
    assert "too close to 0 for these items to tell a model that scores nothing" in verdict["reason"]


def test_a_mean_has_the_unit_of_its_task(continued: Suite) -> None:
    gate(continued, metric="points", tolerance=20.0)
    continued.run(regimes="same,destroyed").assert_outcomes(passed=2, failed=1)
    verdict = continued.verdicts["same", "continued"]
    assert "Student" in verdict["interval"]
    assert verdict["baseline"] > 100


@pytest.mark.parametrize("metric", ["ter", "missed"])
def test_a_metric_of_which_less_is_better_is_refused(continued: Suite, metric: str) -> None:
    gate(continued, metric=metric, tolerance=0.1)
    assert_refused(continued.run(), f"continued has no metric {metric!r}; measured: bleu, chrf, overlap, points")


def test_a_score_that_is_not_what_its_kind_admits_is_refused(continued: Suite) -> None:
    conftest = continued.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace('"points": "mean"', '"points": "graded"'))
    gate(continued, metric="points", tolerance=0.1)
    assert_refused(continued.run(), "a graded score lies between 0 and 1 for each item; this metric gives others")


@pytest.mark.parametrize("metric", ["overlap", "chrf", "points"])
def test_each_may_be_kept_to_a_share_of_the_baseline(continued: Suite, metric: str) -> None:
    gate(continued, metric=metric, tolerance="75%")
    continued.run(regimes="some,destroyed")
    verdict = continued.verdicts["some", "continued"]
    assert (verdict["scale"], verdict["tolerance"]) == ("relative", 0.25)
    assert verdict["effect"] == pytest.approx(verdict["candidate"] / verdict["baseline"] - 1)
    assert verdict["ci"][0] < verdict["effect"] < verdict["ci"][1]
    assert continued.outcomes["destroyed", "continued"] == "FAIL"


def test_a_bias_score_counts_where_the_accuracy_has_passed(continued: Suite) -> None:
    gate(continued, "bias", tolerance=0.06)
    continued.run(regimes="same,destroyed").assert_outcomes(passed=2, failed=1)
    verdict = continued.verdicts["same", "bias"]
    assert (verdict["verdict"], verdict["metric"]) == ("PASS", "fair")
    hindered = continued.verdicts["destroyed", "bias"]
    assert (hindered["verdict"], hindered["effect"]) == ("INCONCLUSIVE", None)
    assert "the accuracy on the same questions is FAIL" in hindered["reason"]


def test_a_bias_score_of_few_answers_does_not_count(continued: Suite) -> None:
    documents = (continued.path / "data/bias/test.jsonl").read_text()
    write_documents(
        continued.path / "data/bias/test.jsonl",
        ({**json.loads(line), "known": at % 4 > 0} for at, line in enumerate(documents.splitlines())),
    )
    gate(continued, "bias", tolerance=0.06)
    continued.run().assert_outcomes(passed=1, failed=1)
    assert "rests on 90 answers; at least 100 are needed in both models" in continued.verdicts["same", "bias"]["reason"]


def test_a_bias_score_of_a_baseline_at_chance_has_no_signal(continued: Suite) -> None:
    documents = (continued.path / "data/bias/test.jsonl").read_text()
    write_documents(
        continued.path / "data/bias/test.jsonl",
        ({**json.loads(line), "answer": "nothing"} for line in documents.splitlines()),
    )
    gate(continued, "bias", tolerance=0.06)
    continued.run().assert_outcomes(passed=1, skipped=1)
    reason = continued.verdicts["same", "bias"]["reason"]
    assert reason.startswith("a bias score counts only behind an accuracy: the baseline answers 0.0% of 120 items")


def test_answers_that_reach_their_limit_are_counted(continued: Suite) -> None:
    """The tiny model never stops by itself: all its answers have as many tokens as they may."""
    gate(continued, tolerance=0.06)
    result = continued.run(regimes="destroyed")
    verdict = continued.verdicts["destroyed", "continued"]
    before, after = verdict["hit_limit"]["baseline"], verdict["hit_limit"]["candidate"]
    assert before == verdict["n"] >= after > 0
    line = f"{before} (baseline) and {after} (candidate) of {before} answers ended at their limit of tokens"
    assert f"limit       {line}" in result.stdout.str()
    assert f"continued on destroyed: {line}" in " ".join(result.stdout.str().split())
    assert line in (continued.path / "reports/qllm.html").read_text()
    (baseline,) = continued.report["baselines"]
    assert baseline["hit_limit"] == {"baseline": baseline["n"], "candidate": None}


def test_items_of_one_cluster_count_as_one(continued: Suite) -> None:
    """Declared later, too: nothing is measured again."""
    gate(continued, tolerance=0.06)
    continued.run("--qllm-fixed-n").assert_outcomes(passed=2)
    continued.scored.clear()
    conftest = continued.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("kinds, behind)", 'kinds, behind, ("known",))'))
    continued.run("--qllm-fixed-n").assert_outcomes(passed=1, failed=1)
    verdict = continued.verdicts["same", "continued"]
    assert (verdict["verdict"], verdict["interval"]) == ("INCONCLUSIVE", "Gaffke over clusters")
    assert continued.scored == []
