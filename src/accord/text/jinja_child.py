"""Renders chat templates in a process that can be ended: `bounded` starts this file as a script.

It imports nothing of Accord. A line of JSON comes in for each conversation, a line goes out. The
kernel ends the process where a rendering takes too long; memory it refuses, and files and network
there are none: no file can be opened any more once the template is looked at.
"""

import json
import re
import resource
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.ext import LoopControlExtension
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 0.5
"""Of one rendering; the process ends by SIGPROF after it."""
MEMORY = 256 * 2**20
"""Bytes of the whole process."""
ROOM, PER_CHARACTER = 2**20, 8
"""Characters that a rendering may have: so many, and so many for each in the messages."""
SHOWN = 300
"""Characters of a template's own message that are passed on."""


_WARMING = "{{ 'a' | wordwrap ~ 1 | pprint }}{% include 'none' %}"


class Refused(Exception):
    """The template itself refuses the conversation."""


def main() -> None:
    """Answer requests until the input ends."""
    _confine()
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answers = [_answer(request, run) for run in request["runs"]]
            out = json.dumps(answers)
        except MemoryError:
            out = json.dumps([["memory", ""]])
        sys.stdout.write(out + "\n")
        sys.stdout.flush()


def _confine() -> None:
    """Give up what rendering does not need."""
    with suppress(Exception):  # modules that Jinja imports for a literal, and for a failure
        _compiled(_WARMING).render()
    limits = (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 3),
    )
    for limit, value in limits:
        with suppress(ValueError, OSError):  # not every system knows every limit
            resource.setrlimit(limit, (value, value))


def _answer(request: dict[str, Any], run: list[Any]) -> tuple[str, str]:
    """What came of one rendering: `text`, or the kind of refusal, and its words."""
    messages, generation = run
    room = ROOM + PER_CHARACTER * sum(len(message["content"]) for message in messages)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        template = _compiled(request["source"])
        text = template.render(
            messages=messages, add_generation_prompt=generation, **request["tokens"]
        )
    except MemoryError:
        return "memory", ""
    except Refused as error:
        return "refuses", str(error)[:SHOWN]
    except TemplateSyntaxError as error:
        return "invalid", str(error)[:SHOWN]
    except TemplateError as error:
        return "fails", str(error)[:SHOWN]
    except Exception as error:  # the template is the folder's code: anything may go wrong
        return "fails", f"{type(error).__name__}: {error}"[:SHOWN]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ("text", text) if len(text) <= room else ("long", str(len(text)))


@lru_cache(maxsize=8)
def _compiled(source: str) -> Any:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension]
    )
    del environment.globals["lipsum"]
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    # transformers' own tag around assistant text says nothing that the marks don't
    return environment.from_string(re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", source))


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: object) -> NoReturn:
    raise Refused(message)


if __name__ == "__main__":
    main()
