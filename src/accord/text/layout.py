"""What a chat format is made of: the parts around each role's content, and its Jinja text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

SLOT = "⟨system⟩"
"""Stands in a format's source where the default system turn goes."""
_CLAUSE = (
    "{%- if not messages or messages[0]['role'] != 'system' %}\n{{- ",
    " }}\n{%- endif %}\n",
)


@dataclass(frozen=True, slots=True)
class Control:
    """A control token by its text; none is the tokenizer's end token."""

    token: str | None = None


END = Control()

Part = str | Control


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands before and after the content of one role's message.

    Args:
        prefix: Before.
        suffix: After.
        trimmed: Whether blanks at the content's ends are left out; a response's always stay.
    """

    prefix: tuple[Part, ...] = ()
    suffix: tuple[Part, ...] = ()
    trimmed: bool = False

    def shown(self, content: str) -> str:
        """The content as the turn holds it."""
        return content.strip() if self.trimmed else content


@dataclass(frozen=True)
class ChatTemplate:
    """A chat format.

    Args:
        name: Its name in a recipe.
        turns: Prefix and suffix by role; a role that is absent cannot be expressed. An
            assistant's suffix begins with the control token that closes the turn.
        source: The same format for transformers and vLLM, with `SLOT` where the default system
            turn goes.
        between: Text between an assistant turn and the turn after it.
        opening: `start`: the sequence begins with the tokenizer's start token; `bos`: with its
            bos token if it has one; `nothing`.
        default_system: Content of the system turn when the conversation has none.
    """

    name: str
    turns: Mapping[str, Turn]
    source: str
    between: tuple[Part, ...] = ()
    opening: str = "nothing"
    default_system: str | None = None

    @property
    def jinja(self) -> str:
        """The Jinja text that a saved folder carries."""
        if self.default_system is None:
            return self.source.replace(SLOT, "")
        around = self.turns["system"]
        words = (_text(around.prefix), self.default_system, _text(around.suffix))
        return self.source.replace(SLOT, _CLAUSE[0] + _quoted("".join(words)) + _CLAUSE[1])

    def with_system(self, prompt: str | None) -> Self:
        """The format with another default system prompt; empty or none: with none."""
        shown = self.turns["system"].shown(prompt or "")
        return replace(self, default_system=shown or None)

    def written_as(self, jinja: str) -> Self | None:
        """This format with the system prompt that a Jinja text adds; none: it is another format."""
        before, slot, after = self.source.partition(SLOT)
        if slot:
            clause = jinja[len(before) : len(jinja) - len(after)]
            found = self.with_system(_system_in(clause, self.turns["system"]))
        else:
            found = self
        return found if found.jinja == jinja else None

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Control tokens it names beside the tokenizer's own start and end."""
        parts = (p for t in self.turns.values() for p in (*t.prefix, *t.suffix))
        named = (p.token for p in parts if isinstance(p, Control) and p.token is not None)
        return tuple(dict.fromkeys(named))

    @property
    def end_token(self) -> str | None:
        """The control token that closes an assistant turn; none: the tokenizer's end token."""
        closing = (p for p in self.turns["assistant"].suffix if isinstance(p, Control))
        return next(closing).token


def _text(parts: tuple[Part, ...]) -> str:
    """Parts as Jinja writes them; the end token has no text of its own there."""
    return "".join(p if isinstance(p, str) else p.token or "" for p in parts)


def _quoted(text: str) -> str:
    """A Jinja string between single quotes, whose inside JSON reads too."""
    return "'" + json.dumps(text, ensure_ascii=False)[1:-1].replace("'", "\\u0027") + "'"


def _system_in(clause: str, around: Turn) -> str | None:
    """The default system prompt that a clause of a Jinja text adds; none where it adds none."""
    if not clause:
        return None
    quoted = clause.removeprefix(_CLAUSE[0]).removesuffix(_CLAUSE[1])
    try:
        text = json.loads(f'"{quoted[1:-1]}"')
    except ValueError:
        return None
    return text.removeprefix(_text(around.prefix)).removesuffix(_text(around.suffix))
