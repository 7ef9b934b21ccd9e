"""Which tokens carry loss, and what becomes of rows that are too long or cannot be rendered."""

import pytest

from accord.data.account import Account
from accord.data.examples import (
    chat_example,
    fitted,
    label_example,
    opening_ids,
    pair_example,
)
from accord.data.packing import collate
from accord.data.rows import ChatRow, LabelRow, PairRow
from accord.errors import AccordError
from accord.text.chat import render
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

PROMPT = (Message("user", "Where is the fox?"),)
ANSWER = (Message("assistant", "By the river."),)
TWO_TURNS = (*PROMPT, *ANSWER, Message("user", "And the crow?"))


def scored(example_ids: list[int], tokenizer: Tokenizer) -> str:
    return tokenizer.decode(example_ids)


def test_the_loss_is_on_the_last_response_and_its_end_alone(tokenizer: Tokenizer) -> None:
    row = ChatRow(prompt=TWO_TURNS, completion=(Message("assistant", "In the garden."),))
    last = collate([chat_example(row, tokenizer, None, "last")])
    every = collate([chat_example(row, tokenizer, None, "all")])
    assert scored(last.target_S.tolist(), tokenizer) == "In the garden.<|im_end|>"
    assert (
        scored(every.target_S.tolist(), tokenizer)
        == "By the river.<|im_end|>In the garden.<|im_end|>"
    )


def test_plain_text_is_scored_whole_with_the_end_token(tokenizer: Tokenizer) -> None:
    row = ChatRow(prompt=(), completion=(Message("text", "A warm film."),))
    batch = collate([chat_example(row, tokenizer, None, "last")])
    assert batch.target_S.tolist() == [*tokenizer.encode("A warm film."), tokenizer.end_id]
    assert batch.ids_N.tolist() == [tokenizer.start_id, *tokenizer.encode("A warm film.")]


def test_both_sides_of_a_pair_follow_the_same_prompt(tokenizer: Tokenizer) -> None:
    row = PairRow(prompt=TWO_TURNS, chosen=ANSWER, rejected=(Message("assistant", "No."),))
    example = pair_example(row, tokenizer, None)
    for response, side in zip(example.responses, (row.chosen, row.rejected), strict=True):
        rendered = render((*TWO_TURNS, *side), tokenizer)
        assert [*example.prompt, *response.ids] == rendered.ids
        assert [*(False,) * len(example.prompt), *response.mask] == rendered.mask


FOLLOWED = (*ANSWER, Message("user", "And now?"), Message("assistant", "Asleep."))


def trained(tokenizer: Tokenizer, response) -> str:
    return tokenizer.decode([i for i, m in zip(response.ids, response.mask, strict=True) if m])


@pytest.mark.parametrize(
    ("train_on", "said"),
    [("last", "Asleep.<|im_end|>"), ("all", "By the river.<|im_end|>Asleep.<|im_end|>")],
)
def test_all_turns_of_an_answer_carry_loss_only_where_asked(
    tokenizer: Tokenizer, train_on, said: str
) -> None:
    """The shared prompt holds an assistant's turn too, which is never trained on."""
    asked = (Message("user", "Hi."), Message("assistant", "Hello."), *PROMPT)
    worse = (Message("assistant", "No."),)
    pair = PairRow(prompt=asked, chosen=FOLLOWED, rejected=worse)
    example = pair_example(pair, tokenizer, None, train_on)
    assert [trained(tokenizer, side) for side in example.responses] == [said, "No.<|im_end|>"]
    label = LabelRow(prompt=asked, completion=FOLLOWED, label=True)
    alone = label_example(label, tokenizer, None, train_on)
    assert (alone.prompt, alone.responses) == (example.prompt, example.responses[:1])
    assert alone.row_id == label.id


@pytest.mark.parametrize("train_on", ["last", "all"])
def test_answers_that_begin_with_the_users_turn_are_rendered_whole(
    tokenizer: Tokenizer, train_on
) -> None:
    sides = [
        (Message("user", text), Message("assistant", "Well."), *FOLLOWED[1:])
        for text in ("Why?", "How?")
    ]
    prompt = (*PROMPT, *ANSWER)
    example = pair_example(
        PairRow(prompt=prompt, chosen=sides[0], rejected=sides[1]), tokenizer, None, train_on
    )
    said = "Asleep.<|im_end|>" if train_on == "last" else "Well.<|im_end|>Asleep.<|im_end|>"
    for response, side in zip(example.responses, sides, strict=True):
        whole = render((*prompt, *side), tokenizer)
        assert [*example.prompt, *response.ids] == whole.ids
        assert trained(tokenizer, response) == said


def test_a_pair_of_texts_starts_with_the_start_token(tokenizer: Tokenizer) -> None:
    row = PairRow(
        prompt=(), chosen=(Message("text", "Good."),), rejected=(Message("text", "Bad."),)
    )
    example = pair_example(row, tokenizer, None)
    assert example.prompt == (tokenizer.start_id,)
    assert example.responses[1].ids == (*tokenizer.encode("Bad."), tokenizer.end_id)


def test_an_answer_to_nothing_is_refused_with_its_place(tokenizer: Tokenizer) -> None:
    row = PairRow(prompt=(), chosen=ANSWER, rejected=PROMPT, where="pairs.jsonl:7")
    with pytest.raises(AccordError, match=r"no message\n  where: pairs.jsonl:7\n  fix:   drop"):
        pair_example(row, tokenizer, None)


def test_a_role_without_a_place_in_the_template_is_named_with_its_row(
    tokenizer: Tokenizer,
) -> None:
    row = ChatRow(prompt=(Message("critic", "Hm."),), completion=ANSWER, where="chats.jsonl:3")
    with pytest.raises(AccordError, match=r"no place for role 'critic'\n  where: chats.jsonl:3"):
        chat_example(row, tokenizer, None, "last")


def test_what_does_not_fit_is_cut_or_left_out_and_counted(tokenizer: Tokenizer) -> None:
    texts = ["short", "a response that is longer than there is room for", "short too"]
    rows = [
        ChatRow(prompt=PROMPT, completion=(Message("assistant", t),), source="s") for t in texts
    ]
    rows.append(ChatRow(prompt=TWO_TURNS * 3, completion=ANSWER, source="s"))
    account = Account()
    account.kept("s", len(rows))
    examples = [chat_example(row, tokenizer, None, "last") for row in rows]
    room = examples[0].length + 6
    kept = fitted(rows, examples, room, account)
    assert [example.row_id for example in kept] == [row.id for row in rows[:3]]
    assert all(example.length <= room for example in kept)
    assert kept[1].responses[0].ids == examples[1].responses[0].ids[: room - len(kept[1].prompt)]
    assert account.to_json()["s"] == {
        "kept": 3,
        "dropped": {f"no response token within {room} tokens": 1},
        "truncated": {f"longer than {room} tokens": 1},
    }


def test_a_chat_opens_as_its_answered_form_begins(tokenizer: Tokenizer) -> None:
    opened = opening_ids(TWO_TURNS, "assistant", tokenizer, None)
    assert render((*TWO_TURNS, *ANSWER), tokenizer).ids[: len(opened)] == opened
