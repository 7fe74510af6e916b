"""BLEU of translations into Chinese, whose words sacrebleu's default tokenizer does not find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sacrebleu


def scored_in_chinese(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Reference and translation, of which lm-eval makes scores of the corpus."""
    pair = (document["sentence_zho_Hans"], results[0])
    return {"bleu_zh": pair, "chrf": pair}


def bleu_zh(items: Sequence[tuple[str, str]]) -> float:
    """BLEU of the corpus, 0 to 100, with the tokenizer for Chinese (Post, 2018)."""
    references, translations = zip(*items, strict=True)
    return float(sacrebleu.corpus_bleu(list(translations), [list(references)], tokenize="zh").score)
