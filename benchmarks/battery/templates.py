"""Chat templates that attack: each is refused within a second of CPU time and 256 MB."""

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path

from battery.row import Outcome, Row, Size

SECONDS, MEMORY = 1.0, 256 * 2**20
CANARY = "canary"

_SHELL = f".os.system('touch {CANARY}')"
_GROWING = "{% set n = namespace(x='xxxxxxxx') %}{% for i in range(99) %}{% set n.x = "
HOSTILE: Mapping[str, str] = {
    # ways out of the sandbox
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "classes by filter": "{{ ('' | attr('__class__')).__mro__ }}",
    "classes by format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "classes by map": "{{ messages | map(attribute='__class__') | list }}"
    "{{ ''['__class__'].mro() }}",
    "globals of cycler": "{{ cycler.__init__.__globals__" + _SHELL + " }}",
    "globals of joiner": "{{ joiner.__init__.__globals__" + _SHELL + " }}",
    "globals of an exception": "{{ raise_exception.__globals__" + _SHELL + " }}",
    "the template itself": "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context }}",
    "import": "{{ __import__('os')" + _SHELL + " }}",
    "a file included": "{% include '/etc/passwd' %}",
    "a file imported": "{% import '/etc/passwd' as p %}{{ p }}",
    "a file extended": "{% extends '/etc/passwd' %}",
    "messages edited": "{{ messages.append(1) }}{{ messages }}",
    # time
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "a range of a thousand million": "{% for a in range(10 ** 9) %}{% endfor %}",
    "a power of powers": "{{ 10 ** (10 ** 10) }}",
    "a power of ten million digits": "{{ 10 ** (10 ** 7) }}",
    "a huge integer in digits": "{{ (1 * 7 ** 3000000) | string }}",
    "sorting in loops": "{% for a in range(99999) %}{{ range(99999) | sort | join | length }}"
    "{% endfor %}",
    "macros without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "macros that double": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(99) }}",
    "a hundred thousand brackets": "{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}",
    "three thousand lists": "{{ " + "[" * 3_000 + "]" * 3_000 + " }}",
    "two megabytes of source": "{{ x }}" * 300_000,
    # memory
    "ten billion characters": "{{ 'x' * 10 ** 10 }}",
    "ten billion by ljust": "{{ 'x'.ljust(10 ** 10) }}",
    "ten billion by a filter": "{{ 'x' | center(10 ** 10) }}",
    "ten billion by %": "{{ '%10000000000d' % 1 }}",
    "ten billion by format": "{{ '{:10000000000}'.format(1) }}",
    "a list of ten billion": "{{ [1] * 10 ** 10 }}",
    "strings that double": _GROWING + "n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "sums that double": _GROWING + "n.x + n.x %}{% endfor %}{{ n.x }}",
    "joins that double": _GROWING + "[n.x, n.x] | join %}{% endfor %}{{ n.x }}",
    "replacements that grow": _GROWING + "n.x.replace('x', 'xx') %}{% endfor %}{{ n.x }}",
    "lists that double": _GROWING.replace("'xxxxxxxx'", "[1]") + "n.x + n.x %}{% endfor %}",
    "indents that grow": "{{ ('a\n' * 9999) | indent(10 ** 6) }}",
    "JSON with indents": "{{ messages | tojson(indent=10 ** 9) }}",
    "twenty megabytes for a word": "{{ 'x' * 20000000 }}",
    "words for nothing": "{{ lipsum(n=10 ** 9) }}",
}


def run(folder: Path, size: Size) -> Outcome:
    """Every hostile template through the renderer of chats, each in a process of its own."""
    from accord.text import bounded
    from accord.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(["The film was a delight."], 300, chat_template="chatml")
    renderer = bounded.renderer()
    failed: dict[str, str] = {}
    told: dict[str, str] = {}
    seconds: dict[str, float] = {}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, source in HOSTILE.items():
            renderer.close()
            began = _spent()
            told[name] = refusal(tokenizer.with_chat_template(source))
            limit = renderer.memory_limit()
            renderer.close()
            seconds[name] = round(_spent() - began, 2)
            if not told[name] or seconds[name] > SECONDS or limit not in (None, MEMORY):
                failed[name] = f"{told[name] or 'not refused'}, {seconds[name]} s, limit {limit}"
    finally:
        os.chdir(before)
    if (folder / CANARY).exists():
        failed["canary"] = "a template ran a command"
    figure = (
        f"{len(HOSTILE) - len(failed)} of {len(HOSTILE)} refused, the slowest after "
        f"{max(seconds.values()):.2f} s of CPU; address space {MEMORY // 2**20} MB"
    )
    return Outcome(not failed, figure, {"failed": failed, "told": told, "seconds": seconds})


def refusal(tokenizer: object) -> str:
    """What rendering a short conversation is refused with; empty where it is not."""
    from accord.errors import AccordError
    from accord.text.chat import render
    from accord.text.messages import Message

    try:
        render((Message("user", "Hi"), Message("assistant", "Yes")), tokenizer)
    except AccordError as error:
        return error.what
    return ""


def _spent() -> float:
    """Seconds of CPU time of this process and of those it has ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


ROWS: tuple[Row, ...] = (
    Row(
        "templates",
        "hostile chat templates: ways out of the sandbox, endless loops, huge numbers and strings",
        "refused within 1 s of CPU time and 256 MB; the canary is never made",
        run,
    ),
)
