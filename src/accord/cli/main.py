"""The entry of the `accord` command: its groups, its exit codes, its way of showing errors.

Exit codes: `EXIT_CODES`. `--debug`, wherever it stands, puts the traceback before the message.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Annotated

import typer

from accord.cli import (
    audit,
    chat,
    checks,
    compare,
    converting,
    data,
    explain,
    faults,
    generating,
    importing,
    merge,
    policies,
    pushing,
    serve,
    stages,
    study,
)
from accord.errors import AccordError

MISTAKE, FAULT, INTERRUPTED, STOPPED = 2, 70, 75, 130
EXIT_CODES = (
    "0 fine; 1 a check found problems; 2 a mistake of usage, data or settings; 70 a fault in Accord"
    " itself; 75 interrupted and saved: run it again; 130 stopped at once"
)

app = typer.Typer(
    help="From raw text to an aligned language model, and a report of what alignment changed.",
    epilog=f"Exit codes: {EXIT_CODES}.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    suggest_commands=True,
)


class Terminated(BaseException):
    """SIGTERM outside the training loop, which answers it itself: nothing is half-written."""


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show an error's traceback.")] = False,
) -> None:
    """Accept --debug before the command; `main` has taken it out wherever it stood."""


stages.register(app)
study.register(app)
policies.register(app)
generating.register(app)
chat.register(app)
serve.register(app)
importing.register(app)
merge.register(app)
pushing.register(app)
converting.register(app)
audit.register(app)
checks.register(app)
compare.register(app)
data.register(app)
explain.register(app)

UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]  # typer re-exports no more


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    # Threads that spin while they wait are many times slower on a busy machine; this has to be
    # said before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(guarded(lambda: app(words, prog_name="accord", standalone_mode=False), debug))


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def guarded(work: Callable[[], object], debug: bool) -> int:
    """Do `work` and give its exit code; a mistake is one screen on stderr, not a traceback."""
    try:
        code = work()
        return code if isinstance(code, int) else 0
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        return explained(error)
    except Terminated:
        print(f"stopped\n  resume: {_again()}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED


def explained(error: Exception) -> int:
    """Say an error in a user's words and give its exit code."""
    code = MISTAKE
    if isinstance(error, AccordError):
        show(error)
    elif isinstance(error, UsageError):
        show(AccordError(error.format_message(), fix=_usage_hint(error)))
    elif isinstance(error, typer.Abort):
        print("stopped", file=sys.stderr)
        code = STOPPED
    elif isinstance(error, BrokenPipeError):
        # The reader has gone, as `head` does; nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    elif _is_interrupt(error):
        print(f"{error}\n  resume: {_again()}", file=sys.stderr)
        code = INTERRUPTED
    elif said := faults.in_words(error):
        show(said)
    else:
        print(faults.fault(error, _again("--debug")), file=sys.stderr)
        code = FAULT
    return code


def show(error: AccordError) -> None:
    """Print an error on stderr, its first line red where that is a terminal's."""
    first, *others = ["error: " + error.what, *error.lines()[1:]]
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        first = f"\033[31m{first}\033[0m"
    print("\n".join([first, *others]), file=sys.stderr)


def _is_interrupt(error: Exception) -> bool:
    """Whether the training loop stopped on request; without importing the loop to ask."""
    module = sys.modules.get("accord.train.interrupt")
    return module is not None and isinstance(error, module.Interrupted)


def _again(*options: str) -> str:
    """The command line as it was typed, but for its secrets."""
    import re
    import shlex

    typed = shlex.join(["accord", *options, *sys.argv[1:]])
    return re.sub(r"(--api-key[ =])('[^']*'|\S+)", r"\1…", typed)


def _usage_hint(error: typer.BadParameter) -> str:
    command = error.ctx.command_path if error.ctx else "accord"
    option = getattr(error, "option_name", None)
    if option and command.split()[-1] in stages.TAKES_SETTINGS | policies.TAKES_SETTINGS:
        name = str(option).lstrip("-").replace("-", "_")
        return f"settings are written key=value: {name}=...; see {command} --help"
    return f"see {command} --help"
