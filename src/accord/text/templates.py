"""The chat formats as data: what stands around each role's content.

The Jinja text beside each is what a saved folder carries for transformers and vLLM; a peer test
holds the two forms equal.
"""

from collections.abc import Mapping

from accord.errors import AccordError, did_you_mean
from accord.text.layout import END, SLOT, ChatTemplate, Control, Part, Turn

_UNKNOWN_ROLE = """\
{%- else %}{{ raise_exception('unknown role: ' ~ message['role']) }}
{%- endif %}
"""

_BOS = "{%- if bos_token %}{{ bos_token }}{% endif %}\n"

_PLAIN = ChatTemplate(
    name="plain",
    opening="start",
    turns={"text": Turn(), "user": Turn(), "assistant": Turn(suffix=(END,))},
    source=(
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
    source=(
        SLOT
        + """\
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
    source=(
        _BOS
        + SLOT
        + """\
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
    source=(
        _BOS
        + SLOT
        + """\
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


def _header(role: str) -> tuple[Part, ...]:
    return (Control("<|start_header_id|>"), role, Control("<|end_header_id|>"), "\n\n")


# Llama 3's own template trims every content. Here prompts are trimmed and responses kept: what is
# scored, counted and sampled is then exactly what stands in the row.
_LLAMA3 = ChatTemplate(
    name="llama3",
    opening="bos",
    turns={
        "system": Turn(_header("system"), (Control("<|eot_id|>"),), trimmed=True),
        "user": Turn(_header("user"), (Control("<|eot_id|>"),), trimmed=True),
        "assistant": Turn(_header("assistant"), (Control("<|eot_id|>"),)),
    },
    source=(
        _BOS
        + SLOT
        + """\
{%- for message in messages %}
{%- if message['role'] in ['system', 'user'] %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{{- message['content'] | trim + '<|eot_id|>' }}
{%- elif message['role'] == 'assistant' %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' + message['content'] + '<|eot_id|>' }}
"""
        + _UNKNOWN_ROLE
        + """\
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
    ),
)

TEMPLATES: Mapping[str, ChatTemplate] = {
    t.name: t for t in (_PLAIN, _CHATML, _ALPACA, _TULU, _LLAMA3)
}
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


def template_of(template: str) -> ChatTemplate | None:
    """The format of a name, or of its Jinja text with any default system prompt; else none.

    Raises:
        AccordError: It is no Jinja text, and no format has that name.
    """
    if not is_jinja(template):
        return named_template(template)
    found = (known.written_as(template) for known in TEMPLATES.values())
    return next((known for known in found if known is not None), None)


def with_system(template: ChatTemplate, prompt: str) -> ChatTemplate:
    """The format with this default system prompt; empty: with none.

    Raises:
        AccordError: The format has no place for a system turn.
    """
    if "system" not in template.turns:
        raise AccordError(
            f"chat template '{template.name}' has no place for a system prompt",
            where="system_prompt",
            fix="delete it, or choose another chat_template",
        )
    return template.with_system(prompt)
