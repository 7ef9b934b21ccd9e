"""Every row of the battery, in the order of the table."""

from battery import checkpoints, kills, mistakes, ranks, resume, server
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
        checkpoints.RETENTION,
        *server.ROWS,
        *mistakes.ROWS,
    ]
