"""The check as a reader sees it on a terminal: counts, lengths, findings, bad rows, examples."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from accord.data.check.bars import histogram, percentiles
from accord.data.check.document import Check
from accord.data.check.finding import Finding, counted, share
from accord.data.check.marks import marked, visible

SHOWN_BAD = 20
"""Bad rows that are printed; the JSON form has all."""
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
INDENT = (0, 0, 0, 2)


def report(check: Check, marks: bool, width: int) -> RenderableType:
    """All of a check, for a console.

    Args:
        check: What was found.
        marks: Whether trained text stands between ⟦ and ⟧, for readers who see no dimming.
        width: Columns of the console.
    """
    parts: list[RenderableType] = [_verdict(check), Padding(_facts(check), INDENT)]
    parts += _lengths(check, width)
    parts += _section("findings", _findings(check)) if check.findings else []
    bad = [*check.reading.bad, *(check.tokens.refused if check.tokens else ())]
    if bad:
        rows = _grid()
        for row in bad[:SHOWN_BAD]:
            fix = f" ({row.fix})" if row.fix else ""
            rows.add_row(_place(check, row.where), Text(visible(f"{row.why}{fix}")))
        parts += _section("bad rows", rows)
        if len(bad) > SHOWN_BAD:
            more = f"and {counted(len(bad) - SHOWN_BAD, 'more bad row')}; --json lists all"
            parts.append(Padding(Text(more), INDENT))
    if check.shown:
        parts += _section(_examples_title(check, marks), *_examples(check, marks))
    return Group(*parts)


def _verdict(check: Check) -> Text:
    words = [
        counted(check.count(severity), severity) for severity in STYLES if check.count(severity)
    ]
    verdict = Text(visible(f"{check.reading.source.source}: "), style="bold", overflow="fold")
    verdict.append("ok" if check.ok else "not usable as it is", "green" if check.ok else "bold red")
    return verdict.append(f" ({', '.join(words)})" if words else "")


def _facts(check: Check) -> Table:
    table = _grid()
    for name, fact in _facts_of(check):
        table.add_row(Text(name, style="dim"), Text(visible(fact)))
    return table


def _facts_of(check: Check) -> Iterator[tuple[str, str]]:
    """Name and value of what can be said in a line."""
    read, turns, again = check.reading, check.turns, check.repeats
    yield "format", ", ".join(f"{name} ({n:,})" for name, n in read.formats.items()) or "none"
    left_out = sum(tally.count for tally in read.left_out.values())
    rows = f"{read.read:,} read, {len(read.rows):,} sound, {len(read.bad):,} bad"
    yield "rows", rows + (f", {left_out:,} left out" if left_out else "")
    if read.unused:
        yield "not used", "columns " + ", ".join(sorted(read.unused))
    for name, counts in (("sources", turns.sources), ("languages", turns.languages)):
        if len(counts) > 1 or (name == "languages" and counts):
            yield name, _counts(dict(counts.most_common(8)))
    if turns.roles.keys() - {"text"}:
        yield "turns", _counts(dict(sorted(turns.counts.items())[:8]), "turns in")
        yield "roles", _counts(turns.roles)
        if turns.systems:
            rows_with = counted(turns.systems.total(), "row")
            yield "system", f"{counted(len(turns.systems), 'different prompt')} in {rows_with}"
    of = f" in {counted(again.prompted, 'row')}" if again.prompted else ""
    yield "prompts", f"{again.prompts:,} different{of}, {counted(turns.unprompted, 'row')} without"
    alike = f"{again.exact.count:,} exact, {again.normalised.count:,} more but for case and blanks"
    yield "duplicates", alike
    yield from _judged(check)
    if check.overlap is not None:
        both = check.overlap
        hit = f"{both.rows.count:,} rows ({share(both.rows.count, both.of)})"
        yield "overlap", f"{hit} ask what {both.evaluation:,} rows of {both.against} ask"
    yield from _limited(check)


def _judged(check: Check) -> Iterator[tuple[str, str]]:
    """Facts of pairs and labels."""
    if (bias := check.bias) is not None:
        low, high = bias.share_ci95
        yield (
            "longer side",
            f"chosen in {100 * bias.share:.1f} % of {counted(bias.pairs, 'pair')} "
            f"(95 % interval {100 * low:.1f}–{100 * high:.1f}), equal in {bias.equal:,}; means "
            f"{bias.chosen_mean:.0f} and {bias.rejected_mean:.0f} {bias.unit}",
        )
        again = check.repeats
        yield (
            "pairs",
            f"{again.equal_sides.count:,} with equal sides but for case and blanks, "
            f"{again.contradictory.count:,} contradictory, {again.chained:,} linked in rankings",
        )
    made = check.judgements
    if labelled := made.wanted + made.unwanted:
        wanted = f"{made.wanted:,} wanted ({share(made.wanted, labelled)})"
        yield "labels", f"{wanted}, {made.unwanted:,} unwanted"
    if made.margins:
        points = ", ".join(f"{name} {value:.3g}" for name, value in made.percentiles.items())
        yield "margins", f"{counted(len(made.margins), 'pair')}: {points}"


def _limited(check: Check) -> Iterator[tuple[str, str]]:
    """Facts of the limit in tokens."""
    if (tokens := check.tokens) is None or check.max_length is None:
        return
    dropped, cut = tokens.dropped.count, tokens.truncated.count
    yield (
        "max_length",
        f"{check.max_length}: {tokens.rows - dropped - cut:,} rows whole, {cut:,} truncated "
        f"({share(cut, tokens.rows)}), {dropped:,} dropped ({share(dropped, tokens.rows)})",
    )


def _counts(counts: Mapping[Any, int], words: str = "") -> str:
    joint = f" {words} " if words else " "
    return ", ".join(f"{name}{joint}{count:,}" for name, count in counts.items())


def _lengths(check: Check, width: int) -> list[RenderableType]:
    """Tables of lengths, and bars of the finest unit that was measured."""
    units = ["tokens"] if check.tokens is not None else ["characters", "words"]
    parts: list[RenderableType] = []
    for unit in units:
        if check.lengths[unit].parts:
            parts += _section(f"lengths in {unit}", percentiles(check.lengths[unit]))
    if check.lengths[units[0]].parts:
        bars = histogram(check.lengths[units[0]], check.max_length, width - INDENT[3])
        parts += [Text(), Padding(bars, INDENT)]
    return parts


def _findings(check: Check) -> Table:
    table = _grid()
    for finding in check.findings:
        table.add_row(Text(finding.severity, style=STYLES[finding.severity]), _said(check, finding))
    return table


def _said(check: Check, finding: Finding) -> Text:
    said = Text(visible(finding.says))
    if finding.advice:
        said.append(f" {finding.advice[:1].upper()}{finding.advice[1:]}.")
    if finding.places:
        places = "; ".join(_place(check, place).plain for place in finding.places)
        said.append(f"\n{places}", "dim")
    return said


def _place(check: Check, place: str) -> Text:
    """A place with the checked path's folders left out."""
    source = check.reading.source.source.rstrip("/")
    base = source.rpartition("/")[2]
    short = place.replace(f"{source}:", f"{base}:").replace(f"{source}/", "")
    return Text(visible(short), overflow="fold")


def _examples_title(check: Check, marks: bool) -> str:
    how = "between ⟦ and ⟧" if marks else "bright, the rest dim"
    return f"{counted(len(check.shown), 'row')} as training sees them: what carries loss is {how}"


def _examples(check: Check, marks: bool) -> Iterator[RenderableType]:
    for shown in check.shown:
        title = _place(check, shown.where)
        yield Padding(title.append(f" ({shown.fate})" if shown.fate else ""), (1, 0, 0, 0))
        table = _grid()
        for name, segments in shown.parts.items():
            table.add_row(Text(name, style="italic"), marked(segments, marks))
        yield table


def _section(title: str, *parts: RenderableType) -> list[RenderableType]:
    return [Text(), Text(title, style="bold"), *(Padding(part, INDENT) for part in parts)]


def _grid() -> Table:
    """Two columns: a name, and words that wrap beside it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold", max_width=28)
    table.add_column(overflow="fold", ratio=1)
    return table
