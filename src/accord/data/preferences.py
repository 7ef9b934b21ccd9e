"""Columns of preference data to the parts of a row: pairs of answers, and labelled answers."""

from collections.abc import Mapping

from accord.data.adapters import (
    Parts,
    alpaca_row,
    instruction,
    messages_row,
    prompt_completion_row,
    sharegpt_row,
)
from accord.data.cells import Columns, RowFault, filled, label_of, margin_of
from accord.data.turns import (
    answer,
    as_turns,
    asked,
    checked,
    conversation,
    together,
    turn_of,
    with_system,
)
from accord.text.messages import Message, Messages

NO_PROMPT = "fill it in; answers to nothing are written without the column"


def label_row(row: Columns) -> Parts:
    """`prompt, completion, label`: an answer and whether it is wanted."""
    parts = prompt_completion_row(row)
    if not parts["prompt"]:
        raise RowFault("'prompt' is empty", "fill it in, or leave the row out")
    return parts | {"label": label_of(row)}


def labelled_messages(row: Columns) -> Parts:
    """`messages, label`: whether the last assistant turn is wanted."""
    return messages_row(row) | {"label": label_of(row)}


def labelled_sharegpt(row: Columns) -> Parts:
    """`conversations, label`: the same, of ShareGPT turns."""
    return sharegpt_row(row) | {"label": label_of(row)}


def labelled_alpaca(row: Columns) -> Parts:
    """`instruction, input, output, label`: the same, of Alpaca columns."""
    return alpaca_row(row) | {"label": label_of(row)}


def pair_row(row: Columns) -> Parts:
    """`prompt, chosen, rejected`; where both sides repeat the prompt it is taken from them."""
    chosen, rejected = _sides(row)
    shared = _shared(chosen, rejected)
    if not shared:
        parts = together(row, {"chosen": chosen, "rejected": rejected})
        if not any(message.content.strip() for message in parts["prompt"]):
            raise RowFault("'prompt' is empty", NO_PROMPT)
        return _pair(row, parts["prompt"], parts["chosen"], parts["rejected"])
    question = asked(row)
    if question and question[-1].content.strip() not in _joined(shared):
        raise RowFault(
            "'prompt' differs from the turns that 'chosen' and 'rejected' begin with",
            "mend the row, or take those turns for all: "
            "fields: {chosen: chosen, rejected: rejected}",
        )
    return _pair(row, shared, chosen[len(shared) :], rejected[len(shared) :])


def implicit_pair_row(row: Columns) -> Parts:
    """`chosen, rejected`: the turns both begin with are the prompt (also as transcripts)."""
    chosen, rejected = _sides(row)
    shared = _shared(chosen, rejected)
    if not shared and chosen[0].role == rejected[0].role == "assistant":
        raise RowFault(
            "'chosen' and 'rejected' share no turn that could be the prompt",
            "begin both with the prompt's turns, or give it a column: prompt",
        )
    return _pair(row, shared, chosen[len(shared) :], rejected[len(shared) :])


def question_pair_row(row: Columns) -> Parts:
    """`system, question, chosen, rejected` (orca_dpo_pairs)."""
    return _answered_pair(row, filled(row, "question"))


def instruction_pair_row(row: Columns) -> Parts:
    """`instruction, input, chosen, rejected` (Alpaca pairs, Argilla)."""
    return _answered_pair(row, instruction(row))


def input_pair_row(row: Columns) -> Parts:
    """`system, input, chosen, rejected` (distilabel, multifaceted for reward models)."""
    return _answered_pair(row, filled(row, "input"))


def sharegpt_pair(row: Columns) -> Parts:
    """`conversations, chosen, rejected`: ShareGPT turns and two answers to the last."""
    chosen, rejected = (
        checked((turn_of(row[side], side),), side)
        if isinstance(row[side], Mapping)
        else as_turns(answer(row[side], side), "assistant")
        for side in ("chosen", "rejected")
    )
    return _pair(row, conversation(row["conversations"], "conversations"), chosen, rejected)


def _answered_pair(row: Columns, question: str) -> Parts:
    """A question and two answers, which may repeat it as turns."""
    chosen, rejected = (as_turns(side, "assistant") for side in _sides(row))
    shared = _shared(chosen, rejected)
    prompt = shared or (Message("user", question),)
    return _pair(row, prompt, chosen[len(shared) :], rejected[len(shared) :])


def _pair(row: Columns, prompt: Messages, chosen: Messages, rejected: Messages) -> Parts:
    """The parts of a pair; both sides have to begin with an answer."""
    for side in (chosen, rejected):
        if side[0].role not in ("assistant", "text"):
            raise RowFault(
                f"'chosen' and 'rejected' part at the {side[0].role}'s turn: "
                "they do not answer the same prompt",
                "let them share every turn before the answers",
            )
    parts = {"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": margin_of(row)}
    return with_system(row, parts)


def _sides(row: Columns) -> tuple[Messages, Messages]:
    chosen, rejected = (answer(row[side], side) for side in ("chosen", "rejected"))
    if (chosen[0].role == "text") != (rejected[0].role == "text"):
        raise RowFault(
            "one of 'chosen' and 'rejected' is messages and the other a string",
            "write both alike",
        )
    return chosen, rejected


def _shared(chosen: Messages, rejected: Messages) -> Messages:
    """The turns both conversations begin with; never the whole of one."""
    count = 0
    for left, right in zip(chosen[:-1], rejected[:-1], strict=False):
        if left != right:
            break
        count += 1
    return chosen[:count]


def _joined(messages: Messages) -> str:
    return "\n".join(message.content for message in messages)
