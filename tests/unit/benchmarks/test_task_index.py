"""Names of lm-eval's tasks are those that it indexes itself, found without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lm_eval")

from pytest_qllm.benchmarks.elsewhere import TaskFiles, metrics_of
from pytest_qllm.benchmarks.task_index import Function, TaskIndex, read_task, tasks_folder
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store


@pytest.mark.parametrize("folder", ["arc", "bbh", "leaderboard", "mmlu", "super_glue", "aradice"])
def test_names_are_lm_eval_s_own(folder):
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._index import TaskIndex as Theirs

    root = tasks_folder() / folder
    theirs = Theirs.build([root])
    ours = TaskIndex.scan(root)
    of = {kind: {name: one for name, one in theirs.items() if one.kind is kind} for kind in Kind}
    files = {name: str(one.yaml_path.relative_to(root)) for name, one in of[Kind.TASK].items()}
    assert {**ours.tasks} == files
    assert set(ours.groups) == set(of[Kind.GROUP])
    assert {tag: set(tasks) for tag, tasks in ours.tags.items()} == {tag: one.tags for tag, one in of[Kind.TAG].items()}


def test_the_list_is_made_once(tmp_path, monkeypatch):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "mine.yaml").write_text("task: mine\ntag: [ours]\n")
    monkeypatch.setattr("pytest_qllm.benchmarks.task_index.tasks_folder", lambda: tasks)
    cache = Store(tmp_path / "cache")
    first = TaskIndex.installed(cache)
    assert (dict(first.tasks), dict(first.tags)) == ({"mine": "mine.yaml"}, {"ours": ["mine"]})
    monkeypatch.setattr(TaskIndex, "scan", lambda root: pytest.fail("made again"))
    assert TaskIndex.installed(cache) == first


def test_an_include_is_merged_and_a_function_stays_a_name(tmp_path):
    (tmp_path / "base").write_text("output_type: generate_until\nprocess_docs: !function utils.docs\ntask: base\n")
    (tmp_path / "mine.yaml").write_text("include: base\ntask: mine\n")
    found = read_task(tmp_path / "mine.yaml")
    assert found == {"output_type": "generate_until", "process_docs": "utils.docs", "task": "mine"}
    assert isinstance(found["process_docs"], Function)


@pytest.mark.parametrize(
    ("content", "words"),
    [("- a\n", "no task file: it has no fields"), ("a: [", "no task file in YAML"), ("include: x.yaml\n", "itself")],
)
def test_what_is_no_task_file(tmp_path, content, words):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(QllmError, match=words):
        read_task(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"output_type": "multiple_choice"}, ["acc", "acc_norm"]),
        ({"output_type": "loglikelihood", "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]}, ["acc"]),
        ({"output_type": "loglikelihood_rolling"}, ["perplexity"]),
        ({"output_type": "multiple_choice", "metric_list": [{"metric": "mcc"}, {"metric": "acc"}]}, ["acc"]),
        ({"output_type": "generate_until", "metric_list": [{"metric": "ter"}, {"metric": "bleu"}]}, ["bleu"]),
        (
            {"output_type": "generate_until", "filter_list": [{"name": "strict"}, {"name": "loose"}]},
            ["exact_match,strict", "exact_match,loose"],
        ),
        (
            {"output_type": "generate_until", "metric_list": [{"metric": Function("utils.overlap")}]},
            ["overlap"],
        ),
        ({"output_type": "multiple_choice", "metric_list": [{"metric": "x", "higher_is_better": False}]}, []),
    ],
)
def test_metrics_are_those_of_each_item_and_of_which_more_is_better(config, expected):
    assert metrics_of(config) == expected


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return TaskFiles(Path("/nowhere"), Store(tmp_path_factory.mktemp("cache")))


def test_a_task(files):
    found = files.find("openbookqa")
    assert (found.task, found.metric, found.items) == ("openbookqa/openbookqa.yaml", "acc", 500)
    assert (found.hub, found.subsets, found.dimension) == ("allenai/openbookqa", (), "other")


def test_a_group_s_tasks_are_its_subsets(files):
    found = files.find("leaderboard_musr")
    assert len(found.subsets) == 3
    assert (found.metric, found.parts[found.subsets[0]]) == (
        "acc_norm",
        {"include": "leaderboard/musr/musr_murder_mysteries.yaml"},
    )
    assert len(files.find("mmlu").subsets) == 57
    bbh = files.find("bbh_cot_fewshot")
    assert (bbh.metric, bbh.chunk, len(bbh.subsets)) == ("exact_match,get-answer", 8, 27)


def test_a_tag_s_too(files):
    assert files.find("ai2_arc").subsets == ("arc_challenge", "arc_easy")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leaderboard", "several kinds .generate_until, multiple_choice.*gate its parts one by one, leaderboard_"),
        ("squadv2", "a task in Python"),
        ("humaneval", "runs what the model writes"),
        ("mmmu_val", "asks about images"),
        ("realtoxicityprompts", "has the output_type None; supported are multiple_choice"),
    ],
)
def test_what_is_not_supported_is_one_line(files, name, words):
    with pytest.raises(QllmError, match=words) as error:
        files.find(name)
    assert "\n" not in str(error.value)


def test_nothing_of_that_name(files):
    assert files.find("openbookqu") is None
    assert "openbookqa" in files.nearest("openbookqu", ["arc_easy"])
    assert files.nearest("arc_esy", ["arc_easy"])[0] == "arc_easy"
