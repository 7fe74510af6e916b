"""Whether an answer is the right one but for capitals, spaces, and signs around it."""

from __future__ import annotations

import unicodedata
from typing import Any

_AROUND = (" ", *"\t\n.,:;!?\"'`*_()[]{}", *"\u201c\u201d\u2018\u2019\u00ab\u00bb\u3002")
"""Signs that may stand around an answer, quotation marks among them."""


def normalized(text: object) -> str:
    """Lower case, one space between words, no signs at the ends: ``"  The  Hague. "`` is ``the hague``."""
    return " ".join(unicodedata.normalize("NFKC", str(text)).casefold().split()).strip("".join(_AROUND))


def match(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """1.0 where the answer is one of the document's."""
    right = document["answer"]
    answers = right if isinstance(right, list) else [right]
    return {"exact_match": float(normalized(results[0]) in [normalized(one) for one in answers])}
