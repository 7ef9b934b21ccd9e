"""Packing: the shift happens once, nobody sees a neighbour, nothing scored is lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accord.data.batch import Layout
from accord.data.packing import Blocks, Example, Response, collate, fit, split_mask

END = 9


def visible(layout: Layout, tokens: int) -> np.ndarray:
    """Who sees whom on the stream, by the rule of Layout, token by token."""
    sees = np.zeros((tokens, tokens), dtype=bool)
    for grid, segment, parent in zip(
        layout.grid_GT.tolist(), layout.segment_GT.tolist(), layout.parent_GT.tolist(), strict=True
    ):
        for i, query in enumerate(grid):
            for j, key in enumerate(grid[: i + 1]):
                if query >= 0 and key >= 0 and segment[j] in (segment[i], parent[i]):
                    sees[query, key] = True
    return sees


def whole(ids: tuple[int, ...]) -> Response:
    return Response(ids, (True,) * len(ids))


def test_blocks_shift_once_and_open_a_segment_at_each_document() -> None:
    blocks = Blocks.of([[1, 2], [3, 4, 5]], start_id=END, end_id=END, length=4)
    # stream: 9 1 2 | 9 3 4 5 | 9
    assert blocks.tokens.tolist() == [9, 1, 2, 9, 3, 4, 5, 9]
    assert (len(blocks), blocks.remainder) == (1, 3)
    batch = blocks.collate([0])
    assert batch.ids_N.tolist() == [9, 1, 2, 9]
    assert batch.target_S.tolist() == [1, 2, 9, 3]
    assert batch.position_N.tolist() == [0, 1, 2, 0]
    sees = visible(batch.layout, 4)
    assert sees.tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [False, False, False, True],
    ]


def test_blocks_with_a_start_token_of_their_own_do_not_predict_it() -> None:
    blocks = Blocks.of([[1], [2]], start_id=8, end_id=END, length=6)
    batch = blocks.collate([0])
    assert batch.ids_N.tolist() == [8, 1, 9, 8, 2, 9]
    assert batch.predict_S.tolist() == [0, 1, 3, 4]
    assert batch.target_S.tolist() == [1, 9, 2, 9]


documents = st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=7), min_size=1, max_size=8)


@given(documents, st.integers(2, 9))
def test_no_token_of_a_block_sees_another_document(docs: list[list[int]], length: int) -> None:
    blocks = Blocks.of(docs, END, END, length)
    document_of = np.cumsum(blocks.opens) - 1
    for row in range(len(blocks)):
        batch = blocks.collate([row])
        sees = visible(batch.layout, length)
        here = document_of[row * length : (row + 1) * length]
        causal = np.tril(np.ones((length, length), dtype=bool))
        assert (sees == (causal & (here[:, None] == here[None, :]))).all()


@given(documents, st.integers(2, 9))
def test_blocks_score_every_token_but_the_remainder_once(
    docs: list[list[int]], length: int
) -> None:
    blocks = Blocks.of(docs, END, END, length)
    scored = [t for row in range(len(blocks)) for t in blocks.collate([row]).target_S.tolist()]
    total = sum(len(doc) + 1 for doc in docs)
    assert len(scored) + blocks.remainder == total
    assert scored == blocks.tokens[1 : len(scored) + 1].tolist()


def test_a_pair_shares_its_prompt_and_rejected_cannot_see_chosen() -> None:
    pair = Example((9, 1), (whole((2, 3, 9)), whole((4, 9))), "pair", (-1.0, -2.0), 0.5)
    batch = collate([pair])
    assert batch.ids_N.tolist() == [9, 1, 2, 3, 4]
    assert batch.position_N.tolist() == [0, 1, 2, 3, 2]
    # the prompt's last token predicts both first tokens
    assert batch.predict_S.tolist() == [1, 2, 3, 1, 4]
    assert batch.target_S.tolist() == [2, 3, 9, 4, 9]
    assert batch.sequence_S.tolist() == [0, 0, 0, 1, 1]
    assert batch.sequences == 2
    assert batch.reference_R is not None and batch.reference_R.tolist() == [-1.0, -2.0]
    assert batch.margin_P is not None and batch.margin_P.tolist() == [0.5]
    sees = visible(batch.layout, 5)
    assert sees[4].tolist() == [True, True, False, False, True]
    assert sees[3].tolist() == [True, True, True, True, False]


tokens = st.integers(0, 8)
examples = st.lists(
    st.builds(
        Example,
        st.lists(tokens, min_size=1, max_size=4).map(tuple),
        st.lists(
            st.lists(st.tuples(tokens, st.booleans()), min_size=1, max_size=5).map(
                lambda pairs: Response(tuple(t for t, _ in pairs), tuple(m for _, m in pairs))
            ),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    min_size=1,
    max_size=6,
)


@given(examples)
def test_each_response_reads_exactly_what_it_would_read_alone(rows: list[Example]) -> None:
    batch = collate(rows)
    ids, sees = batch.ids_N.numpy(), visible(batch.layout, len(batch.ids_N))
    scored = iter(
        zip(
            batch.predict_S.tolist(),
            batch.target_S.tolist(),
            batch.sequence_S.tolist(),
            strict=True,
        )
    )
    number = -1
    for example in rows:
        for response in example.responses:
            number += 1
            conversation = (*example.prompt, *response.ids)
            for i, wanted in enumerate(response.mask):
                if not wanted:
                    continue
                predict, target, sequence = next(scored)
                at = len(example.prompt) + i
                assert (target, sequence) == (conversation[at], number)
                seen = sees[predict]
                # what the predicting state sees is the conversation so far, in order of position
                order = np.argsort(batch.position_N.numpy()[seen], kind="stable")
                assert tuple(ids[seen][order]) == conversation[:at]
    assert next(scored, None) is None


def test_fit_cuts_responses_and_refuses_what_would_lose_all_its_loss() -> None:
    example = Example((1, 2, 3), (whole((4, 5, 6)), whole((7,))))
    cut = fit(example, 5)
    assert cut is not None
    assert [response.ids for response in cut.responses] == [(4, 5), (7,)]
    assert fit(example, 3) is None
    late = Example((1,), (Response((2, 3, 4), (False, False, True)),))
    assert fit(late, 3) is None


def test_split_mask_keeps_at_least_one_prompt_token() -> None:
    assert split_mask([1, 2, 3], [False, True, True]) == ((1,), whole((2, 3)))
    assert split_mask([1, 2, 3], [False, True, False])[1].mask == (True, False)
