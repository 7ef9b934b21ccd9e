"""Hostile files: pickles, code, paths and links that lead out, headers and archives that lie.

Whatever a case reads, no code of the file's runs: no canary is made, nothing is unpickled, nothing
is compiled, executed or imported out of its folder. A reader that does not need the hostile part
(`auto_map` beside a whole tokenizer.json) may leave it alone; every other refuses, by name.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from battery.hostile_cases import CANARY, LEFT_ALONE, cases
from battery.row import Outcome, Row, Size
from battery.suite import through_tests

SOURCE = Path(__file__).resolve().parents[2] / "src" / "accord"
PICKLERS = {"pickle", "_pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
RUNS = {"eval", "exec", "compile", "__import__"}
UNSAFE = {
    "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "numpy.load", "np.load",
    "pandas.read_pickle", "pd.read_pickle", "torch.jit.load", "torch.hub.load",
}  # fmt: skip
EVENTS = {"pickle.find_class", "os.system", "os.exec", "os.posix_spawn"}
HASHES = (
    "tests/data/test_pypi.py::test_another_hash_is_refused",
    "tests/data/test_pypi.py::test_an_index_that_lies_about_a_hash_is_caught",
    "tests/data/test_pypi.py::test_a_cached_file_that_rotted_is_fetched_again",
    "tests/checkpoint/test_hub.py",
)


@contextmanager
def listening(folder: Path) -> Iterator[list[str]]:
    """What is unpickled or started, and what of `folder` is run, while the context is open."""
    heard: list[str] = []
    listens = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not listens:
            return
        if event in EVENTS:
            heard.append(f"{event} {arguments[0]!r:.60}")
        elif event in ("exec", "compile", "import") and str(folder) in repr(arguments):
            heard.append(f"{event} {arguments!r:.80}")

    sys.addaudithook(hook)  # there is no taking it away again
    try:
        yield heard
    finally:
        listens.clear()


def tried(name: str, case: Callable[[Path], None], folder: Path) -> tuple[str, str]:
    """What a case was told, and what is wrong with that; empty where nothing is."""
    from accord.errors import AccordError

    folder.mkdir()
    told = ""
    with listening(folder) as heard:
        try:
            case(folder)
        except AccordError as error:
            told = f"{error.what} [{error.where.replace(str(folder), '')}]"
        except BaseException as error:
            return told, f"{type(error).__name__}: {error}"[:200]
    if heard:
        return told, f"heard {heard[0]}"
    if (folder / CANARY).exists():
        return told, "the canary was made"
    wrong = "" if told or name in LEFT_ALONE else "it was read"
    return told, wrong


def planted_in(source: str) -> list[str]:
    """Imports and calls in a module's text that unpickle or run what they are given."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [name for name in names if name.partition(".")[0] in PICKLERS]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            trusts = any(
                word.arg in ("trust_remote_code", "allow_pickle")
                and not (isinstance(word.value, ast.Constant) and word.value.value is False)
                for word in node.keywords
            )
            found += [called] if called in RUNS | UNSAFE or trusts else []
    return found


def run(folder: Path, size: Size) -> Outcome:
    """Every hostile file, Accord's own source, and what downloads are checked with."""
    told: dict[str, str] = {}
    failed: dict[str, str] = {}
    for number, (name, case) in enumerate(cases().items()):
        told[name], wrong = tried(name, case, folder / str(number))
        if wrong:
            failed[name] = wrong
    modules = sorted(SOURCE.rglob("*.py"))
    for path in modules:
        if planted := planted_in(path.read_text(encoding="utf-8")):
            failed[f"source of {path.relative_to(SOURCE)}"] = ", ".join(planted)
    hashes = through_tests(*HASHES)
    if not hashes.passed:
        failed["hashes"] = f"{hashes.figure}: {hashes.details['failed']}"
    refused = sum(bool(text) for text in told.values())
    figure = (
        f"{refused} of {len(told)} refused by name, {len(told) - refused} left alone; no canary; "
        f"{len(modules)} modules unpickle nothing; wrong hashes: {hashes.figure}"
    )
    return Outcome(not failed, figure, {"failed": failed, "told": told})


ROWS: tuple[Row, ...] = (
    Row(
        "hostile-files",
        "pickles, remote code, `../`, links and absolute paths, headers and archives that lie",
        "the canary is never made; refused by name; downloads are checked by hash",
        run,
    ),
)
