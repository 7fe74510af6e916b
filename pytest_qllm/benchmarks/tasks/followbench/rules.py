"""FollowBench's constraints that need no judge: the checks that its authors define for single sources of instructions.

Jiang et al., "FollowBench: A Multi-level Fine-grained Constraints Following Benchmark" (arXiv 2310.20410), with the
rules of https://github.com/YJiangcm/FollowBench at 6278f4c. They are kept as they are there, so that scores compare,
even where an instruction says something else; docs/reference/benchmarks.md names those. White space around an answer
does not count.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Mapping, Sequence

Check = Callable[[str], bool]
Comparison = Callable[[str, str], bool]


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"[.!?]", text) if part]


def _has(word: str) -> Check:
    pattern = re.compile(rf"\b{re.escape(word)}\b")
    return lambda text: pattern.search(text) is not None


def _has_not(word: str) -> Check:
    return lambda text: not _has(word)(text)


def _sentence_count(count: int) -> Check:
    return lambda text: len(_sentences(text)) == count


def _every_sentence(fits: Callable[[int], bool]) -> Check:
    """Of words in it."""
    return lambda text: all(fits(len(sentence.split())) for sentence in _sentences(text))


def _sentence(number: int, check: Check) -> Check:
    """Of the sentence with that number, from 1, which has to be there."""
    return lambda text: len(_sentences(text)) >= number and check(_sentences(text)[number - 1])


def _words(fits: Callable[[int], bool]) -> Check:
    return lambda text: fits(len(text.split(" ")))


def _all(*checks: Check) -> Check:
    return lambda text: all(check(text) for check in checks)


def _matches(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> Check:
    return lambda text: re.search(pattern, text, flags) is not None


def _punctuation(text: str) -> int:
    return sum(character in string.punctuation for character in text)


def _avoids_in(number: int, word: str) -> Check:
    return lambda text: not _sentence(number, _has(word))(text)


# Levels add one constraint each: at level n the first n have to hold.
LEVELS: Mapping[str, Sequence[Check]] = {
    "cnn_dailymail": (
        _sentence_count(3),
        _every_sentence(lambda words: words < 15),
        _all(_sentence(1, _has("Potter")), _sentence(2, _has("actor")), _sentence(3, _has("films"))),
        _avoids_in(2, "lavish"),
        _sentence(3, _matches(r"\b(has|have)\s+\w+")),
    ),
    "xsum": (
        _sentence_count(1),
        _words(lambda words: words < 20),
        _has_not("Newton Stewart"),
        _matches(r"\b(am|is|are)\s+\w+ing\b"),
        _has("operation"),
    ),
    "samsum": (
        _sentence_count(1),
        _words(lambda words: words < 15),
        _has("stuff"),
        lambda text: "procrast" not in text.lower(),
        lambda text: _punctuation(text) == 1,
    ),
    "gigaword": (
        _words(lambda words: words == 8),
        lambda text: _punctuation(text) == 0,
        str.islower,
        _has_not("bus"),
        _has("in"),
    ),
    "arxiv": (
        _sentence_count(1),
        _words(lambda words: words <= 20),
        lambda text: text.startswith("We"),
        _has("activations"),
        _has_not("transformer"),
    ),
}


def _last(pattern: str) -> Comparison:
    """The last of what the answer has of that form is the target."""

    def check(text: str, target: str) -> bool:
        found = re.findall(pattern, text)
        return bool(found) and found[-1] == target

    return check


def _equal(text: str, target: str) -> bool:
    return text == target


# Levels change the question: each has an answer of its own.
TARGETS: Mapping[str, Comparison] = {
    "E2E": _equal,
    "text_editing": _equal,
    "WIKIEVENTS": lambda text, target: set(text.split("\n")) <= set(target.split("\n")),
    "CONLL2003": lambda text, target: text in ast.literal_eval(target),
    "BBH_logical": _last(r"\([A-Z]\)"),
    "BBH_time": _last(r"\d{2}/\d{2}/\d{4}"),
    "gsm_8k": _last(r"\$\d+"),
    "self_made_space": lambda text, target: target in text,
}


def _three_paragraphs(text: str, level: int) -> bool:
    """Format example 22; at its last level a closing line makes it four."""
    paragraphs = text.split("\n\n")
    if len(paragraphs) != (3 if level < 5 else 4):
        return False
    checks = [
        all(len(_sentences(paragraph)) < 3 for paragraph in paragraphs[:3]),
        _every_sentence(lambda words: words > 20)(text),
        all(re.match(r"\d+\.", one.lstrip()) for one in paragraphs if one.strip()),
        text.endswith("Those are suggestions"),
    ]
    return all(checks[: level - 1])


def _five_points(text: str, level: int) -> bool:
    """Format example 30."""
    sentences = re.split(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?)\s", text)
    numbered = [one for one in sentences if any(f"{number}." in one for number in range(1, 6))]
    checks = [
        "**" in text,
        len(re.findall(r"\*\*[\d].+?:", text)) == 5,
        all(len(one.split(".")) < 3 for one in numbered),
        all(10 <= len(one.split()) <= 15 for one in sentences),
        not any(word.endswith("-ly") for word in text.split()),
    ]
    return all(checks[:level])


FORMATS: Mapping[int, Callable[[str, int], bool]] = {22: _three_paragraphs, 30: _five_points}


def _follows_pattern(text: str, template: str) -> bool:
    """Whether an answer is written as those of the examples before it; what it says does not count.

    ``template`` is such as ``{instruction}\\nBOT: {answer}``, with braces that are meant doubled.
    """
    template = template.replace("{instruction}\n", "").replace("{{", "{").replace("}}", "}")
    pattern = ".*".join(re.escape(part) for part in template.split("{answer}"))
    return re.fullmatch(pattern, text) is not None


def is_by_rule(kind: str, source: str, example: int) -> bool:
    """Whether an instruction's constraints are checked by a rule, and not by a judge."""
    return kind == "example" or source in LEVELS or source in TARGETS or (kind == "format" and example in FORMATS)


def is_satisfied(answer: str, *, kind: str, source: str, example: int, level: int, target: str) -> bool:
    """Whether an answer satisfies all constraints of an instruction that has a rule.

    Raises:
        KeyError: if it has none.
    """
    text = answer.strip()
    if kind == "example":
        return _follows_pattern(text, target)
    if source in LEVELS:
        return all(check(text) for check in LEVELS[source][:level])
    if source in TARGETS:
        return TARGETS[source](text, target)
    return FORMATS[example](text, level)
