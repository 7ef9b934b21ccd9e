"""Whether a model was trained on the prompts that it is evaluated on: looked up in its own data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import load_rows
from accord.data.split import normalised, prompt_key
from accord.errors import AccordError
from accord.evaluation.samples import Prompt
from accord.stages.context import StageContext
from accord.stages.records import cache_folder

SHOWN = 3
"""Prompts that are quoted."""


def trained_prompts(
    names: Sequence[str], prompts: Sequence[Prompt], context: StageContext
) -> dict[str, dict[str, Any]]:
    """For each model that trained on some of the prompts: how many of them, and the first few.

    Rows are read again from the sources that the model's `accord/stage.json` names, with what it
    held out left out. Models without such a record, and openings of texts, are not looked at; a
    source that cannot be read any more leaves `{"unknown": why}`.
    """
    asked = {normalised(prompt.text): prompt.text for prompt in prompts if not prompt.continues}
    found = {}
    for name in names if asked else ():
        record = _record(context.input(name))
        if not record.get("config", {}).get("data"):
            continue
        try:
            seen = _prompts(record, context) & asked.keys()
        except AccordError as error:
            found[name] = {"unknown": f"{error.where}: {error.what}"}
            continue
        if seen:
            texts = [text for key, text in asked.items() if key in seen]
            found[name] = {"prompts": len(seen), "of": len(asked), "examples": texts[:SHOWN]}
    return found


def refuse_trained(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise AccordError, naming a model and a prompt, if one was trained on what it is asked."""
    for name, seen in found.items():
        if seen.get("prompts"):
            raise AccordError(
                f"{seen['prompts']:,} of {seen['of']:,} evaluation prompts stand in the training "
                f"rows of {name}, such as {seen['examples'][0][:60]!r}",
                "prompts",
                "hold them out of its training (heldout.prompts, or sources grouped by their "
                "prompt), ask others, or allow it with trained_prompts: report",
            )


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "accord" / "stage.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _prompts(record: Mapping[str, Any], context: StageContext) -> set[str]:
    """What a stage's training rows ask, normalised: whole prompts, and each of the user's turns."""
    config = record["config"]
    sources = [SourceConfig.model_validate_json(json.dumps(source)) for source in config["data"]]
    held = HeldoutConfig.model_validate_json(json.dumps(config.get("heldout") or {}))
    rows = load_rows(
        sources, held, "prompt", record["seed"], Account(), cache_folder(), context.base
    )
    turns = {
        normalised(turn.content) for row in rows.train for turn in row.prompt if turn.role == "user"
    }
    return turns | {prompt_key(row) for row in rows.train}
