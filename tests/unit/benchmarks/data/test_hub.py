"""The hub at a commit, read from a copy of its cache, without network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hub_copy
import pytest

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.data.known import KNOWN
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

SENTENCES = [("The ferry leaves at noon.", "渡轮中午出发。"), ("It was raining.", "当时在下雨。")]
PAIRS = [{"en-zh": {"en": english, "zh": chinese}} for english, chinese in SENTENCES]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and nothing but that."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path / "hub"


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    return DataSource("hub", Store(tmp_path / "cache"))


def benchmark(name: str, *subsets: str) -> Benchmark:
    return Benchmark(name, "domain", "a.yaml", "acc", 10, 10, subsets=subsets)


def add(hub: Path, name: str, files: dict[str, hub_copy.Content], revision: str = "") -> Path:
    known = KNOWN[name].hub
    assert known is not None
    return hub_copy.add(hub, known.repo, revision or known.revision or "a" * 40, files)


def counted(monkeypatch: pytest.MonkeyPatch, name: str, items: int) -> None:
    """The miniature has so many items."""
    known = KNOWN[name]
    assert known.hub is not None
    monkeypatch.setitem(KNOWN, name, replace(known, hub=replace(known.hub, items=items)))


def test_flores_has_the_official_fields(hub: Path, source: DataSource, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, "flores200", 2)
    add(hub, "flores200", {"en-zh/test-00000-of-00001.parquet": PAIRS, "de-en/test-00000-of-00001.parquet": PAIRS})
    assert source.is_here(benchmark("flores200"))
    found = source.splits(benchmark("flores200"), "")
    assert found is not None
    assert list(found) == ["devtest"]
    assert list(found["devtest"]) == [
        {"id": at, "sentence_eng_Latn": english, "sentence_zho_Hans": chinese}
        for at, (english, chinese) in enumerate(SENTENCES, 1)
    ]
    about = source.provenance(benchmark("flores200"))
    assert about["source"] == "hub haoranxu/FLORES-200@8ecaf1bb2034"
    assert (about["licence"], about["items"]) == ("CC-BY-SA-4.0", {"devtest": 2})


def test_another_commit_is_not_taken_for_the_pinned_one(hub: Path, source: DataSource) -> None:
    add(hub, "flores200", {"en-zh/test-00000-of-00001.parquet": PAIRS}, revision="b" * 40)
    assert not source.is_here(benchmark("flores200"))
    with pytest.raises(QllmError, match=r"^cannot fetch hub haoranxu/FLORES-200@8ecaf1bb2034 .* --qllm-fetch"):
        source.splits(benchmark("flores200"), "")


def test_c4_is_read_as_it_is_published(hub: Path, source: DataSource) -> None:
    import gzip

    rows = '{"text": "Tides in the bay", "timestamp": "2019-04-25T12:57:54Z", "url": "https://example.org"}\n'
    snapshot = add(hub, "c4", {"README.md": "# C4"})
    (snapshot / "en").mkdir()
    (snapshot / "en/c4-validation.00000-of-00008.json.gz").write_bytes(gzip.compress(rows.encode()))
    found = source.splits(benchmark("c4"), "")
    assert found is not None
    assert found["validation"]["text"] == ["Tides in the bay"]
    assert found["validation"]["timestamp"] == ["2019-04-25T12:57:54Z"], "no date: JSON has none"


def test_the_treebank_has_no_revision_that_is_known_and_comes_in_pieces(hub: Path, source: DataSource) -> None:
    sentences = [{"sentence": f"mr. <unk> said sentence N of {at} words"} for at in range(120)]
    add(hub, "ptb", {"penn_treebank/test/0000.parquet": sentences})
    found = source.splits(benchmark("ptb"), "")
    assert found is not None
    texts = found["test"]["text"]
    assert "\n".join(texts).split("\n") == [row["sentence"] for row in sentences]
    assert all(len(text) >= 2000 for text in texts[:-1])
    assert source.identity(benchmark("ptb")) is None
    assert source.describe(benchmark("ptb")) == "hub FALcon6/ptb_text_only (no pinned revision)"


def test_items_of_a_hub_that_change_are_refused(hub: Path, source: DataSource) -> None:
    sentences = [{"sentence": f"sentence {at}"} for at in range(3)]
    snapshot = add(hub, "ptb", {"penn_treebank/test/0000.parquet": sentences})
    source.splits(benchmark("ptb"), "")
    (snapshot / "penn_treebank/test/0000.parquet").unlink()
    add(hub, "ptb", {"penn_treebank/test/0000.parquet": sentences[:2]})
    with pytest.raises(
        QllmError, match=r"^ptb: the items in hub FALcon6.*are not the known ones: expected test 1 items"
    ):
        source.splits(benchmark("ptb"), "")


def test_the_number_of_items_has_to_be_the_published_one(hub: Path, source: DataSource) -> None:
    add(hub, "flores200", {"en-zh/test-00000-of-00001.parquet": PAIRS})
    with pytest.raises(QllmError, match=r"^flores200: hub .* has 2 items in devtest, expected 1012$"):
        source.splits(benchmark("flores200"), "")


def test_a_card_says_which_files_are_which_split_of_a_subset(hub: Path, source: DataSource) -> None:
    rows = [{"question": "2 + 2?", "subject": "anatomy", "choices": ["3", "4", "5", "6"], "answer": 1}]
    files = {"test": "anatomy/test-*", "dev": "anatomy/dev-*", "validation": "anatomy/validation-*"}
    about = hub_copy.card({"anatomy": files, "law": {"test": "law/test-*"}})
    add(hub, "mmlu", {"README.md": about, "anatomy/test-0.parquet": rows, "anatomy/dev-0.parquet": rows})
    found = source.splits(benchmark("mmlu", "anatomy"), "anatomy")
    assert found is not None
    assert {split: list(data) for split, data in found.items()} == {"test": rows, "dev": rows}
    with pytest.raises(QllmError, match=r"^mmlu: hub cais/mmlu@c30699e8356d has no files for test of law here"):
        source.splits(benchmark("mmlu", "law"), "law")
    with pytest.raises(QllmError, match=r"^mmlu: the card of hub cais/mmlu@.* has no configuration 'chess'"):
        source.splits(benchmark("mmlu", "chess"), "chess")


def test_pairs_without_a_gold_label_are_no_items(
    hub: Path, source: DataSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted(monkeypatch, "snli", 1)
    rows = [
        {"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 0},
        {"premise": "A dog runs.", "hypothesis": "It is late.", "label": -1},
    ]
    about = hub_copy.card({"plain_text": {"test": "plain_text/test-*"}})
    add(hub, "snli", {"README.md": about, "plain_text/test-0.parquet": rows})
    found = source.splits(benchmark("snli"), "")
    assert found is not None
    assert list(found["test"]) == rows[:1]


def test_followbench_has_the_file_of_each_constraint(hub: Path, source: DataSource) -> None:
    one = {"example_id": 1, "category": "format", "source": "s", "level": 1, "instruction": "i", "target": "t"}
    import json

    add(hub, "followbench", {"data_en/mixed_constraints.json": json.dumps([one])})
    found = source.splits(benchmark("followbench"), "")
    assert found is not None
    assert list(found["train"]) == [{"constraint": "mixed", **one}]
