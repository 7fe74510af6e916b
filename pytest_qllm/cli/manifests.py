"""`pytest-qllm manifest`: say that the items in a folder are the ones that are meant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

Commands = Any
"""argparse's action that adds commands; its type has no public name."""


def add_commands(commands: Commands) -> None:
    """The command ``manifest``."""
    manifest = commands.add_parser("manifest", help="write which items a folder of data has, for --qllm-data DIR")
    manifest.add_argument("folder", type=Path, nargs="+", help="DIR/NAME of a data set")
    manifest.add_argument("--source", default="", help="where the items are from, for people")
    manifest.add_argument("--licence", default="", help="their licence")
    manifest.set_defaults(run=_manifest)


def _manifest(options: argparse.Namespace) -> int:
    from pytest_qllm.benchmarks.data import manifest
    from pytest_qllm.benchmarks.data.source import items_in

    for folder in options.folder:
        made = manifest.Manifest(options.source or str(folder), options.licence, items_in(folder))
        manifest.write_own(folder, made)
        splits = dict.fromkeys(split for by_split in made.subsets.values() for split in by_split)
        counts = ", ".join(f"{split} {made.count(split)}" for split in splits)
        print(f"{folder / manifest.FILE}: {counts}")
    return 0
