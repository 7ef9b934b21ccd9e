"""Turns of a conversation out of a cell: lists of messages, transcripts, plain strings.

Plain strings become messages of role `text`, which no template touches; lists of
`{role, content}` and the conventions that imply turns become chat messages.
"""

import json
from collections.abc import Mapping
from typing import Any

from accord.data.cells import Columns, RowFault, kind_of, shown, string
from accord.data.transcripts import is_transcript, transcript
from accord.errors import did_you_mean
from accord.text.messages import Message, Messages

ROLES = ("system", "user", "assistant", "tool")
_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
}
_TOOLS = {"function_call", "function", "observation", "tool_call", "tool_response"}
_ANSWERS = ("completion", "chosen", "rejected")


def messages_of(value: Any, column: str) -> Messages:
    """A list of `{role, content}` or `{from, value}` as messages."""
    if not isinstance(value, list):
        raise RowFault(
            f"'{column}' is {kind_of(value)}, expected a list of messages",
            'write [{"role": "user", "content": "…"}, …]',
        )
    if not value:
        raise RowFault(f"'{column}' is empty", "fill it in, or leave the row out")
    return tuple(turn_of(turn, f"{column}[{number}]") for number, turn in enumerate(value))


def conversation(value: Any, column: str) -> Messages:
    """The same, also written as JSON text, as tables of cells hold it."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowFault(
                f"'{column}' is {kind_of(value)}, which is no list and not JSON either",
                "write it with json.dumps: Python's own way of printing a list is not JSON",
            ) from None
    return messages_of(value, column)


def spoken(value: Any, column: str) -> Messages:
    """A string as text, a transcript or a list as messages; an empty string is no message."""
    if isinstance(value, list):
        return messages_of(value, column)
    text = string(value, column)
    if is_transcript(text):
        return transcript(text)
    return (Message("text", text),) if text else ()


def answer(value: Any, column: str) -> Messages:
    """A response; it has to end in something said by the assistant."""
    return checked(spoken(value, column), column)


def checked(said: Messages, column: str) -> Messages:
    """The messages, which have to end in something said by the assistant."""
    if not said or not said[-1].content.strip():
        raise RowFault(f"'{column}' is an empty response", "fill it in, or leave the row out")
    if said[-1].role not in ("assistant", "text"):
        raise RowFault(
            f"'{column}' ends with the {said[-1].role}'s turn, not the assistant's",
            "end with an assistant turn",
        )
    return said


def last_answered(turns: Messages, column: str) -> dict[str, Messages]:
    """Prompt and completion out of a conversation: the last turn answers all that goes before."""
    if turns[-1].role != "assistant":
        raise RowFault(
            f"'{column}' ends with the {turns[-1].role}'s turn: there is no response to learn",
            "end with an assistant turn",
        )
    return {"prompt": turns[:-1], "completion": checked(turns[-1:], column)}


def asked(row: Columns) -> Messages:
    """The `prompt` column; a transcript's open last turn is taken off."""
    prompt = spoken(row["prompt"], "prompt")
    is_open = prompt and prompt[-1].role == "assistant" and not prompt[-1].content
    return prompt[:-1] if is_open else prompt


def together(row: Columns, answers: Mapping[str, Messages]) -> dict[str, Messages]:
    """The `prompt` column and its answers in one form: plain text stays plain beside plain text,
    and becomes turns beside turns."""
    prompt = asked(row)
    plain = all(said[0].role == "text" for said in answers.values())
    if not prompt or plain == (prompt[0].role == "text"):
        return {"prompt": prompt, **answers}
    if not plain:
        return {"prompt": as_turns(prompt, "user"), **answers}
    if not isinstance(row["prompt"], str):
        fix = 'write both alike: [{"role": "assistant", "content": "…"}]'
        raise RowFault("'prompt' is messages but the response is a string", fix)
    stripped = {name: (Message("text", said[0].content.strip()),) for name, said in answers.items()}
    return {"prompt": prompt} | {n: as_turns(s, "assistant") for n, s in stripped.items()}


def with_system(row: Columns, parts: dict[str, Any]) -> dict[str, Any]:
    """A `system` column as the first turn; beside it, plain strings are turns of a chat too."""
    text = row.get("system")
    prompt = parts["prompt"]
    if text is None or not string(text, "system").strip():
        return parts
    if prompt and prompt[0].role == "system":
        return parts
    said = {name: as_turns(parts[name], "assistant") for name in _ANSWERS if name in parts}
    return parts | said | {"prompt": (Message("system", text), *as_turns(prompt, "user"))}


def all_turns(parts: dict[str, Any]) -> dict[str, Any]:
    """Parts of a row whose plain strings are turns of a chat; a document stays one."""
    speakers = {"prompt": "user", **dict.fromkeys(_ANSWERS, "assistant")}
    said = {name: as_turns(parts[name], who) for name, who in speakers.items() if name in parts}
    return parts | said


def as_turns(messages: Messages, speaker: str) -> Messages:
    """Plain text as said by `speaker`; turns stay."""
    return tuple(Message(speaker, m.content) if m.role == "text" else m for m in messages)


def turn_of(turn: Any, place: str) -> Message:
    """One `{role, content}` or `{from, value}`."""
    if not isinstance(turn, Mapping):
        hint = (
            "one conversation a row"
            if isinstance(turn, list)
            else 'write {"role": …, "content": …}'
        )
        raise RowFault(f"'{place}' is {kind_of(turn)}, expected {{role, content}}", hint)
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str):
        raise RowFault(f"'{place}' has role {shown(role)}", "write {role, content}")
    if turn.get("tool_calls") or turn.get("function_call") or role.lower() in _TOOLS:
        raise RowFault(
            f"'{place}' calls tools, which no template here can express",
            "leave such rows out, or write the call as text",
        )
    name = _SPEAKERS.get(role.lower(), role.lower())
    if name not in ROLES:
        raise RowFault(f"'{place}' has role {shown(role)}", did_you_mean(role, ROLES))
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        content = "".join(_part(part, place) for part in content)
    return Message(name, string(content, f"{place}.content"))


def _part(part: Any, place: str) -> str:
    """A piece of a turn's content; only text can be said."""
    if not isinstance(part, Mapping) or part.get("type", "text") != "text":
        what = shown(part.get("type")) if isinstance(part, Mapping) else kind_of(part)
        raise RowFault(f"'{place}.content' holds {what}, expected text only", "leave the row out")
    return string(part.get("text", part.get("value")), f"{place}.content")
