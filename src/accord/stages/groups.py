"""What preference metrics are kept apart by: the rows' sources and languages."""

from collections.abc import Sequence

from accord.data.rows import Row


def group_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """`source:…` and `language:…` of the rows, sorted; neither kind where all rows agree."""
    sources = {f"source:{row.source}" for row in rows}
    languages = {f"language:{row.language}" for row in rows if row.language}
    return tuple(sorted(name for kind in (sources, languages) if len(kind) > 1 for name in kind))


def groups_of(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that the row belongs to."""
    own = (f"source:{row.source}", f"language:{row.language}")
    return tuple(name for name in own if name in names)
