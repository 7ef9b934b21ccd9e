"""What every stage reads and leaves beside its artifact."""

import json
import os
from pathlib import Path
from typing import Any

from accord.data.pypi import default_cache


def cache_folder() -> Path:
    """Where downloads are kept between runs."""
    return default_cache(os.environ)


def write_record(folder: Path, name: str, value: Any) -> None:
    """Write `accord/<name>` of a stage's folder as JSON."""
    path = folder / "accord" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")


def rejects_file(folder: Path) -> Path:
    """Where rows that a lenient source skipped are written."""
    return folder / "accord" / "rejects.jsonl"
