"""A packed row is, for each request, the arithmetic of a row of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.engine.packing import Encoded, Row, leading, pack, padded_batches, tree_mask

quick = settings(max_examples=100, deadline=None, derandomize=True)


@st.composite
def requests(draw: st.DrawFn) -> Encoded:
    """Few different tokens, so that requests often begin alike, are equal, or one is the other's beginning."""
    inputs = draw(st.lists(st.integers(1, 2), min_size=1, max_size=7))
    targets = draw(st.lists(st.integers(1, 2), min_size=1, max_size=len(inputs)))
    return Encoded(tuple(inputs), tuple(targets))


items = st.lists(requests(), min_size=1, max_size=4)
prefixes = st.lists(st.integers(1, 2), max_size=5).map(tuple)


def behind(prefix: tuple[int, ...], item: list[Encoded]) -> list[Encoded]:
    """The same requests with the prefix before them."""
    return [Encoded(prefix + request.inputs, request.targets) for request in item]


def visible(row: Row) -> torch.Tensor:
    """Which keys each token of the row sees, of the prefix first and then of the row; without a mask, by causality."""
    mask = tree_mask(row, torch.float32, "cpu")
    if mask is not None:
        return mask == 0
    assert not row.prefix
    return torch.ones(len(row.tokens), len(row.tokens), dtype=torch.bool).tril()


def shared_context() -> list[Encoded]:
    """A context of three tokens and two choices of two and one; the last token of each choice is only predicted."""
    return [Encoded((7, 8, 9, 1), (1, 2)), Encoded((7, 8, 9), (3,))]


def two_branches() -> list[Encoded]:
    return [Encoded((5, 6, 1, 2), (2, 9)), Encoded((5, 6, 3, 4), (4, 9))]


def test_the_shared_context_stands_once():
    assert pack(shared_context()) == Row(
        prefix=(),
        tokens=(7, 8, 9, 1),
        positions=(0, 1, 2, 3),
        shared=3,
        branches=((3, 4), (4, 4)),
        scored=((2, 3), (2,)),
        targets=((1, 2), (3,)),
    )


def test_a_prefix_stands_outside_and_positions_count_from_it():
    assert pack(shared_context(), (7, 8)) == Row(
        prefix=(7, 8),
        tokens=(9, 1),
        positions=(2, 3),
        shared=1,
        branches=((1, 2), (2, 2)),
        scored=((0, 1), (0,)),
        targets=((1, 2), (3,)),
    )


def test_the_mask_of_two_branches_by_hand():
    row = pack(two_branches())
    assert visible(row).int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert row.positions == (0, 1, 2, 3, 2, 3)


def test_the_mask_behind_a_prefix_by_hand():
    row = pack(two_branches(), (5,))
    assert visible(row).int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert row.positions == (1, 2, 3, 2, 3)


@pytest.mark.parametrize(
    ("item", "prefix", "needed"),
    [
        ([Encoded((1, 2, 3), (4,))], (), False),
        ([Encoded((1, 2, 3), (4,)), Encoded((1, 2, 3), (5,))], (), False),
        (shared_context(), (), False),
        (two_branches(), (), True),
        (shared_context(), (7,), True),
    ],
    ids=["one request", "letters", "one branch with tokens", "two branches", "a prefix"],
)
def test_there_is_a_mask_only_where_plain_causality_says_something_else(item, prefix, needed):
    assert (tree_mask(pack(item, prefix), torch.float32, "cpu") is not None) is needed


@quick
@given(items, prefixes)
def test_each_request_sees_the_tokens_and_positions_of_a_row_of_its_own(item, prefix):
    item = behind(prefix, item)
    row = pack(item, prefix)
    seen_by = visible(row)
    assert seen_by.shape == (len(row.tokens), len(prefix) + len(row.tokens))
    keys = [*enumerate(prefix), *zip(row.positions, row.tokens, strict=True)]
    assert row.prefix == prefix
    for request, places, targets in zip(item, row.scored, row.targets, strict=True):
        assert targets == request.targets
        assert len(places) == len(targets)
        first = len(request.inputs) - len(request.targets)
        for length, place in enumerate(places, start=first + 1):
            assert [keys[at] for at in seen_by[place].nonzero()[:, 0]] == list(enumerate(request.inputs[:length]))
            assert row.positions[place] == length - 1


@quick
@given(items, prefixes)
def test_every_token_of_a_row_sees_itself_and_nothing_later(item, prefix):
    """A token that saw nothing would be NaN; what is kept of a row is kept of all its tokens."""
    row = pack(behind(prefix, item), prefix)
    own = visible(row)[:, len(prefix) :]
    assert own.diagonal().all()
    assert not own.triu(1).any()
    assert visible(row)[:, : len(prefix)].all()


@quick
@given(items, prefixes)
def test_a_row_is_never_longer_than_its_requests_apart_nor_shorter_than_one(item, prefix):
    row = pack(behind(prefix, item), prefix)
    assert max(len(one.inputs) for one in item) <= len(row.tokens) <= sum(len(one.inputs) for one in item)
    assert row.shared <= min(len(one.inputs) for one in item)


@quick
@given(items, st.lists(st.integers(1, 2), min_size=1, max_size=5).map(tuple))
def test_a_prefix_that_does_not_fit_is_refused(item, prefix):
    """One that some request does not begin with, or of which a token is needed to score a request."""
    fits = all(
        one.inputs[: len(prefix)] == prefix and len(one.inputs) - len(one.targets) >= len(prefix) for one in item
    )
    if fits:
        assert pack(item, prefix).prefix == prefix
    else:
        with pytest.raises(ValueError, match=rf"begin with the prefix of {len(prefix)} tokens, unscored"):
            pack(item, prefix)


def test_the_output_of_the_last_token_of_a_prefix_is_not_there_to_be_scored():
    assert pack([Encoded((1, 2, 3), (4,))], (1, 2)).scored == ((0,),)
    with pytest.raises(ValueError, match="unscored"):
        pack([Encoded((1, 2, 3), (3, 4))], (1, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_mask_hides_with_the_lowest_number_of_its_dtype(dtype):
    mask = tree_mask(pack(two_branches()), dtype, "cpu")
    assert mask.dtype == dtype
    assert mask.unique().tolist() == [torch.finfo(dtype).min, 0]


class TestPaddedBatches:
    lengths = st.lists(st.integers(1, 100), max_size=60)

    @quick
    @given(lengths, st.integers(1, 300))
    def test_each_row_is_in_one_batch(self, lengths, budget):
        assert sorted(at for batch in padded_batches(lengths, budget) for at in batch) == list(range(len(lengths)))

    @quick
    @given(lengths, st.integers(1, 300))
    def test_they_stay_within_the_budget_but_for_a_row_that_alone_exceeds_it(self, lengths, budget):
        for batch in padded_batches(lengths, budget):
            padded = len(batch) * max(lengths[at] for at in batch)
            assert padded <= budget or len(batch) == 1

    @quick
    @given(lengths, st.integers(1, 300))
    def test_the_longest_come_first_and_equal_ones_in_their_order(self, lengths, budget):
        order = [at for batch in padded_batches(lengths, budget) for at in batch]
        assert order == sorted(order, key=lambda at: (-lengths[at], at))

    def test_a_batch_is_as_full_as_the_budget_allows(self):
        assert list(padded_batches([4, 4, 4, 4, 4], 8)) == [[0, 1], [2, 3], [4]]

    def test_no_rows_are_no_batches(self):
        assert list(padded_batches([], 100)) == []


class TestLeading:
    lengths = st.lists(st.integers(1, 100), min_size=1, max_size=60)

    @quick
    @given(lengths, st.integers(1, 300))
    def test_as_many_as_fit_and_one_in_any_case(self, lengths, budget):
        count = leading(lengths, budget)
        assert 1 <= count <= len(lengths)
        assert sum(lengths[:count]) <= budget or count == 1
        assert count == len(lengths) or sum(lengths[: count + 1]) > budget

    @pytest.mark.parametrize(("budget", "count"), [(3, 1), (4, 1), (7, 1), (8, 2), (12, 3), (99, 3)])
    def test_by_hand(self, budget, count):
        assert leading([4, 4, 4], budget) == count
