"""Columns to the parts of a row, one function a convention; faults say what the row lacks.

Plain strings become messages of role `text`, which no template touches; lists of
`{role, content}` and the conventions that imply turns become chat messages.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from accord.errors import did_you_mean
from accord.text.messages import Message, Messages

Columns = Mapping[str, Any]
Parts = dict[str, Any]

ROLES = ("system", "user", "assistant", "tool")
_SHAREGPT = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class RowFault(Exception):
    """A row that cannot be converted: what is wrong, and how to mend it."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


def text_row(row: Columns) -> Parts:
    """`text`: a document."""
    return {"text": _filled(row, "text")}


def messages_row(row: Columns) -> Parts:
    """`messages`: the last assistant turn answers all that goes before."""
    return _answered(messages_of(row["messages"], "messages"), "messages")


def sharegpt_row(row: Columns) -> Parts:
    """`conversations` of `{from, value}` (ShareGPT)."""
    return _answered(messages_of(row["conversations"], "conversations"), "conversations")


def sharegpt_pair(row: Columns) -> Parts:
    """`conversations, chosen, rejected`: ShareGPT turns and two answers to the last."""
    sides = {
        side: _checked((_turn(row[side], side),), side)
        if isinstance(row[side], Mapping)
        else _answer(row, side)
        for side in ("chosen", "rejected")
    }
    return {"prompt": messages_of(row["conversations"], "conversations"), **sides}


def alpaca_row(row: Columns) -> Parts:
    """`instruction, input, output` (Alpaca): one question, with or without material, one answer."""
    material = _string(row.get("input") or "", "input")
    question = _filled(row, "instruction") + (f"\n\n{material}" if material.strip() else "")
    answer = Message("assistant", _filled(row, "output", "an empty response"))
    return _with_system(row, {"prompt": (Message("user", question),), "completion": (answer,)})


def prompt_row(row: Columns) -> Parts:
    """`prompt` alone: a question that a policy is to answer."""
    prompt = _spoken(row["prompt"], "prompt")
    if not prompt or not prompt[-1].content.strip():
        raise RowFault("'prompt' is empty")
    return _with_system(row, {"prompt": prompt, "completion": ()})


def completion_row(row: Columns) -> Parts:
    """`completion` alone: a response to nothing, as in unconditional generation."""
    return {"prompt": (), "completion": _answer(row, "completion")}


def prompt_completion_row(row: Columns) -> Parts:
    """`prompt, completion`."""
    answer = _answer(row, "completion")
    return _with_system(row, {"prompt": _prompt_for(row, answer), "completion": answer})


def label_row(row: Columns) -> Parts:
    """`prompt, completion, label`: an answer and whether it is wanted."""
    label = row["label"]
    if label not in (True, False):
        raise RowFault(f"'label' is {label!r}, expected true or false")
    return prompt_completion_row(row) | {"label": bool(label)}


def pair_row(row: Columns) -> Parts:
    """`prompt, chosen, rejected`; where both sides repeat the prompt it is taken from them."""
    sides = {side: _answer(row, side) for side in ("chosen", "rejected")}
    shared = _shared(sides["chosen"], sides["rejected"])
    if not shared:
        parts = {"prompt": _prompt_for(row, sides["chosen"]), **sides, "margin": _margin(row)}
        return _with_system(row, parts)
    asked = _spoken(row["prompt"], "prompt")
    if asked and asked[-1].content != shared[-1].content:
        raise RowFault("'prompt' differs from the turns that 'chosen' and 'rejected' begin with")
    return implicit_pair_row(row)


def implicit_pair_row(row: Columns) -> Parts:
    """`chosen, rejected`: the turns both begin with are the prompt (also as transcripts)."""
    sides = [_transcript(row[side], side) for side in ("chosen", "rejected")]
    shared = _shared(*sides)
    chosen, rejected = (side[len(shared) :] for side in sides)
    parts = {
        "prompt": shared,
        "chosen": _checked(chosen, "chosen"),
        "rejected": _checked(rejected, "rejected"),
        "margin": _margin(row),
    }
    return _with_system(row, parts)


def question_pair_row(row: Columns) -> Parts:
    """`system, question, chosen, rejected` (orca_dpo_pairs)."""
    sides = {
        side: (Message("assistant", _filled(row, side, "an empty response")),)
        for side in ("chosen", "rejected")
    }
    prompt = (Message("user", _filled(row, "question")),)
    return _with_system(row, {"prompt": prompt, **sides, "margin": _margin(row)})


def messages_of(value: Any, column: str) -> Messages:
    """A list of `{role, content}` or `{from, value}` as messages."""
    if not isinstance(value, list):
        raise RowFault(f"'{column}' is {_kind(value)}, expected a list of messages")
    if not value:
        raise RowFault(f"'{column}' is empty")
    return tuple(_turn(turn, f"{column}[{number}]") for number, turn in enumerate(value))


def _turn(turn: Any, place: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowFault(f"'{place}' is {_kind(turn)}, expected {{role, content}}")
    if turn.get("tool_calls"):
        raise RowFault(f"'{place}' calls tools, which no template here can express")
    role = turn.get("role", turn.get("from"))
    role = _SHAREGPT.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        hint = did_you_mean(role, ROLES) if isinstance(role, str) else "write {role, content}"
        raise RowFault(f"'{place}' has role {role!r}", hint)
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list) and all(isinstance(p, Mapping) and "text" in p for p in content):
        content = "".join(_string(part["text"], place) for part in content)
    return Message(role, _string(content, f"{place}.content"))


def _answered(turns: Messages, column: str) -> Parts:
    """Prompt and response out of a conversation that ends with the assistant."""
    if turns[-1].role != "assistant":
        raise RowFault(
            f"'{column}' ends with the {turns[-1].role}'s turn: there is no response to learn",
            "end with an assistant turn",
        )
    return {"prompt": turns[:-1], "completion": _checked(turns[-1:], column)}


def _spoken(value: Any, column: str) -> Messages:
    """A string as text, a list as messages; an empty string is no message."""
    if isinstance(value, list):
        return messages_of(value, column)
    return (Message("text", text),) if (text := _string(value, column)) else ()


def _answer(row: Columns, column: str) -> Messages:
    return _checked(_spoken(row[column], column), column)


def _checked(answer: Messages, column: str) -> Messages:
    """A response that ends in something said by the assistant."""
    if not answer or not answer[-1].content.strip():
        raise RowFault(f"'{column}' is an empty response")
    if answer[-1].role not in ("assistant", "text"):
        raise RowFault(f"'{column}' ends with the {answer[-1].role}'s turn, not the assistant's")
    return answer


def _prompt_for(row: Columns, answer: Messages) -> Messages:
    """The prompt in the answer's form: plain text stays plain, a chat answer wants a user turn."""
    prompt = _spoken(row["prompt"], "prompt")
    if answer[0].role != "text" and prompt and prompt[0].role == "text":
        prompt = (Message("user", prompt[0].content),)
    elif answer[0].role == "text" and prompt and prompt[0].role != "text":
        raise RowFault("'prompt' is messages but the response is a string", "write both alike")
    return prompt


def _with_system(row: Columns, parts: Parts) -> Parts:
    """A `system` column as the first turn; beside it, plain strings are turns of a chat too."""
    text = row.get("system")
    prompt = parts["prompt"]
    if text is None or not _string(text, "system").strip():
        return parts
    if prompt and prompt[0].role == "system":
        return parts
    speakers = {"completion": "assistant", "chosen": "assistant", "rejected": "assistant"}
    spoken = {
        name: _as_turns(value, speakers[name]) if name in speakers else value
        for name, value in parts.items()
    }
    return spoken | {"prompt": (Message("system", text), *_as_turns(prompt, "user"))}


def _as_turns(messages: Messages, speaker: str) -> Messages:
    return tuple(Message(speaker, m.content) if m.role == "text" else m for m in messages)


def _shared(chosen: Messages, rejected: Messages) -> Messages:
    """The turns both conversations begin with; never the whole of one, nor an assistant's end."""
    count = 0
    for left, right in zip(chosen[:-1], rejected[:-1], strict=False):
        if left != right:
            break
        count += 1
    return chosen[:count]


def _transcript(value: Any, column: str) -> Messages:
    """Messages, a `Human: … Assistant: …` transcript (hh-rlhf), or plain text."""
    if isinstance(value, list):
        return messages_of(value, column)
    text = _string(value, column)
    if not text.startswith(("\n\nHuman:", "\n\nAssistant:")):
        return _spoken(text, column)
    pieces = _TURN.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        Message(roles[who], said.strip())
        for who, said in zip(pieces[::2], pieces[1::2], strict=True)
    )


def _margin(row: Columns) -> float | None:
    margin = row.get("margin")
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise RowFault(f"'margin' is {margin!r}, expected a finite number")
    return float(margin)


def _filled(row: Columns, column: str, fault: str = "empty") -> str:
    text = _string(row[column], column)
    if not text.strip():
        raise RowFault(f"'{column}' is {fault}")
    return text


def _string(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise RowFault(f"'{column}' is {_kind(value)}, expected a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowFault(f"'{column}' holds half of a surrogate pair, which is no text") from None
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} ({str(value)[:20]})"
