"""What every stage reads, and leaves beside its artifact."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import Kind, Loaded, load_rows
from accord.data.pypi import default_cache
from accord.stages.context import StageContext


class HasData(Protocol):
    """The part of a stage's settings that says where rows come from and which are held out."""

    @property
    def data(self) -> Sequence[SourceConfig]:
        """The sources."""
        ...

    @property
    def heldout(self) -> HeldoutConfig:
        """What is kept from training."""
        ...


def stage_rows(config: HasData, kind: Kind, context: StageContext, account: Account) -> Loaded:
    """A stage's rows of one kind; those a lenient source skips go to `accord/rejects.jsonl`."""
    return load_rows(
        config.data,
        config.heldout,
        kind,
        context.seed,
        account,
        cache_folder(),
        context.base,
        context.folder / "accord" / "rejects.jsonl",
    )


def cache_folder() -> Path:
    """Where downloads are kept between runs."""
    return default_cache(os.environ)


def write_record(folder: Path, name: str, value: Any) -> None:
    """Write `accord/<name>` of a stage's folder as JSON."""
    path = folder / "accord" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
