"""Columns of texts and conversations to the parts of a row, one function a convention.

The pairs and labelled answers of preference data are in `preferences`.
"""

from typing import Any

from accord.data.cells import Columns, RowFault, filled, kind_of, string
from accord.data.turns import (
    answer,
    asked,
    conversation,
    last_answered,
    together,
    with_system,
)
from accord.text.messages import Message, Messages

Parts = dict[str, Any]


def text_row(row: Columns) -> Parts:
    """`text`: a document."""
    return {"text": filled(row, "text")}


def messages_row(row: Columns) -> Parts:
    """`messages`: the last assistant turn answers all that goes before."""
    turns = conversation(row["messages"], "messages")
    return with_system(row, last_answered(turns, "messages"))


def sharegpt_row(row: Columns) -> Parts:
    """`conversations` of `{from, value}` (ShareGPT)."""
    turns = conversation(row["conversations"], "conversations")
    return with_system(row, last_answered(turns, "conversations"))


def alpaca_row(row: Columns) -> Parts:
    """`instruction, input, output` (Alpaca): one question, with or without material, one answer."""
    said = (Message("assistant", filled(row, "output", "an empty response")),)
    prompt = (*_history(row.get("history")), Message("user", instruction(row)))
    return with_system(row, {"prompt": prompt, "completion": said})


def prompt_row(row: Columns) -> Parts:
    """`prompt` alone: a question that a policy is to answer."""
    prompt = asked(row)
    if not prompt or not prompt[-1].content.strip():
        raise RowFault("'prompt' is empty", "fill it in, or leave the row out")
    return with_system(row, {"prompt": prompt, "completion": ()})


def completion_row(row: Columns) -> Parts:
    """`completion` alone: a response to nothing, as in unconditional generation."""
    return {"prompt": (), "completion": answer(row["completion"], "completion")}


def prompt_completion_row(row: Columns) -> Parts:
    """`prompt, completion`; a completion that repeats the prompt's turns is taken without them."""
    parts = together(row, {"completion": answer(row["completion"], "completion")})
    prompt, said = parts["prompt"], parts["completion"]
    if len(said) > len(prompt) > 0 and said[: len(prompt)] == prompt:
        parts["completion"] = said[len(prompt) :]
    return with_system(row, parts)


def instruction(row: Columns) -> str:
    """`instruction`, and `input` below it where there is any (Alpaca)."""
    material = string(row.get("input") or "", "input")
    return filled(row, "instruction") + (f"\n\n{material}" if material.strip() else "")


def _history(turns: Any) -> Messages:
    """Earlier questions and answers, a pair of strings each (LLaMA-Factory)."""
    if turns and not isinstance(turns, list):
        raise RowFault(f"'history' is {kind_of(turns)}, expected [[question, answer], …]")
    said: list[Message] = []
    for number, turn in enumerate(turns or ()):
        if not isinstance(turn, list) or len(turn) != 2:
            raise RowFault(f"'history[{number}]' is {kind_of(turn)}, expected [question, answer]")
        for role, text in zip(("user", "assistant"), turn, strict=True):
            said.append(Message(role, string(text, f"history[{number}]")))
    return tuple(said)
