"""The split: a row's side is a function of what it says, and nobody is examined on homework."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.data import HeldoutConfig
from accord.data.rows import ChatRow, PairRow, TextRow
from accord.data.split import content_key, is_heldout, split
from accord.text.messages import Message

HALF = HeldoutConfig(fraction=0.5)
TEXTS = st.lists(st.text(max_size=8), max_size=30, unique=True)


def said(text):
    return (Message("text", text),)


@settings(deadline=None, max_examples=60)
@given(TEXTS, TEXTS, st.randoms())
def test_sides_stay_when_rows_are_added_or_reordered(texts, more, random) -> None:
    before = {row.text for row in split(map(TextRow, texts), HALF)[1]}
    shuffled = [TextRow(text) for text in (*texts, *more)]
    random.shuffle(shuffled)
    train, held = split(shuffled, HALF)
    assert {row.text for row in held} & set(texts) == before
    assert sorted(r.text for r in (*train, *held)) == sorted((*texts, *more))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from("abcdef"))))
def test_a_group_is_never_parted(rows) -> None:
    train, held = split([TextRow(text, group=group) for text, group in rows], HALF)
    assert {row.group for row in train}.isdisjoint({row.group for row in held})


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=20))
def test_one_text_has_one_side_in_every_stage(text) -> None:
    sides = {
        is_heldout(row, HALF)
        for row in (
            TextRow(text),
            TextRow(f"  {text.upper().lower()}\n"),
            ChatRow((), said(text)),
            PairRow((), said(text), said("worse")),
        )
        if content_key(row) == content_key(TextRow(text))
    }
    assert len(sides) == 1


def test_the_fraction_is_kept_and_the_salt_matters() -> None:
    rows = [TextRow(f"text {n}") for n in range(4000)]
    held = split(rows, HeldoutConfig(fraction=0.1))[1]
    # 400 expected, standard deviation 19
    assert 320 < len(held) < 480
    assert split(rows, HeldoutConfig(fraction=0.0))[1] == []
    other = split(rows, HeldoutConfig(fraction=0.1, salt="other"))[1]
    assert {r.id for r in other} != {r.id for r in held}


def test_a_larger_fraction_holds_out_the_same_rows_and_more() -> None:
    rows = [TextRow(f"text {n}") for n in range(300)]
    small = {r.id for r in split(rows, HeldoutConfig(fraction=0.1))[1]}
    assert small < {r.id for r in split(rows, HeldoutConfig(fraction=0.3))[1]}


ASKED = HeldoutConfig(fraction=0, prompts=("Odd one out?\n\nCat, dog",))


@pytest.mark.parametrize(
    ("prompt", "held"),
    [
        ((Message("user", "  odd ONE out?\ncat,\tdog "),), True),
        ((Message("system", "Be brief."), Message("user", "Odd one out? Cat, dog")), True),
        ((Message("user", "Odd one out? Cat, dog, elm"),), False),
        ((Message("assistant", "Odd one out? Cat, dog"), Message("user", "yes")), False),
        ((), False),
    ],
)
def test_rows_that_ask_an_evaluation_prompt_are_held_out_whatever_their_hash(prompt, held) -> None:
    answer = (Message("assistant", "dog"),)
    assert is_heldout(ChatRow(prompt, answer, group="g"), ASKED) is held
    assert is_heldout(PairRow(prompt, answer, said("cat")), ASKED) is held
    assert is_heldout(TextRow("Odd one out? Cat, dog"), ASKED) is False


def test_a_held_out_prompt_moves_no_other_row() -> None:
    rows = [TextRow(f"text {n}") for n in range(200)]
    more = HeldoutConfig(fraction=0.5, prompts=("text 3",))
    assert split(rows, more) == split(rows, HALF)
