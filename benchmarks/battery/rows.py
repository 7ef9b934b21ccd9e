"""Every row of the battery, in the order of the table."""

from battery import checkpoints, kills, ranks, resume
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
    ]
