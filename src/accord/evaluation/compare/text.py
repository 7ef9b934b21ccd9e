"""A comparison as a screen of text; computes nothing."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accord.evaluation.compare.sentences import change, value

Document = Mapping[str, Any]
Row = Sequence[str]

WIDEST = 140
CELL = 44
"""Characters of a table's cell."""
TOLD = 3
"""Prompts whose completions are printed."""
MARKS = {"problem": "problem", "warning": "warning", "info": "note"}
MAIN = (
    *("eval_loss", "loss", "eval_rewards/accuracies", "eval_rewards/margins", "eval_accuracy"),
    *("reward", "objective/kl", "kl", "completions/mean_length", "completions/clipped_ratio"),
)
"""Metrics that are printed; all of them stand in compare.json."""


def screen(document: Document, width: int) -> list[str]:
    """What may be said of the two runs, then the tables it rests on.

    Args:
        document: Of `compare_document`.
        width: Columns of the terminal.
    """
    width = min(width, WIDEST)
    lines = [f"{side.upper()}  {_name(document[side])}" for side in ("a", "b")]
    for sentence in document["said"]:
        lines += ["", *textwrap.wrap(sentence, width)]
    for title, head, rows in _tables(document):
        if rows:
            lines += ["", title, *_aligned([head, *rows])]
    for title, told in _lists(document):
        lines += ["", title] if told else []
        for sentence in told:
            wrapped = textwrap.wrap(sentence, width - 4)
            lines += ["  " + wrapped[0], *("    " + line for line in wrapped[1:])]
    return [*lines, *_samples(document, width)]


def _name(side: Mapping[str, Any]) -> str:
    title = side["title"]
    return side["name"] + (f"  ({title})" if title and title != side["name"] else "")


def _tables(document: Document) -> Iterator[tuple[str, Row, list[Row]]]:
    yield "Settings that differ", ("setting", "A", "B", "reaches"), _settings(document)
    yield "Machine, versions, revision", ("", "A", "B"), _circumstances(document)
    yield "Mean scores", ("policy", "scorer", "A", "B", "B − A"), _means(document)
    yield "Held out", ("stage", "rows of", "figure", "A", "B", "B − A"), _heldout(document)
    yield "Training", ("stage", "", "A", "B", "B − A"), _training(document)
    yield "Rows read", ("stage", "source", "A", "B"), _data(document)


def _settings(document: Document) -> list[Row]:
    found = []
    for row in document["settings"]:
        reaches = " and ".join(row["reaches"]) or "no score"
        if row["policies"] and "training" in row["reaches"]:
            reaches += f" ({', '.join(row['policies'])})"
        key = f"{row['stage']}.{row['key']}"
        found.append((key, value(row["a"]), value(row["b"]), reaches))
    for stage, side in document["stages_only"].items():
        found.append((stage, *(("a stage", "–") if side == "A" else ("–", "a stage")), ""))
    return found


def _circumstances(document: Document) -> list[Row]:
    return [(row["what"], value(row["a"]), value(row["b"])) for row in document["circumstances"]]


def _means(document: Document) -> list[Row]:
    return [
        (row["policy"], row["scorer"], _mean(row["a"]), _mean(row["b"]), _claim(document, row))
        for row in document["means"]
    ]


def _mean(found: Mapping[str, Any]) -> str:
    low, high = (value(end) for end in found["ci95"])
    return f"{value(found['mean'])} [{low}, {high}]"


def _claim(document: Document, row: Mapping[str, Any]) -> str:
    if row["same_model"]:
        return "the same model"
    if row["claim"] is None:
        return "not comparable"
    claim = document["claims"][row["claim"]]
    low, high = (value(end) for end in claim["ci95"])
    mark = "" if claim["distinguishable"] else "  not distinguishable"
    return f"{change(claim['difference'])} [{low}, {high}]{mark}"


def _heldout(document: Document) -> list[Row]:
    same = {stage["stage"] for stage in document["stages"] if stage["same"]}
    return [
        (
            row["stage"],
            row["part"],
            row["what"],
            value(row["a"]),
            value(row["b"]),
            change(row["difference"]) if row["same_rows"] else "other rows",
        )
        for row in document["heldout"]
        if row["stage"] not in same
    ]


def _training(document: Document) -> list[Row]:
    found: list[Row] = []
    for stage in document["stages"]:
        name = stage["stage"] + (" (the same)" if stage["same"] else "")
        figures = {
            "seconds": stage["seconds"],
            "tokens a second": stage["tokens_per_second"],
            "peak memory, MiB": _mebibytes(stage["peak_memory_bytes"]),
        }
        if not stage["same"]:
            figures |= {"steps": stage["steps"]}
            figures |= {m: stage["metrics"][m] for m in MAIN if m in stage["metrics"]}
        for what, pair in figures.items():
            if pair["a"] is not None or pair["b"] is not None:
                shown = value(pair["a"]), value(pair["b"]), change(pair["difference"])
                found.append((name, what, *shown))
                name = ""
    return found


def _mebibytes(pair: Mapping[str, float | None]) -> dict[str, float | None]:
    return {side: None if held is None else held / 2**20 for side, held in pair.items()}


def _data(document: Document) -> list[Row]:
    return [
        (row["stage"], row["source"], _account(row["a"]), _account(row["b"]))
        for row in document["data"]
        if not row["same"]
    ]


def _account(found: Mapping[str, int] | None) -> str:
    if found is None:
        return "–"
    return ", ".join(f"{number} {what}" for what, number in found.items())


def _lists(document: Document) -> Iterator[tuple[str, list[str]]]:
    yield "Differences in words", [claim["sentence"] for claim in document["claims"]]
    for side in ("a", "b"):
        grave = [f for f in document["findings"][side] if f["severity"] != "info"]
        told = [f"{MARKS[found['severity']]}: {found['sentence']}" for found in grave]
        yield f"Found in {side.upper()} alone", told


def _samples(document: Document, width: int) -> Iterator[str]:
    for sample in document["samples"][:TOLD]:
        yield ""
        yield f"Prompt: {_line(sample['prompt'], width - 8)}"
        for policy, written in sample["policies"].items():
            for side in ("a", "b"):
                answer = written[side]
                text = answer["completion"] + ("" if answer["ended"] else " …")
                yield _line(f"  {policy:<10} {side.upper()}  {text.strip()}", width)


def _line(text: str, width: int) -> str:
    flat = text.replace("\n", " ⏎ ")
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Rows with their cells under each other; long ones cut in the middle."""
    cut = [[_middle(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cut) for at in range(len(cut[0]))]
    return [
        "  " + "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cut
    ]


def _middle(cell: str) -> str:
    half = CELL // 2
    return cell if len(cell) <= CELL else f"{cell[:half]}…{cell[1 - half :]}"
