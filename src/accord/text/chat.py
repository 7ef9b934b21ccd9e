"""The only renderer of conversations to ids, and of the mask that says which ids carry loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from accord.errors import AccordError, did_you_mean
from accord.text.jinja import jinja_pieces
from accord.text.layout import ChatTemplate, Control, Part
from accord.text.messages import Message
from accord.text.pieces import Piece, to_ids
from accord.text.templates import TEMPLATES, template_of
from accord.text.tokenizer import Tokenizer

TrainOn = Literal["last", "all"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as ids.

    Args:
        ids: Token ids.
        mask: True for a response's tokens and the end token that closes it.
    """

    ids: list[int]
    mask: list[bool]


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    template: str | None = None,
    train_on: TrainOn = "last",
) -> Rendered:
    """Ids of a conversation, and which of them are a response.

    Messages of role `text` alone take no template: they run on, and the last is the response.

    Args:
        messages: The conversation, oldest turn first.
        tokenizer: The tokenizer.
        template: A format's name or Jinja text; none: the tokenizer's own.
        train_on: Whether the last response or every one carries loss.

    Raises:
        AccordError: No message or no response, a role or template that is unknown, a control
            token that the tokenizer lacks, a Jinja template that does not keep the contents.
    """
    chosen = _resolve(messages, tokenizer, template)
    messages = _answered(messages)
    turns = [i for i, m in enumerate(messages) if m.role == "assistant"]
    scored = set(turns if train_on == "all" else turns[-1:])
    if isinstance(chosen, ChatTemplate):
        pieces = _pieces(chosen, messages, tokenizer)
    else:
        pieces = jinja_pieces(chosen, messages, tokenizer, generation=False, scored=scored)
    ids, turn_of = to_ids(pieces, tokenizer)
    return Rendered(ids, [turn in scored for turn in turn_of])


def prompt_ids(
    messages: Sequence[Message], tokenizer: Tokenizer, template: str | None = None
) -> list[int]:
    """The ids after which a response starts: a prefix of `render` of the answered conversation.

    Under `plain` no message at all is a prompt too: the start token.

    Args:
        messages: The conversation before the response.
        tokenizer: The tokenizer.
        template: A format's name or Jinja text; none: the tokenizer's own.

    Raises:
        AccordError: As `render`.
    """
    chosen = _resolve(messages, tokenizer, template)
    if isinstance(chosen, ChatTemplate):
        if not messages and chosen.name != "plain":
            raise _empty()
        prefix = chosen.turns["assistant"].prefix
        pieces = _pieces(chosen, messages, tokenizer)
        if messages and messages[-1].role == "assistant":
            pieces += _parts(chosen.between, tokenizer)
        pieces += _parts(prefix, tokenizer)
    else:
        if not messages:
            raise _empty()
        pieces = jinja_pieces(chosen, messages, tokenizer, generation=True)
    return to_ids(pieces, tokenizer)[0]


def stop_ids(tokenizer: Tokenizer, template: str | None = None) -> frozenset[int]:
    """Ids at which generation stops: the tokenizer's end token and the one that closes a turn."""
    if template is None and tokenizer.chat_template is None:
        return frozenset({tokenizer.end_id})
    shown = render((Message("user", "a"), Message("assistant", "b")), tokenizer, template)
    closing = max(i for i, scored in enumerate(shown.mask) if scored)
    return frozenset({tokenizer.end_id, shown.ids[closing]})


def _resolve(
    messages: Sequence[Message], tokenizer: Tokenizer, template: str | None
) -> ChatTemplate | str:
    """The format that a conversation takes, checked against it and the tokenizer; or Jinja text."""
    roles = {m.role for m in messages}
    if "text" in roles:
        if not roles <= {"text", "assistant"}:
            raise AccordError(
                "plain strings (role 'text') and chat messages are mixed in one conversation",
                fix="give all of it as plain strings, or all of it as messages",
            )
        return TEMPLATES["plain"]
    name = template or tokenizer.chat_template
    if not name:
        raise AccordError(
            "the tokenizer has no chat template, so chat messages cannot be rendered",
            where="chat_template",
            fix=f"set chat_template: {', '.join(TEMPLATES)}",
        )
    chosen = template_of(name)
    if chosen is None:
        return name
    for role in sorted(roles - set(chosen.turns)):
        raise AccordError(
            f"chat template '{chosen.name}' has no place for role '{role}'",
            fix=did_you_mean(role, chosen.turns),
        )
    tokenizer.require(chosen.control_tokens, chosen.name)
    return chosen


def _answered(messages: Sequence[Message]) -> Sequence[Message]:
    """The conversation with an assistant's response; plain strings' is their last."""
    if not messages:
        raise _empty()
    if all(m.role == "text" for m in messages):
        return (*messages[:-1], Message("assistant", messages[-1].content))
    if not any(m.role == "assistant" for m in messages):
        raise AccordError(
            "the conversation has no assistant turn, so nothing carries loss",
            fix="add a message of role 'assistant', or drop the row",
        )
    return messages


def _pieces(
    template: ChatTemplate, messages: Sequence[Message], tokenizer: Tokenizer
) -> list[Piece]:
    """The conversation as a format of Accord's lays it out, without a generation prompt."""
    pieces = _opening(template, tokenizer)
    if template.default_system is not None and (not messages or messages[0].role != "system"):
        around = template.turns["system"]
        pieces += _parts(around.prefix, tokenizer)
        pieces += [Piece(template.default_system), *_parts(around.suffix, tokenizer)]
    for i, message in enumerate(messages):
        around = template.turns[message.role]
        pieces += _parts(around.prefix, tokenizer)
        if message.role == "assistant":
            end, *after = _parts(around.suffix, tokenizer)
            pieces += [Piece(message.content, i), Piece(end.content, i), *after]
            if i + 1 < len(messages):
                pieces += _parts(template.between, tokenizer)
        else:
            content = Piece(around.shown(message.content))
            pieces += [content, *_parts(around.suffix, tokenizer)]
    return pieces


def _opening(template: ChatTemplate, tokenizer: Tokenizer) -> list[Piece]:
    if template.opening == "start":
        return [Piece(tokenizer.start_id)]
    if template.opening == "bos" and tokenizer.bos_id is not None:
        return [Piece(tokenizer.bos_id)]
    return []


def _parts(parts: Sequence[Part], tokenizer: Tokenizer) -> list[Piece]:
    return [Piece(part if isinstance(part, str) else _id(part, tokenizer)) for part in parts]


def _id(control: Control, tokenizer: Tokenizer) -> int:
    return tokenizer.end_id if control.token is None else tokenizer.token_id(control.token)


def _empty() -> AccordError:
    return AccordError("the conversation has no message", fix="drop the row, or give it a prompt")
