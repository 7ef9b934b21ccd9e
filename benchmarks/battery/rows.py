"""Every row of the battery, in the order of the table."""

from battery import (
    auth,
    checkpoints,
    data,
    fuzz,
    hostile,
    kills,
    mistakes,
    numbers,
    ranks,
    resume,
    retention,
    server,
    streams,
    templates,
    tokens,
)
from battery.row import Row


def all_rows() -> list[Row]:
    """The rows by the parts that hold them."""
    return [
        kills.KILLS,
        resume.RESUME,
        kills.SIGNALS,
        checkpoints.DISK_FULL,
        checkpoints.DAMAGE,
        ranks.RANKS,
        retention.RETENTION,
        *numbers.ROWS,
        *data.ROWS,
        *fuzz.ROWS,
        *hostile.ROWS,
        *templates.ROWS,
        *tokens.ROWS,
        *server.ROWS,
        streams.STREAMS,
        auth.AUTH,
        *mistakes.ROWS,
    ]
