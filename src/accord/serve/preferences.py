"""Preferences from the chat page, as rows that `accord dpo` reads."""

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accord.config.data import SourceConfig
from accord.data.formats import Converter
from accord.data.rawfile import BadRow, RawRow
from accord.data.rows import PairRow
from accord.serve.errors import ApiError
from accord.text.messages import Message


def preference_rows(
    prompt: Sequence[Message],
    chosen: str,
    rejected: Sequence[str],
    chosen_model: str | None = None,
    rejected_models: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """A row `prompt, chosen, rejected` for each rejected answer, and who wrote the two.

    Raises:
        ApiError: An answer is blank or the same as the chosen one, the conversation does not end
            with a user's turn, or Accord's own reader would refuse the row.
    """
    if prompt[-1].role != "user":
        raise ApiError(400, "the conversation does not end with a user's turn", "prompt")
    if not chosen.strip() or not all(text.strip() for text in rejected):
        raise ApiError(400, "an answer is blank: nothing can be learned from it", "rejected")
    if chosen in rejected:
        raise ApiError(400, "the answers are the same: neither can be preferred", "rejected")
    writers = [*(rejected_models or [])] + [None] * len(rejected)
    rows = [
        {
            "prompt": [_turn(message.role, message.content) for message in prompt],
            "chosen": [_turn("assistant", chosen)],
            "rejected": [_turn("assistant", text)],
            "chosen_model": chosen_model,
            "rejected_model": writer,
        }
        for text, writer in zip(rejected, writers, strict=False)
    ]
    for row in rows:
        _check(row)
    return rows


def _check(row: dict[str, Any]) -> None:
    """Refuse a row that a run would stop at.

    Raises:
        ApiError: It is one.
    """
    read = Converter(SourceConfig(source="preferences"))(RawRow(row, "preferences:1"))
    if isinstance(read, BadRow):
        raise ApiError(400, f"{read.why}; {read.fix}", "prompt")
    if not isinstance(read, PairRow):
        raise ApiError(400, "this is no pair that a run would keep", "prompt")


def append(file: str, rows: Sequence[dict[str, Any]]) -> None:
    """Append rows as JSON lines: all of them or none, whoever else appends.

    Raises:
        ApiError: The file cannot be written.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    try:
        descriptor = os.open(Path(file), os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                text = b"\n" + text
            written = os.write(descriptor, text)
            if written < len(text):
                os.ftruncate(descriptor, size)
                raise OSError("no space left")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        said = f"{file} cannot be written: {error.strerror or error}"
        raise ApiError(500, said, code="preferences_not_saved") from error


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
