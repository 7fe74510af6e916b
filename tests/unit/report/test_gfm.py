"""Foreign text in Markdown: read as it is, and as nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import HOSTILE
from markdown_it import MarkdownIt

from pytest_qllm.report.gfm import LONGEST, block, clip, code, table
from pytest_qllm.report.style import printable

PARSER = MarkdownIt("commonmark").enable("table")

texts = st.sampled_from(HOSTILE) | st.text(max_size=60)


def inline(text: str) -> list[str]:
    """Types of the tokens of a text in a cell."""
    tokens = PARSER.parse(table(["a", "b"], [[text, "end"]]))
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert [cell.content for cell in cells][1:] == ["end"], "the text has made another cell or row"
    return [f"{child.type} {child.content}" for child in cells[0].children or []]


@given(texts)
def test_in_a_cell_it_is_code_and_nothing_else(text: str) -> None:
    shown = printable(" ".join(text.split()))
    tokens = inline(code(text))
    if not shown:
        assert tokens == []
    elif code(text).startswith("`"):
        assert tokens == [f"code_inline {shown}"]
    else:
        assert (tokens[0], tokens[-1]) == ("html_inline <code>", "html_inline </code>")
        inner = [token.partition(" ") for token in tokens[1:-1]]
        assert {kind for kind, _, _ in inner} <= {"text", "text_special"}
        assert "".join(content for _, _, content in inner) == shown


@pytest.mark.parametrize("text", ["arc_easy", "/models/my model", "bnb-nf4", "a [b](c) *d* #12"])
def test_harmless_text_stays_readable(text: str) -> None:
    assert code(text) == f"`{text}`"


@pytest.mark.parametrize("text", ["a|b", "`", "<b>", "@team", "a\\", "$x$", "&amp;"])
def test_what_could_be_markup_is_an_entity(text: str) -> None:
    shown = code(text).removeprefix("<code>").removesuffix("</code>")
    assert not set("|`<>@\\$") & set(shown)


@given(st.lists(texts, min_size=1, max_size=4).map("\n".join))
def test_a_fence_holds_what_is_in_it(text: str) -> None:
    tokens = PARSER.parse(f"{block(text)}\n\nend\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content.splitlines() == [printable(line) for line in text.splitlines()]


def test_long_text_is_cut_in_words() -> None:
    assert clip("a" * (LONGEST + 5)) == f"{'a' * LONGEST}... (5 more characters)"
    assert clip("a" * LONGEST) == "a" * LONGEST


def test_what_turns_or_hides_text_is_written_out() -> None:
    assert printable("a\u202eb\x1b[31m") == "a\\u202eb\\x1b[31m"
