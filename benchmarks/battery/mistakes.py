"""Mistakes that users make, and the one screen that each must give."""

import io
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    chdir,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import dedent

from battery.row import Outcome, Row, Size

TABLE = Path(__file__).resolve().parents[2] / "tests" / "reliability" / "mistakes.md"
SCREEN = 24
"""Lines that a terminal shows at least."""

Condition = Callable[[Path], AbstractContextManager[Mapping[str, str] | None]]


@dataclass(frozen=True)
class Mistake:
    """Something a user types, and what lies in the folder where it is typed.

    Args:
        words: What follows `accord`.
        files: Written over the folder's own, by path.
        prepare: Changes the folder further.
        under: What holds while it runs, such as a missing package; gives words to be put in.
        by: How it is run.
        code: The exit code.
    """

    words: str
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], object] | None = None
    under: Condition = lambda _: nullcontext()
    by: "Callable[[Path, Sequence[str]], Said]" = field(default_factory=lambda: typed)
    code: int = 2


@dataclass(frozen=True)
class Said:
    """What a shell would see."""

    code: int
    out: str
    err: str


def typed(home: Path, words: Sequence[str]) -> Said:
    """Run a command line in this process as a shell would in `home`."""
    from accord.cli import main as entry

    out, err = io.StringIO(), io.StringIO()
    terminate, argv, code = signal.getsignal(signal.SIGTERM), sys.argv, 0
    sys.argv = ["accord", *words]
    try:
        with chdir(home), redirect_stdout(out), redirect_stderr(err):
            entry.main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, terminate)
    return Said(code, out.getvalue(), err.getvalue())


def in_a_shell(home: Path, words: Sequence[str]) -> Said:
    """Run a command line as a process of its own."""
    command = [sys.executable, "-m", "accord", *words]
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


def made(mistake: Mistake, world: Path, home: Path) -> Said:
    """Make a mistake in a copy of the user's folder."""
    shutil.copytree(world, home)
    for name, text in mistake.files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    if mistake.prepare:
        mistake.prepare(home)
    with mistake.under(home) as put_in:
        words = mistake.words.format(**(put_in or {}))
        said = mistake.by(home, shlex.split(words))
    return Said(said.code, said.out, said.err.replace(str(home.resolve()), "HOME"))


def screen(mistake: Mistake, said: Said) -> str:
    """A mistake as it stands in the table: what was typed, and what came."""
    return f"$ accord {mistake.words}\n{said.err.rstrip()}"


def expected() -> dict[str, str]:
    """The table's screens, by title."""
    parts = re.split(r"^## (.+)\n", TABLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    bodies = (re.sub(r"^# .*", "", body, flags=re.MULTILINE) for body in parts[2::2])
    return dict(zip(parts[1::2], (dedent(body).strip("\n") for body in bodies), strict=True))


def faults(mistake: Mistake, said: Said, wanted: str) -> list[str]:
    """What is wrong with a mistake's message; nothing is as it should be."""
    found = []
    if said.code != mistake.code:
        found.append(f"exit code {said.code}, not {mistake.code}")
    pattern = ".*".join(re.escape(part) for part in wanted.split("…"))
    if not re.fullmatch(pattern, screen(mistake, said)):
        found.append(f"it said:\n{screen(mistake, said)}\nnot:\n{wanted}")
    if not said.err.startswith("error: ") or "  fix: " not in said.err:
        found.append("it does not say what is wrong and how to mend it")
    if "Traceback" in said.err or len(said.err.splitlines()) > SCREEN:
        found.append("it is more than a screen")
    return found


def mistakes(folder: Path, _: Size) -> Outcome:
    """Make every mistake of the table and compare the whole of what is said."""
    from battery.mistake_cases import FROM_A_SHELL, MISTAKES
    from battery.mistake_world import build

    build(folder / "world")
    wanted = expected()
    wrong: dict[str, list[str]] = {}
    for number, (title, mistake) in enumerate(MISTAKES.items()):
        said = made(mistake, folder / "world", folder / f"{number}" / "home")
        wrong[title] = faults(mistake, said, wanted.get(title, ""))
    for title in FROM_A_SHELL:
        mistake = replace(MISTAKES[title], by=in_a_shell)
        said = made(mistake, folder / "world", folder / title / "home")
        wrong[f"{title} (shell)"] = faults(mistake, said, wanted[title])
    failed = {title: found for title, found in wrong.items() if found}
    good = len(MISTAKES) - len(set(failed) & set(MISTAKES))
    return Outcome(
        not failed and set(wanted) == set(MISTAKES),
        f"{good} of {len(MISTAKES)} mistakes give their message: one screen, no traceback",
        {"mistakes": len(MISTAKES), "from a shell": len(FROM_A_SHELL), "failed": failed},
    )


ROWS = (
    Row(
        "mistakes",
        "mistakes a user can make: paths, keys, types, models, data, rewards, disks, ports, logins",
        "each gives its message: what, where, how to mend; one screen, exit code 2",
        mistakes,
    ),
)
