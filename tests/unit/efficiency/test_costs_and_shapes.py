"""What can be measured, and how a shape is written."""

from __future__ import annotations

import pytest

from pytest_qllm.efficiency.costs import BYTES, COSTS, PAPER, UNITS, Shape, cost
from pytest_qllm.errors import QllmError


def test_every_cost_is_found_by_its_name_and_says_what_it_is():
    assert [cost(one.name) for one in COSTS] == list(COSTS)
    assert all(one.unit in UNITS and one.what for one in COSTS)
    assert [one.name for one in COSTS if not one.is_timed] == [one.name for one in COSTS if one.unit == BYTES]


def test_another_name_lists_those_that_there_are():
    with pytest.raises(QllmError, match="unknown cost 'decode_speed'; known costs: decode_time, prefill_time"):
        cost("decode_speed")


@pytest.mark.parametrize(("batch", "title"), [(1, "decode_time"), (8, "decode_time_batch8")])
def test_a_batch_of_its_own_has_a_name_of_its_own(batch, title):
    assert cost("decode_time").title(batch) == title


def test_the_paper_s_shape():
    assert Shape.parse("256x512") == PAPER
    assert str(PAPER) == "256x512"


@pytest.mark.parametrize(
    "text", ["", "256", "256x", "x512", "0x512", "256x7", "256 x 512", "-1x512", "256x512x1", "axb"]
)
def test_what_is_no_shape_is_refused(text):
    with pytest.raises(QllmError, match="expected tokens of the prompt x generated tokens, such as 256x512"):
        Shape.parse(text)
