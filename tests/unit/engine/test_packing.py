"""A packed row is, for each request, the arithmetic of a row of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.engine.packing import Encoded, batches, pack, tree_mask

quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def requests(draw: st.DrawFn) -> Encoded:
    """Few different tokens, so that requests often begin alike, are equal, or one is the other's beginning."""
    inputs = draw(st.lists(st.integers(1, 2), min_size=1, max_size=7))
    targets = draw(st.lists(st.integers(1, 2), min_size=1, max_size=len(inputs)))
    return Encoded(tuple(inputs), tuple(targets))


items = st.lists(requests(), min_size=1, max_size=4)


def shared_context() -> list[Encoded]:
    """A context of three tokens and two choices of two and one; the last token of each choice is only predicted."""
    return [Encoded((7, 8, 9, 1), (1, 2)), Encoded((7, 8, 9), (3,))]


def test_the_shared_context_stands_once():
    row = pack(shared_context())
    assert row.tokens == (7, 8, 9, 1)
    assert row.positions == (0, 1, 2, 3)
    assert row.shared == 3
    assert row.branches == ((3, 4), (4, 4))
    assert row.scored == ((2, 3), (2,))
    assert row.targets == ((1, 2), (3,))


def test_the_mask_of_two_branches_by_hand():
    row = pack([Encoded((5, 1, 2), (2, 9)), Encoded((5, 3, 4), (4, 9))])
    visible = tree_mask([row], torch.float32, "cpu")[0, 0] == 0
    assert visible.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 1, 1],
    ]
    assert row.positions == (0, 1, 2, 1, 2)


@quick
@given(items)
def test_each_request_sees_the_tokens_and_positions_of_a_row_of_its_own(item):
    row = pack(item)
    visible = tree_mask([row], torch.float32, "cpu")[0, 0] == 0
    for request, places, targets in zip(item, row.scored, row.targets, strict=True):
        assert targets == request.targets
        assert len(places) == len(targets)
        first = len(request.inputs) - len(request.targets)
        for length, place in enumerate(places, start=first + 1):
            seen = visible[place].nonzero()[:, 0].tolist()
            assert [(row.positions[at], row.tokens[at]) for at in seen] == list(enumerate(request.inputs[:length]))
            assert row.positions[place] == length - 1


@quick
@given(items)
def test_a_row_is_never_longer_than_its_requests_apart(item):
    assert len(pack(item).tokens) <= sum(len(request.inputs) for request in item)


@quick
@given(st.lists(items, min_size=1, max_size=4))
def test_padding_and_the_other_rows_of_a_batch_change_nothing(batch):
    rows = [pack(item) for item in batch]
    together = tree_mask(rows, torch.float32, "cpu")
    length = max(len(row.tokens) for row in rows)
    assert together.shape == (len(rows), 1, length, length)
    for at, row in enumerate(rows):
        size = len(row.tokens)
        assert torch.equal(together[at, 0, :size, :size], tree_mask([row], torch.float32, "cpu")[0, 0])
        assert (together[at, 0, :size, size:] < 0).all(), "no token sees the padding"
        assert (together[at, 0].max(dim=1).values == 0).all(), "no place sees nothing at all, which would be NaN"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_hides_with_the_lowest_number_of_its_dtype(dtype):
    mask = tree_mask([pack(shared_context())], dtype, "cpu")
    assert mask.dtype == dtype
    assert mask.unique().tolist() == [torch.finfo(dtype).min, 0]
    assert torch.isfinite(mask).all()


class TestBatches:
    lengths = st.lists(st.integers(1, 100), max_size=60)

    @quick
    @given(lengths, st.integers(1, 300))
    def test_each_row_is_in_one_batch(self, lengths, budget):
        assert sorted(at for batch in batches(lengths, budget) for at in batch) == list(range(len(lengths)))

    @quick
    @given(lengths, st.integers(1, 300))
    def test_padded_batches_stay_within_the_budget_but_for_a_row_that_alone_exceeds_it(self, lengths, budget):
        for batch in batches(lengths, budget):
            padded = len(batch) * max(lengths[at] for at in batch)
            assert padded <= budget or len(batch) == 1

    @quick
    @given(lengths, st.integers(1, 300))
    def test_the_longest_come_first_and_equal_ones_in_their_order(self, lengths, budget):
        order = [at for batch in batches(lengths, budget) for at in batch]
        assert order == sorted(order, key=lambda at: (-lengths[at], at))

    def test_a_batch_is_as_full_as_the_budget_allows(self):
        assert list(batches([4, 4, 4, 4, 4], 8)) == [[0, 1], [2, 3], [4]]

    def test_no_rows_are_no_batches(self):
        assert list(batches([], 100)) == []
