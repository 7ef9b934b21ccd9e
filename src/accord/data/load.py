"""From the sources of a stage to its rows: read, recognised, converted, held out, accounted for."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.formats import Converter
from accord.data.kinds import Kind, as_kind
from accord.data.rawfile import BadRow, FilteredRow, RawRow
from accord.data.rows import PairRow, Row, digest
from accord.data.sources import read, source_name
from accord.data.split import asks, content_key, is_heldout, row_text
from accord.errors import AccordError

MAX_BAD = 0.01
"""Share of bad rows above which `on_bad_row: skip` refuses the source."""

DUPLICATE = "duplicate"
IN_TRAINING = "held out, but a training row says the same"
ASKED = "held out for its prompt (among the kept)"
BAD = "bad row"


@dataclass(frozen=True)
class Loaded:
    """Rows to train on and rows held out, in the order of the sources; all of the wanted kind."""

    train: list[Any]
    heldout: list[Any]


@dataclass(frozen=True)
class _Candidate:
    """A row as it was read, which decides its side of the split, and as it is wanted."""

    read: Row
    wanted: Row


def load_rows(
    sources: Sequence[SourceConfig],
    heldout: HeldoutConfig,
    kind: Kind,
    seed: int,
    account: Account,
    cache: Path,
    base: Path = Path(),
    rejects: Path | None = None,
) -> Loaded:
    """Rows of one kind out of all sources; every row that was read is in `account`.

    Exact duplicates are kept once, over all sources. A held-out row whose normalised content is
    trained on as well (in another group) is dropped. Skipped bad rows go to `rejects`, a JSON
    line each.

    Raises:
        AccordError: A bad row, too many of them, an unknown format, the wrong kind, or no row.
    """
    seen: set[str] = set()
    refused: list[BadRow] = []
    kept: list[_Candidate] = []
    for source in sources:
        found = _candidates(source, kind, account, cache, base, seen, refused.append)
        kept += _drawn(found, source, seed, account)
    if refused and rejects is not None:
        _write(refused, rejects)
    train: list[Row] = []
    held: list[Row] = []
    for row in kept:
        # the row as it was read decides, so that every stage holds the same ones out
        (held if is_heldout(row.read, heldout) else train).append(row.wanted)
        if asks(row.read, heldout.prompts):
            account.noted(row.wanted.source, ASKED)
    if not train:
        raise AccordError(
            "No row is left to train on.",
            ", ".join(source_name(source) for source in sources),
            _why_none(account, len(kept)),
        )
    apart = _apart(held, train, account)
    for row in (*train, *apart):
        account.kept(row.source, language=row.language)
    for row in apart:
        account.noted(row.source, "held out (among the kept)")
    return Loaded(train, apart)


def _why_none(account: Account, heldout: int) -> str:
    """What became of the rows, for a message."""
    dropped = [
        f"{name}: {count} ({why})"
        for name, entry in sorted(account.sources.items())
        for why, count in sorted(entry.dropped.items())
    ]
    held = [f"{heldout} held out (lower heldout.fraction, or give more rows)"] if heldout else []
    return "rows dropped: " + "; ".join([*dropped, *held])


def weights_of(sources: Sequence[SourceConfig]) -> dict[str, float | None]:
    """Each source's weight by its name, as `mixture.mixed` takes them."""
    return {source_name(source): source.weight for source in sources}


def _candidates(
    source: SourceConfig,
    kind: Kind,
    account: Account,
    cache: Path,
    base: Path,
    seen: set[str],
    refuse: Callable[[BadRow], None],
) -> list[_Candidate]:
    """Sound rows of one source, each content once; the others counted."""
    name, convert = source_name(source), Converter(source)
    found: list[_Candidate] = []
    bad: list[BadRow] = []
    total = 0
    for item in read(source, cache, base):
        total += 1
        row = convert(item) if isinstance(item, RawRow) else item
        if isinstance(row, BadRow):
            if source.on_bad_row == "error":
                raise row.error()
            bad.append(row)
            refuse(row)
            account.dropped(name, BAD)
        elif isinstance(row, FilteredRow):
            account.dropped(name, row.why)
        elif words_of(row) < (source.min_words or 0):
            account.dropped(name, f"shorter than {source.min_words} words")
        elif (wanted := as_kind(row, kind)).id in seen:
            account.dropped(name, DUPLICATE)
        else:
            seen.add(wanted.id)
            found.append(_Candidate(row, wanted))
    if len(bad) > MAX_BAD * total:
        raise AccordError(
            f"{len(bad)} of {total} rows are bad, more than {MAX_BAD:.0%}. "
            f"The first: {bad[0].why}.",
            bad[0].where,
            bad[0].fix or "mend the file; accord data check lists every bad row",
        )
    return found


def _apart(held: list[Row], train: list[Row], account: Account) -> list[Row]:
    """Held-out rows that say what no training row says; the others counted."""
    if not held:
        return []
    trained = {content_key(row) for row in train}
    apart: list[Row] = []
    for row in held:
        if content_key(row) in trained:
            account.dropped(row.source, IN_TRAINING)
        else:
            apart.append(row)
    return apart


def _drawn(
    found: list[_Candidate], source: SourceConfig, seed: int, account: Account
) -> list[_Candidate]:
    """`int(fraction * rows)` of them in their order, drawn by seeded hash of their content.

    The fraction is the decimal as it is written, so that 0.29 of 100 rows are 29.

    Raises:
        AccordError: The fraction of the rows is less than one row.
    """
    if source.fraction == 1:
        return found
    count = int(Fraction(str(source.fraction)) * len(found))
    if found and not count:
        raise AccordError(
            f"fraction: {source.fraction:g} of {len(found)} sound rows is no row at all.",
            source_name(source),
            f"raise it to {math.ceil(1000 / len(found)) / 1000:g} or more, or leave the source out",
        )
    ranked = sorted(found, key=lambda row: digest([seed, row.wanted.id]))
    drawn = {row.wanted.id for row in ranked[:count]}
    account.dropped(source_name(source), "not drawn (fraction)", len(found) - count)
    return [row for row in found if row.wanted.id in drawn]


def words_of(row: Row) -> int:
    """Words of a row's text, or of its response; of a pair the shorter one."""
    match row:
        case PairRow():
            sides = (row.chosen, row.rejected)
            return min(sum(len(m.content.split()) for m in side) for side in sides)
    completion = getattr(row, "completion", None)
    if completion:
        return sum(len(message.content.split()) for message in completion)
    return len(row_text(row).split())


def _write(refused: Sequence[BadRow], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(row), ensure_ascii=False) for row in refused)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
