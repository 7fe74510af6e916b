"""`pytest-qllm analyze`: from the store alone, without a model; and from the tables of a paper."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conftest import MORE_REGIMES, Suite
from pytest_qllm.cli import main
from pytest_qllm.store import Store


@pytest.fixture
def measured(suite: Suite) -> Path:
    suite.more_regimes()
    suite.gates("lambada", "story_perplexity")
    suite.run("--qllm-fixed-n", regimes="same,slight,bnb-int8,bnb-nf4,destroyed")
    return suite.path / "store"


def analyzed(*arguments: object, path: Path) -> dict[str, object]:
    assert main(["analyze", *map(str, arguments), "--json", str(path)]) == 0
    return dict(json.loads(path.read_text()))


def test_the_store_alone_gives_table_and_correlations(
    measured: Path, suite: Suite, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    told = {place: verdict["effect"] for place, verdict in suite.verdicts.items()}
    suite.own_model()  # from here on nothing may look for one
    capsys.readouterr()
    forms = ["--markdown", suite.path / "out/a.md", "--html", suite.path / "out/a.html"]
    content = analyzed("--store", measured, *forms, path=suite.path / "out/a.json")
    out = capsys.readouterr().out
    rows = {row["regime"]: row for row in content["rows"]}
    assert list(rows) == ["fp16", "bnb-int8", "same", "slight", "bnb-nf4", "destroyed"]
    # The differences are those of the verdicts, on the same items.
    for (regime, benchmark), effect in told.items():
        assert rows[regime]["scores"][benchmark]["change"]["effect"] == pytest.approx(effect, abs=1e-12)
    same, destroyed = rows["same"]["scores"]["lambada"], rows["destroyed"]["scores"]["lambada"]
    assert (same["change"]["effect"], same["change"]["p"]) == (0, 1)
    assert destroyed["change"]["p"] < destroyed["p_holm"] < 0.001
    assert rows["fp16"]["bytes"] > rows["bnb-int8"]["bytes"] > rows["bnb-nf4"]["bytes"]
    over = {one["over"]: one for one in content["correlations"]}
    assert over["all"]["n"] == 6
    assert over["all"]["spearman"]["value"] < -0.7
    assert over["4 and 3 bits"]["reason"] == "1 regime; an interval needs 4"
    assert "McNemar, exact (lambada)" in out
    assert "story_perplexity against each benchmark, all rows" in out
    for form in ("a.md", "a.html"):
        text = (suite.path / "out" / form).read_text()
        assert "McNemar" in text
        assert "bnb-nf4" in text


def test_one_regime_has_no_correlation_and_says_so(
    measured: Path, suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    content = analyzed("--store", measured, "--regimes", "bnb-nf4", path=suite.path / "a.json")
    assert [row["regime"] for row in content["rows"]] == ["fp16", "bnb-nf4"]
    assert (
        "no correlation: 2 rows have both a perplexity and a benchmark; an interval needs 4"
        in content["no_correlations"]
    )
    analyzed("--store", measured, "--benchmarks", "lambada", path=suite.path / "a.json")
    assert "no correlation: no perplexity was measured" in capsys.readouterr().out
    # Nor does it load a model, or what could.
    code = (
        "import sys; from pytest_qllm.cli import main; "
        f"code = main(['analyze', '--store', {str(measured)!r}]); "
        "assert not {'torch', 'transformers', 'lm_eval', 'datasets'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_compared_is_one_line(
    suite: Suite, measured: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    capsys.readouterr()

    def refused(*arguments: object) -> str:
        assert main(["analyze", *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "is no store of pytest-qllm, or an empty one" in refused("--store", tmp_path)
    assert "the store has nothing of gguf-q4" in refused("--store", measured, "--regimes", "gguf-q4")
    assert "there is none in" in refused("--store", measured, "--setting", "fast")
    suite.run(regimes="bnb-nf4", dtype="bfloat16")
    capsys.readouterr()
    line = refused("--store", measured)
    assert "measurements of 2 settings, which are not comparable" in line
    name = next(text for text in line.split("; ") if "bfloat16" in text).rpartition(": bfloat16")[0].split()[-1]
    content = analyzed("--store", measured, "--setting", name, path=tmp_path / "a.json")
    assert content["setting"].startswith("bfloat16 on cpu")
    assert [row["regime"] for row in content["rows"]] == ["fp16", "bnb-nf4"]


def test_other_items_under_one_name_are_left_out_by_name(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    suite.run("--qllm-fixed-n", regimes="bnb-int8", max_items=40)
    store = Store(suite.path / "store")
    for path in (store.root / "measurements").glob("*/*.json"):
        content = store.read("measurements", path.parent.name, path.stem)
        (told,) = (store.root / "subjects" / path.parent.name).glob("*.json")
        subject = store.read("subjects", path.parent.name, told.stem)
        if subject["regime"] != "fp16":
            store.write(
                [{**one, "id": f"x{one['id']}"} for one in content], "measurements", path.parent.name, path.stem
            )
    capsys.readouterr()
    assert main(["analyze", "--store", "store"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "lambada is left out" in line
    assert "other sets of items (40 and 40, 0 in common); measure them with one --qllm-data and --qllm-seed" in line


def test_scores_of_an_earlier_version_are_named_by_a_warm_run(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    suite.run(regimes="bnb-int8")
    for path in (suite.path / "store/subjects").glob("*/*.json"):
        path.unlink()
    capsys.readouterr()
    assert main(["analyze", "--store", "store"]) == 2
    assert "2 measurements are of an earlier version" in capsys.readouterr().err
    suite.scored.clear()
    suite.run(regimes="bnb-int8")
    assert suite.scored == []
    assert main(["analyze", "--store", "store"]) == 0


FAIR = """
task: fair
output_type: loglikelihood
test_split: test
doc_to_text: "{{text.split(' ')[:-1] | join(' ')}}"
doc_to_target: " {{text.split(' ')[-1]}}"
process_results: !function fair.scores
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: partly, aggregation: mean, higher_is_better: true}
  - {metric: amb_bias_score, aggregation: mean, higher_is_better: false}
"""

FAIR_SCORES = '''
    def scores(document, results):
        """A bias score as BBQ's: right, biased, informative, and whether the context is disambiguated."""
        ((_, right),) = results
        biased = not right or len(document["text"]) % 3 > 0
        answer = (float(right), float(biased), 1.0, False)
        return {"acc": float(right), "partly": 0.2 + 0.6 * right, "amb_bias_score": answer}
'''

FAIR_BENCHMARKS = """
    from pytest_qllm.benchmarks.benchmark import Benchmark

    def pytest_qllm_benchmarks():
        return [
            Benchmark(name, "alignment", "{task}", metric, 120, 120, data="fair", kinds={"partly": "graded"})
            for name, metric in (("fair", "acc"), ("fair_bias", "amb_bias_score"))
        ]
"""


def test_several_scores_of_the_same_answers_have_a_column_each(suite: Suite, tmp_path: Path) -> None:
    task = suite.path / "tasks/fair.yaml"
    task.parent.mkdir()
    task.write_text(FAIR)
    (task.parent / "fair.py").write_text(textwrap.dedent(FAIR_SCORES))
    suite.more_regimes()
    suite.pytester.makeconftest(MORE_REGIMES + FAIR_BENCHMARKS.replace("{task}", str(task)))
    data = suite.own_data()
    shutil.copytree(data / "lambada", data / "fair")
    suite.gates("fair", "fair_bias")
    suite.pytester.makepyfile(test_partly="def test_partly(gate):\n    gate('fair', metric='partly')\n")
    suite.run("--qllm-fixed-n", regimes="slight,destroyed")
    told = {(one["regime"], one["benchmark"], one["metric"]): one for one in suite.report["verdicts"]}
    content = analyzed("--store", suite.path / "store", path=tmp_path / "a.json")
    rows = {row["regime"]: row["scores"] for row in content["rows"]}
    assert set(rows["fp16"]) == {"fair", "fair partly", "fair_bias"}
    for (regime, benchmark, metric), verdict in told.items():
        if verdict["candidate"] is None:  # a bias score of lost answers has no verdict
            continue
        cell = rows[regime]["fair partly" if metric == "partly" else benchmark]
        assert cell["score"] == pytest.approx(verdict["candidate"], abs=1e-9)
        assert cell["change"]["effect"] == pytest.approx(verdict["effect"], abs=1e-12)
    bias = rows["destroyed"]["fair_bias"]
    assert bias["score"] != 0
    assert bias["change"]["effect"] == pytest.approx(abs(rows["fp16"]["fair_bias"]["score"]) - abs(bias["score"]))
    assert bias["change"]["test"].startswith("approximate randomization")


def test_a_score_by_a_function_of_one_s_own_is_left_out_by_name(suite: Suite, tmp_path: Path) -> None:
    """It is made of the answers whenever it is needed, and not stored."""
    (suite.path / "facts.jsonl").write_text(
        "".join(json.dumps({"question": f"{at}?", "answer": "b"}) + "\n" for at in range(30))
    )
    suite.gates("lambada")
    suite.pytester.makepyfile(
        test_facts="""
        def said(item, answer) -> bool:
            return len(answer) > 3

        def test_facts(gate):
            gate("facts.jsonl", score=said, tolerance=0.3)
        """
    )
    suite.run(regimes="bnb-int8")
    content = analyzed("--store", suite.path / "store", path=tmp_path / "a.json")
    assert {name for row in content["rows"] for name in row["scores"]} == {"lambada"}
    assert "facts is left out: its said is not stored, but made of the answers anew" in content["notes"]


def test_a_bigger_model_in_the_memory_of_a_smaller_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scores.csv").write_text(
        "model,method,bits,memory_gb,mmlu,ppl\n"
        "small,none,16,2.0,50,9\nbig,none,16,8.0,70,6\nbig,gptq,4,2.0,65,6.5\nbig,gptq,2,1.0,25,90\n"
    )
    content = analyzed(tmp_path / "scores.csv", path=tmp_path / "a.json")
    beaten = {one["bigger"]: (one["better"], one["worse"]) for one in content["rivals"]}
    assert beaten == {"big gptq-4bit": (1, 0), "big gptq-2bit": (0, 1)}
    front = [point["row"] for point in content["plane"]["points"] if point["on_front"]]
    assert front == ["big gptq-2bit", "big gptq-4bit", "big fp16"]
    assert "no marks: without the scores of single items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has the columns none and 0 lines"),
        ("model,bits\nm,16\n", "expected model, bits and one for each benchmark"),
        ("model,bits,mmlu\nm,16,good\n", "mmlu is 'good'; expected a number"),
        ("model,bits,mmlu\nm,32,1\n", "line 2: bits is '32'"),
        ("model,bits,mmlu\nm,16,1\nm,16,2\n", "has m fp16 twice"),
    ],
)
def test_a_file_that_is_no_table_of_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    (tmp_path / "scores.csv").write_text(content)
    assert main(["analyze", str(tmp_path / "scores.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
