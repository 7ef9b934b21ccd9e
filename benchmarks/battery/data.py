"""Data with faults: told by line before a model is opened, skipped within a cap, never lost."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from battery.row import Outcome, Row, Size
from battery.small import small_folder
from battery.suite import through_tests

_USER, _SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
SOUND: Mapping[str, Mapping[str, Any]] = {
    "pretrain": {"text": "A film that was a delight."},
    "tokenizer": {"text": "A film that was a delight."},
    "sft": {"messages": [_USER, _SAID]},
    "reward": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "preference": {"prompt": "q", "chosen": "a", "rejected": "b"},
    "ppo": {"prompt": "q"},
    "grpo": {"prompt": "q"},
    "online": {"prompt": "q"},
}
"""A row that each kind of stage reads."""

ROWS_OF_A_FILE, BAD_LINE = 200, 2
REPORTED = (
    "tests/stages/test_evaluate.py::test_prompts_that_a_model_trained_on_are_found_in_its_own_data",
    "tests/stages/test_evaluate.py::test_prompts_that_a_model_trained_on_are_refused_before_anything_is_sampled",
    "tests/evaluation/findings/test_drift.py::test_prompts_that_a_stage_trained_on",
)
FIXTURES = "tests/data/test_malformed.py"


def settings(kind: str, model: Path, reward: Mapping[str, Any]) -> dict[str, Any]:
    """The least that a stage of this kind is told."""
    found: dict[str, Any] = {"kind": kind, "data": [{"source": "a.jsonl"}]}
    found |= {} if kind == "tokenizer" else {"steps": 1, "batch_size": 2}
    if kind == "tokenizer":
        return found | {"vocab_size": 300}
    found |= {"from": str(model)}
    if kind in ("ppo", "grpo", "online"):
        found |= {"reward": [dict(reward)]}
    return found


def faults(kind: str) -> dict[str, tuple[bytes, str]]:
    """Files with a fault on line 2, by its name; and what their message's place ends in."""
    row = dict(SOUND[kind])
    sound = json.dumps(row).encode()
    name, cell = next(iter(row.items()))
    wrong = {**row, name: 3}
    blank = {**row, name: [] if isinstance(cell, list) else None}
    half = sound[: len(sound) // 2]
    lines = {
        "cut off in the middle": half,
        "no UTF-8": sound.replace(b"q", b"\xff").replace(b"film", b"\xff"),
        "a NUL byte": sound.replace(b"q", b"\0").replace(b"film", b"\0"),
        "a number for a cell": json.dumps(wrong).encode(),
        "null or empty for a cell": json.dumps(blank).encode(),
        "a column missing": b'{"other": "x"}',
        "no object": b"[1, 2]",
        "half of a surrogate pair": json.dumps({**row, name: "\ud83d"}).encode(),
        "50 MB": json.dumps({**row, name: "x" * 50 * 2**20}).encode(),
    }
    files = {fault: (sound + b"\n" + line + b"\n", f":{BAD_LINE}") for fault, line in lines.items()}
    files["an empty file"] = (b"", "a.jsonl")
    files["UTF-16"] = (sound.decode().encode("utf-16"), "a.jsonl")
    files["wrong columns from the start"] = (b'{"body": "x"}\n', ":1")
    return files


def told(kind: str, home: Path, model: Path, on_bad_row: str = "error") -> tuple[str, str]:
    """What and where the stage's error says; nothing where it ran into none."""
    from importlib import import_module

    from pydantic import TypeAdapter
    from rich.console import Console

    from accord.config.stages import StageConfig
    from accord.errors import AccordError
    from accord.pipeline.execute import MODULES
    from accord.stages.context import StageContext

    stage = settings(kind, model, {"function": "length"})
    stage["data"][0]["on_bad_row"] = on_bad_row
    config: Any = TypeAdapter(StageConfig).validate_json(json.dumps(stage))
    inputs = {name: Path(name) for name in config.inputs()}
    out = home / "out"
    out.mkdir(exist_ok=True)
    context = StageContext(kind, out, inputs, 1, home, Console(quiet=True))
    try:
        import_module(MODULES[kind]).run(config, context)
    except AccordError as error:
        return error.what, error.where
    return "", ""


def torn_model(folder: Path) -> Path:
    """A model folder that cannot be opened: whoever tries, says so."""
    model = small_folder(folder)
    (model / "model.safetensors").write_bytes(b"torn")
    (model / "tokenizer.json").write_bytes(b"torn")
    return model


def strict(kind: str, home: Path, model: Path) -> dict[str, str]:
    """Faults that the stage did not tell by their line before it opened its model."""
    missed = {}
    for fault, (content, place) in faults(kind).items():
        (home / "a.jsonl").write_bytes(content)
        what, where = told(kind, home, model)
        if not (where.startswith("a.jsonl") and where.endswith(place)):
            missed[f"{kind}: {fault}"] = f"{where}: {what}"[:200]
    return missed


def lenient(kind: str, home: Path, model: Path) -> dict[str, str]:
    """What is wrong with `on_bad_row: skip`: the cap of 1 %, the rejects file, the count."""
    wrong = {}
    rows = [{**SOUND[kind], "id": number} for number in range(ROWS_OF_A_FILE)]
    name, cell = next(iter(SOUND[kind].items()))
    if isinstance(cell, str):
        rows = [row | {name: f"{cell} {row['id']}"} for row in rows]
    good = [json.dumps(row).encode() for row in rows]
    rejects = home / "out" / "accord" / "rejects.jsonl"
    for bad, refused in ((2, False), (3, True)):
        content = [*good[: ROWS_OF_A_FILE - bad], *[b"{torn"] * bad]
        (home / "a.jsonl").write_bytes(b"\n".join(content) + b"\n")
        rejects.unlink(missing_ok=True)
        what, where = told(kind, home, model, "skip")
        over = "rows are bad, more than 1%" in what
        count = len(rejects.read_text().splitlines()) if rejects.exists() else 0
        if over != refused:
            wrong[f"{kind}: {bad} of {ROWS_OF_A_FILE} skipped"] = f"{where}: {what}"[:200]
        if not refused and count != bad:
            wrong[f"{kind}: rejects"] = f"{count} of {bad} in the file"
    return wrong


def malformed(folder: Path, size: Size) -> Outcome:
    """Every fault for every kind of stage, with a model that cannot be opened."""
    model = torn_model(folder / "model")
    failed: dict[str, str] = {}
    count = 0
    for kind in SOUND:
        home = folder / kind
        home.mkdir()
        failed |= strict(kind, home, model)
        failed |= lenient(kind, home, model)
        count += len(faults(kind))
    suite = through_tests(FIXTURES)
    if not suite.passed:
        failed["fixtures"] = f"{suite.figure}: {suite.details['failed']}"
    figure = (
        f"{count - len(failed)} of {count} faults told with their line before the model of "
        f"{len(SOUND)} kinds of stage is opened; 2 of 200 bad rows skipped, 3 refused; "
        f"further files: {suite.figure}"
    )
    return Outcome(not failed, figure, {"failed": failed})


def overlap(folder: Path, size: Size) -> Outcome:
    """Rows that stand twice, in one file, in two, and on both sides of the split."""
    from accord.config.data import HeldoutConfig, SourceConfig
    from accord.data.account import Account
    from accord.data.load import IN_TRAINING, load_rows
    from accord.data.split import content_key

    # every content under two groups, so that its copies can fall on either side; a third is exact
    for name in ("a", "b"):
        rows = [
            {"text": f"text {n}" + " " * (name == "b"), "group": f"{name}{n}"} for n in range(200)
        ]
        written = [*rows, *rows[:50]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    sources = [SourceConfig(source=f"{name}.jsonl", group="group") for name in ("a", "b")]
    account = Account()
    loaded = load_rows(sources, HeldoutConfig(fraction=0.5), "text", 1, account, folder, folder)
    counts = account.to_json()
    failed: dict[str, str] = {}
    shared = {content_key(r) for r in loaded.train} & {content_key(r) for r in loaded.heldout}
    if shared:
        failed["sides"] = f"{len(shared)} contents are trained on and held out"
    for name, entry in counts.items():
        dropped = entry["dropped"]
        if entry["kept"] + sum(dropped.values()) != 250 or dropped.get("duplicate") != 50:
            failed[name] = json.dumps(entry)
    twins = sum(entry["dropped"].get(IN_TRAINING, 0) for entry in counts.values())
    if not twins:
        failed["twins"] = "no held-out row repeated a training row: nothing was tried"
    reported = through_tests(*REPORTED)
    if not reported.passed:
        failed["report"] = f"{reported.figure}: {reported.details['failed']}"
    figure = (
        f"0 of {len(loaded.heldout)} held-out rows are trained on ({twins} twins and 100 "
        f"duplicates dropped and counted by source); report: {reported.figure}"
    )
    return Outcome(not failed, figure, {"failed": failed, "rows": counts})


ROWS: tuple[Row, ...] = (
    Row(
        "malformed",
        "malformed data in every stage: cut off, no UTF-8, wrong or null cells, 50 MB lines, …",
        "`file:line` before a model is opened; `skip` counts, caps at 1 %, writes a rejects file",
        malformed,
    ),
    Row(
        "overlap",
        "rows that stand twice, in one source, in two, in training and held out or evaluated",
        "never on both sides; counted by source in the report; trained prompts are refused",
        overlap,
    ),
)
