"""Data with one bad row, through `datasets` and TRL; training data that stand in the evaluation."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from battery.peers import training, world
from battery.peers.interrupted import without_paths
from battery.peers.lives import Ended, lived
from battery.peers.training import Run
from battery.row import Outcome, Size

LINE, ROWS, HUGE = 5, 8, 50_000_000
PATIENCE = 90.0
SETTINGS = {"max_steps": 1, "save_strategy": "no", "max_length": 128} | {
    "per_device_train_batch_size": ROWS
}
ABOUT = re.compile(r"warn|duplicat|empty|identical|truncat|overlap|leak|contamin", re.IGNORECASE)

Lines = list[bytes]


def _replaced(line: bytes) -> Callable[[Lines], bytes]:
    return lambda lines: b"\n".join([*lines[: LINE - 1], line, *lines[LINE:]]) + b"\n"


def _changed(**cells: object) -> Callable[[Lines], bytes]:
    def change(lines: Lines) -> bytes:
        row = json.loads(lines[LINE - 1]) | cells
        return _replaced(json.dumps(row).encode())(lines)

    return change


def _same_answers(lines: Lines) -> bytes:
    row = json.loads(lines[LINE - 1])
    return _changed(rejected=row["chosen"])(lines)


def _renamed(lines: Lines) -> bytes:
    row = json.loads(lines[LINE - 1])
    row["answer"] = row.pop("completion")
    return _replaced(json.dumps(row).encode())(lines)


SFT: dict[str, Callable[[Lines], bytes]] = {
    "truncated last line": lambda lines: b"\n".join([*lines[: LINE - 1], lines[LINE - 1][:30]]),
    "corrupt line": _replaced(b'{"prompt": "a" "completion": }'),
    "bad UTF-8": lambda lines: _replaced(lines[LINE - 1].replace(b'": "', b'": "\xff\xfe', 1))(
        lines
    ),
    "byte order mark": lambda lines: b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n",
    "wrong column in a row": _renamed,
    "null completion": _changed(completion=None),
    "null prompt": _changed(prompt=None),
    "a number among strings": _changed(completion=7),
    "a list among strings": _changed(completion=["a", "b"]),
    "empty response": _changed(completion=""),
    "over-long prompt": _changed(prompt="red dog " * 4000),
    "duplicate row": lambda lines: _replaced(lines[0])(lines),
    "50 MB line": _changed(prompt="red dog " * (HUGE // 8)),
    "empty file": lambda lines: b"",
}
PAIRS: dict[str, Callable[[Lines], bytes]] = {
    "chosen == rejected": _same_answers,
    "null chosen": _changed(chosen=None),
    "empty chosen": _changed(chosen=""),
    "empty chosen and rejected": _changed(chosen="", rejected=""),
    "over-long prompt of a pair": _changed(prompt="red dog " * 4000),
    "duplicate pair": lambda lines: _replaced(lines[0])(lines),
}
HARMLESS = ("byte order mark",)
"""What may be trained on as if nothing were."""


def data(folder: Path, size: Size) -> Outcome:
    """Each file once: is the line named, is there another message, or is it trained on?"""
    home = world.made(folder / "world", rows=ROWS)
    ends: dict[str, str] = {}
    for method, file, cases in (("sft", home.sft, SFT), ("dpo", home.pairs, PAIRS)):
        usual = set(_trained(folder, home, file, method).said.splitlines())
        lines = file.read_bytes().splitlines()
        for number, (name, make) in enumerate(cases.items()):
            path = folder / f"{method}-{number}.jsonl"
            path.write_bytes(make(lines))
            ends[name] = _told(_trained(folder, home, path, method), path, usual)
            path.unlink()
    tally = Counter(end.partition(":")[0] for name, end in ends.items() if name not in HARMLESS)
    wrong = [n for n, end in ends.items() if n not in HARMLESS and not end.startswith("file:line")]
    bom = ends[HARMLESS[0]].partition(":")[0]
    figure = (
        f"{tally['file:line']} of {tally.total()} bad rows named by file and line (or row), "
        f"{tally['stopped']} stop without, {tally['over time']} take more than {PATIENCE:.0f} s, "
        f"{tally['trained with a warning']} warned of, {tally['trained silently']} trained on "
        f"silently; byte order mark: {bom}"
    )
    return Outcome(not wrong, figure, ends)


def _trained(folder: Path, home: world.World, path: Path, method: str) -> Ended:
    run = Run(home.model, path, folder / "out", method, settings=SETTINGS)
    return lived(folder / "log", PATIENCE, training.train, run)


def _told(ended: Ended, path: Path, usual: set[str]) -> str:
    """The end of a run, in the words that are counted."""
    new = [line for line in ended.said.splitlines() if line not in usual]
    if ended.code < 0:
        return f"over time: killed after {ended.seconds:.0f} s"
    if ended.code == 0:
        warned = [without_paths(line) for line in new if ABOUT.search(line)]
        return f"trained with a warning: {warned[0]}" if warned else "trained silently"
    message = "\n".join(line for line in new if not line.lstrip().startswith('File "'))
    # pyarrow counts rows from 0
    place = rf"{re.escape(path.name)}(\W{{0,3}}(line )?{LINE}\b|.*\bin row {LINE - 1}\b)"
    kind = "file:line" if re.search(place, message) else "stopped"
    return f"{kind}: {without_paths(ended.last_line)}"


def overlap(folder: Path, size: Size) -> Outcome:
    """Half of the rows are trained on and evaluated on, and one is there twice."""
    home = world.made(folder / "world", rows=ROWS)
    rows = world.sft_rows(ROWS, 1)
    train = world.written(folder / "train.jsonl", [*rows, rows[0]])
    held = world.written(folder / "eval.jsonl", rows[: ROWS // 2])
    run = Run(home.model, train, folder / "out", evaluate=held, settings=SETTINGS)
    clean = _trained(folder, home, home.sft, "sft")
    ended = lived(folder / "log", PATIENCE, training.train, run)
    new = set(ended.said.splitlines()) - set(clean.said.splitlines())
    named = [line for line in new if ABOUT.search(line)]
    figure = f"{len(named)} lines about {ROWS // 2} rows in both and a duplicate, exit {ended.code}"
    return Outcome(bool(named), figure, {"lines": [without_paths(line) for line in named]})
