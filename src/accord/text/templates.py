"""The chat formats as data: what stands around each role's content.

The Jinja text beside each is what a saved folder carries for transformers and vLLM; a peer test
holds the two forms equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from accord.errors import AccordError, did_you_mean


@dataclass(frozen=True, slots=True)
class Control:
    """A control token by its text; none is the tokenizer's end token."""

    token: str | None = None


END = Control()

Part = str | Control


@dataclass(frozen=True, slots=True)
class Turn:
    """What stands before and after the content of one role's message."""

    prefix: tuple[Part, ...] = ()
    suffix: tuple[Part, ...] = ()


@dataclass(frozen=True)
class ChatTemplate:
    """A chat format.

    Args:
        name: Its name in a recipe.
        turns: Prefix and suffix by role; a role that is absent cannot be expressed. An
            assistant's suffix begins with the control token that closes the turn.
        jinja: The same format for transformers and vLLM.
        between: Text between an assistant turn and the turn after it.
        opening: `start`: the sequence begins with the tokenizer's start token; `bos`: with its
            bos token if it has one; `nothing`.
        default_system: Content of the system turn when the conversation has none.
    """

    name: str
    turns: Mapping[str, Turn]
    jinja: str
    between: tuple[Part, ...] = ()
    opening: str = "nothing"
    default_system: str | None = None

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


_UNKNOWN_ROLE = """\
{%- else %}{{ raise_exception('unknown role: ' ~ message['role']) }}
{%- endif %}
"""

_PLAIN = ChatTemplate(
    name="plain",
    opening="start",
    turns={"text": Turn(), "user": Turn(), "assistant": Turn(suffix=(END,))},
    jinja=(
        """\
{{- bos_token if bos_token else eos_token }}
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}{{ message['content'] + eos_token }}
{%- elif message['role'] == 'text' and loop.last and not add_generation_prompt %}
{{- message['content'] + eos_token }}
{%- elif message['role'] in ['text', 'user'] %}{{ message['content'] }}
"""
        + _UNKNOWN_ROLE
        + "{%- endfor %}\n"
    ),
)


def _im(role: str) -> Turn:
    return Turn((Control("<|im_start|>"), f"{role}\n"), (Control("<|im_end|>"), "\n"))


_CHATML = ChatTemplate(
    name="chatml",
    turns={role: _im(role) for role in ("system", "user", "assistant")},
    default_system="You are a helpful assistant.",
    jinja=(
        """\
{%- if not messages or messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message['role'] in ['system', 'user', 'assistant'] %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
"""
        + _UNKNOWN_ROLE
        + """\
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
    ),
)

_ALPACA = ChatTemplate(
    name="alpaca",
    opening="bos",
    between=("\n\n",),
    turns={
        "system": Turn(suffix=("\n\n",)),
        "user": Turn(("### Instruction:\n",), ("\n\n",)),
        "assistant": Turn(("### Response:\n",), (END,)),
    },
    jinja=(
        """\
{%- if bos_token %}{{ bos_token }}{% endif %}
{%- for message in messages %}
{%- if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' %}
{{- '### Instruction:\\n' + message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '### Response:\\n' + message['content'] + eos_token }}
{%- if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}
"""
        + _UNKNOWN_ROLE
        + """\
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}
"""
    ),
)

_TULU = ChatTemplate(
    name="tulu",
    opening="bos",
    between=("\n",),
    turns={
        "system": Turn(("<|system|>\n",), ("\n",)),
        "user": Turn(("<|user|>\n",), ("\n",)),
        "assistant": Turn(("<|assistant|>\n",), (END,)),
    },
    jinja=(
        """\
{%- if bos_token %}{{ bos_token }}{% endif %}
{%- for message in messages %}
{%- if message['role'] in ['system', 'user'] %}
{{- '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}
{%- elif message['role'] == 'assistant' %}
{{- '<|assistant|>\\n' + message['content'] + eos_token }}
{%- if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}
"""
        + _UNKNOWN_ROLE
        + """\
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}
"""
    ),
)

TEMPLATES: Mapping[str, ChatTemplate] = {t.name: t for t in (_PLAIN, _CHATML, _ALPACA, _TULU)}
"""Chat formats by name."""


def is_jinja(template: str) -> bool:
    """Whether the words are a template's text rather than a format's name."""
    return "{" in template


def named_template(name: str) -> ChatTemplate:
    """The format of that name.

    Raises:
        AccordError: No format has that name.
    """
    if name not in TEMPLATES:
        raise AccordError(
            f"unknown chat template '{name}'", "chat_template", did_you_mean(name, TEMPLATES)
        )
    return TEMPLATES[name]


def jinja_of(template: str) -> str:
    """The Jinja text of a format's name; Jinja text comes back as it is.

    Raises:
        AccordError: No format has that name.
    """
    return template if is_jinja(template) else named_template(template).jinja


def name_of(jinja: str) -> str:
    """The name of the format whose Jinja text this is; any other text comes back as it is."""
    return next((t.name for t in TEMPLATES.values() if t.jinja == jinja), jinja)
