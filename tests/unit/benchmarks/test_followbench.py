"""FollowBench: its rules, its documents, what its judge is asked, and how an example's levels make its CSL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.benchmarks.data.forms import followbench
from pytest_qllm.benchmarks.followbench import question, satisfied
from pytest_qllm.benchmarks.tasks.followbench import utils
from pytest_qllm.benchmarks.tasks.followbench.rules import is_by_rule, is_satisfied
from pytest_qllm.benchmarks.tasks.followbench.utils import consistent_levels, documents, process_results
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.tolerance import Tolerances
from pytest_qllm.verdict.verdict import Outcome, judge

SHARED = Path(os.environ.get("QLLM_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))

THREE = "Potter sings. The actor reads a book. His films have gone far."
WE = "We find that activations tell much."


def check(source: str, level: int, answer: str, *, kind: str = "mixed", target: str = "", example: int = 1) -> bool:
    return is_satisfied(answer, kind=kind, source=source, example=example, level=level, target=target)


@pytest.mark.parametrize(
    ("source", "answer", "up_to"),
    [
        ("cnn_dailymail", THREE, 5),
        ("cnn_dailymail", THREE.replace("have gone", "went"), 4),
        ("cnn_dailymail", THREE.replace("book", "lavish book"), 3),
        ("cnn_dailymail", THREE.replace("Potter", "He"), 2),
        ("cnn_dailymail", THREE + " More.", 0),
        ("xsum", "An operation is going on.", 5),
        ("xsum", "A repair is going on.", 4),
        ("xsum", "Newton Stewart is mending its streets.", 2),
        ("samsum", "Kim left all her stuff to tomorrow.", 5),
        ("samsum", "Kim, tired, left her stuff to tomorrow.", 4),
        ("samsum", "Kim left her stuff, Procrastinating again.", 3),
        ("gigaword", "two people killed by bomb in southern philippines", 5),
        ("gigaword", "Two people killed by bomb in southern philippines", 2),
        ("gigaword", "two people killed by bomb in the south.", 1),
        ("arxiv", WE, 5),
        ("arxiv", WE.replace("tell", "in a transformer tell"), 4),
        ("arxiv", "Here is the sentence. " + WE, 0),
    ],
)
def test_levels_add_up(source, answer, up_to):
    assert [check(source, level, answer) for level in range(1, 6)] == [level <= up_to for level in range(1, 6)]


@pytest.mark.parametrize(
    ("source", "target", "right", "wrong"),
    [
        ("E2E", "name[The Inn]", " name[The Inn]\n", "The name is name[The Inn]"),
        ("text_editing", "pples loved eting i.", "pples loved eting i.", "apples loved eating i."),
        ("WIKIEVENTS", "one died\ntwo fell", "two fell\none died", "one died\nthree fell"),
        ("CONLL2003", "['Bonn', 'Paris']", "Paris", "Paris, Bonn"),
        ("BBH_logical", "(B)", "Not (A), but (B).", "(B), for (A) is wrong: (A)"),
        ("BBH_time", "12/29/1937", "It is 12/29/1937.", "12/29/1937, and then 12/30/1937"),
        ("gsm_8k", "$14", "She earns $12 an hour, so $14.", "14 dollars"),
        ("self_made_space", "20th floor", "He is on the 20th floor now.", "floor 20"),
    ],
)
def test_targets(source, target, right, wrong):
    assert check(source, 1, right, target=target)
    assert not check(source, 1, wrong, target=target)


@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        ("{instruction}\nBOT: {answer}", "BOT: anything (at all)", "Bot: anything"),
        ("{instruction}\n[Bot]\n{answer}", "[Bot]\nno", "[Bot] no"),
        ("{instruction}\n{{'bot': '{answer}'}}", "{'bot': 'yes'}", "{{'bot': 'yes'}}"),
        ("{instruction}\nAnswer: {answer}", "Answer: one line", "Answer: one line\nand another"),
    ],
)
def test_a_pattern_is_followed_whatever_is_said(target, right, wrong):
    assert check("sciq", 3, right, kind="example", target=target)
    assert not check("sciq", 3, wrong, kind="example", target=target)


def test_paragraphs_and_points():
    assert check("helpful_base", 2, "One. Two.\n\nThree.\n\nFour.", kind="format", example=22)
    assert not check("helpful_base", 2, "One. Two. Three.\n\nFour.\n\nFive.", kind="format", example=22)
    assert not check("helpful_base", 1, "One.\n\nTwo.", kind="format", example=22)
    assert check("koala", 1, "**Growth** matters", kind="format", example=30)
    assert not check("koala", 2, "**Growth** matters", kind="format", example=30)


def test_only_two_formats_have_rules():
    assert is_by_rule("format", "koala", 30)
    assert not is_by_rule("format", "koala", 29)
    assert not is_by_rule("style", "koala", 30)
    with pytest.raises(KeyError):
        check("koala", 1, "text", kind="style")


def rows(kind: str, source: str = "invented") -> list[dict]:
    return [
        {
            "example_id": 7,
            "category": kind,
            "source": source,
            "level": level,
            "instruction": f"Do {level}",
            "target": "",
        }
        for level in range(6)
    ]


def test_an_instruction_knows_what_it_grew_from():
    made = list(documents([*rows("style"), *rows("content")]))
    assert [(one["kind"], one["level"]) for one in made] == [
        (kind, level) for kind in ("style", "content") for level in range(1, 6)
    ]
    assert made[2]["earlier"] == ["Do 0", "Do 1", "Do 2"]
    assert made[7]["earlier"] == ["Do 0", "Do 1", "Do 2"]


def test_mixed_ones_are_told_by_their_first_level():
    mixed = rows("mixed")
    for row in mixed[1:]:
        row["category"] = "format, style"
    assert {one["kind"] for one in documents(mixed)} == {"mixed"}


def test_without_a_rule_lm_eval_scores_nothing():
    (first, *_) = documents(rows("style"))
    assert process_results(first, ["an answer"]) == {}
    (first, *_) = documents(rows("mixed", "arxiv"))
    assert process_results(first, [WE]) == {"hsr": 1.0, "ssr": 1.0, "csl": ("mixed 7", 1, True)}


def test_the_folder_stands_by_itself(tmp_path):
    """As in lm-eval's own tree."""
    copy = tmp_path / "followbench"
    shutil.copytree(Path(utils.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import sys; sys.modules['pytest_qllm'] = None; "
        "from lm_eval.tasks._yaml_loader import load_yaml; "
        f"task = load_yaml({str(copy / 'followbench_rules.yaml')!r}); "
        "document = dict(kind='mixed', source='arxiv', example=7, level=1, target='', by_rule=True); "
        f"assert task['process_results'](document, [{WE!r}])['hsr'] == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_consistent_levels():
    unbroken = [("a", level, True) for level in range(1, 6)]
    broken = [("b", level, level != 3) for level in range(1, 6)]
    never = [("c", level, level != 1) for level in range(1, 6)]
    assert consistent_levels(unbroken) == 1
    assert consistent_levels([*never, *broken[::-1], *unbroken]) == pytest.approx((5 + 2 + 0) / 3 / 5)


@pytest.mark.parametrize("metric", ["ssr", "csl"])
def test_what_a_judge_grades_has_tolerances_of_its_own_by_width(metric):
    benchmark = BenchmarkCatalog().get("followbench")
    assert (benchmark.kind_of(metric), benchmark.table_of(metric)) == (Kind.GRADED, "judged")
    assert [Tolerances.from_toml({}, [], "").of("followbench", "judged", bits, own=False).value for bits in (8, 4)] == [
        0.05,
        0.06,
    ]
    assert BenchmarkCatalog().get("followbench_rules").table_of(metric) == "graded"


def test_a_baseline_that_satisfies_next_to_nothing_cannot_pass():
    n = 100
    clusters = tuple(str(at // 5) for at in range(n))
    scores = np.zeros(n)
    scores[0] = 1
    dead = Sample(tuple(map(str, range(n))), scores, np.ones(n), np.zeros(n), clusters)
    assert judge(dead, dead, Kind.GRADED, 0.05).outcome is Outcome.NO_SIGNAL


def test_the_judge_sees_every_step_and_the_answer():
    third = list(documents(rows("style")))[2]
    asked = question(third, "My answer.")
    for part in ("Do 0", "Do 1", "Do 2", "Do 3", "[With 2 of 3 constraints]", "My answer.", "[YES, NO, YES]"):
        assert part in asked.prompt
    assert "Do 4" not in asked.prompt
    assert asked.read("[YES, YES, NO]") == (True, True, False)


@pytest.mark.parametrize(
    ("text", "level", "found"),
    [
        ("1. fine\n2. no\n[YES, NO]", 2, (True, False)),
        ("['YES', \"no\"]\n\n", 2, (True, False)),
        ("```\n[NO]\n```", 1, (False,)),
        ("**[YES]**", 1, (True,)),
        ("[YES, NO]", 3, None),
        ("[YES, NO, MAYBE]", 3, None),
        ("[YES, NO]\nI hope that this helps.", 2, None),
        ("YES", 1, None),
        ("All are satisfied: [YES, YES]", 2, None),
        ("[[YES, YES]]", 2, None),
        ("[]", 1, None),
        ("", 1, None),
    ],
)
def test_a_judgement_is_a_list_in_the_last_line(text, level, found):
    assert satisfied(text, level) == found


@pytest.fixture(scope="module")
def real() -> list[dict]:
    folder = SHARED / "followbench"
    if not folder.is_dir():
        pytest.skip(f"no FollowBench in {SHARED}")
    found = followbench(folder, "")
    assert found is not None
    return list(documents(found["train"]))


def test_the_real_instructions(real):
    assert len(real) == 820
    assert len({(one["kind"], one["example"]) for one in real}) == 164
    assert sum(one["by_rule"] for one in real) == 350
    assert all(one["kind"] == "example" or len(one["earlier"]) == one["level"] for one in real)


def test_the_real_answers_satisfy_their_rules(real):
    """The files have an answer to each example of a pattern, and the target of most others."""
    folder = SHARED / "followbench/en"
    given = {one["instruction"]: one["answer"] for one in json.loads((folder / "example_constraints.json").read_text())}
    judged = [one for one in real if one["kind"] == "example" and "\n" not in given[one["instruction"]]]
    assert len(judged) > 100
    assert all(process_results(one, [given[one["instruction"]]])["hsr"] == 1 for one in judged)
    targets = [one for one in real if one["target"] and one["by_rule"] and one["kind"] not in ("example", "format")]
    exact = [one for one in targets if one["source"] != "CONLL2003"]
    assert len(exact) > 60
    assert all(process_results(one, [one["target"]])["hsr"] == 1 for one in exact)
    assert not any(process_results(one, ["I do not know."])["hsr"] for one in targets)
