"""The check of a source as a whole: everything measured, everything judged, one document."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accord.config.data import SourceConfig
from accord.data.account import Account
from accord.data.check import bias, judgements, overlap, reading, repeats, tokens, turns
from accord.data.check.bias import LengthBias
from accord.data.check.finding import SEVERITIES, Finding
from accord.data.check.judgements import Judgements
from accord.data.check.lengths import Lengths, Sizes, lengths_of, text_sizes
from accord.data.check.overlap import Overlap
from accord.data.check.parts import keys_of
from accord.data.check.reading import Reading
from accord.data.check.rendering import Shown, rendered, unrendered
from accord.data.check.repeats import Repeats
from accord.data.check.tokens import Tokens
from accord.data.check.turns import Turns
from accord.data.load import DUPLICATE
from accord.data.rows import PairRow, Row
from accord.errors import AccordError
from accord.text.chat import TrainOn
from accord.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Check:
    """All that is known of a source.

    Args:
        reading: Its rows.
        lengths: Lengths by unit: `characters`, `words` and, with a tokenizer, `tokens`.
        turns: Who speaks.
        repeats: What comes again.
        judgements: Labels and margins.
        bias: Lengths of chosen beside rejected; none without pairs.
        tokens: Rows in tokens; none without a tokenizer.
        overlap: What an evaluation file shares; none where no file was named.
        account: The rows as a stage would account for them.
        findings: Judgements, the gravest first.
        shown: Rows to look at.
        max_length: The limit in tokens, if any.
    """

    reading: Reading
    lengths: dict[str, Lengths]
    turns: Turns
    repeats: Repeats
    judgements: Judgements
    bias: LengthBias | None
    tokens: Tokens | None
    overlap: Overlap | None
    account: Account
    findings: list[Finding] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    max_length: int | None = None

    @property
    def ok(self) -> bool:
        """Whether a stage can use every row; it drops duplicates and identical pairs itself."""
        return not self.count("error")

    def count(self, severity: str) -> int:
        """Findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The whole document, as JSON values."""
        read, limited = self.reading, self.tokens is not None and self.max_length is not None
        return {
            "path": read.source.source,
            "ok": self.ok,
            "formats": dict(read.formats),
            "rows": read.read,
            "sound": len(read.rows),
            "bad": [
                {"where": row.where, "why": row.why, "fix": row.fix, "row": row.sample}
                for row in (*read.bad, *(self.tokens.refused if self.tokens else ()))
            ],
            "left_out": {why: tally.to_json() for why, tally in read.left_out.items()},
            "unused_columns": dict(read.unused),
            "lengths": {unit: lengths.to_json() for unit, lengths in self.lengths.items()},
            "length_bias": self.bias.to_json() if self.bias else None,
            "limit": self.tokens.to_json(self.max_length or 0) if self.tokens and limited else None,
            "account": self.account.to_json(),
            **self.repeats.to_json(),
            **self.turns.to_json(),
            **self.judgements.to_json(),
            "overlap": self.overlap.to_json() if self.overlap else None,
            "findings": [finding.to_json() for finding in self.findings],
            "examples": [shown.to_json() for shown in self.shown],
        }


def check_file(
    source: SourceConfig | str | Path,
    cache: Path,
    tokenizer: Tokenizer | None = None,
    max_length: int | None = None,
    against: SourceConfig | str | Path | None = None,
    show: int = 3,
    train_on: TrainOn = "last",
) -> Check:
    """Read a whole file, folder or other source, with its settings if given, and judge it.

    Args:
        source: What to read.
        cache: Folder of downloads.
        tokenizer: Counts tokens and renders; with its chat template, as a stage would use it.
        max_length: A stage's limit in tokens; needs a tokenizer.
        against: The evaluation's file, to look for its prompts.
        show: Rows to render.
        train_on: Which assistant turns carry loss, as a stage's `train_on`.

    Raises:
        AccordError: It cannot be found or read as a whole, is empty, or fits no format; a limit
            without a tokenizer; a tokenizer that cannot render chats.
    """
    if max_length is not None and tokenizer is None:
        raise AccordError(
            "max_length counts tokens, and there is no tokenizer to count them.",
            "max_length",
            "give the model's folder as tokenizer (--tokenizer DIR)",
        )
    read = reading.read_source(source, cache)
    account = read.account()
    keys = [keys_of(row) for row in read.rows]
    again = repeats.repeats_of(read.rows, keys)
    different = _different(read.rows, account)
    sizes, pairs = text_sizes(different), [r.id for r in different if isinstance(r, PairRow)]
    unit, counted = "characters", None
    if tokenizer is not None:
        counted = tokens.tokens_of(different, tokenizer, train_on, max_length, account)
        unit, sizes["tokens"], pairs = "tokens", counted.sizes, counted.pairs
    prompts = {row.id: key.prompt for row, key in zip(read.rows, keys, strict=True)}
    found = Check(
        read,
        {unit: lengths_of(of_unit) for unit, of_unit in sizes.items()},
        turns.turns_of(read.rows, tokenizer.control_tokens if tokenizer else ()),
        again,
        judgements.judgements_of(read.rows),
        _bias(sizes[unit], [prompts[pair] or pair for pair in pairs], unit),
        counted,
        overlap.overlap_with(read.rows, against, cache) if against is not None else None,
        account,
        max_length=max_length,
    )
    found.findings.extend(_judged(found, tokenizer.chat_template if tokenizer else None))
    picked = _picked(different, counted, show)
    found.shown.extend(_show(row, tokenizer, train_on, max_length) for row in picked)
    return found


def _different(rows: Sequence[Row], account: Account) -> list[Row]:
    """Rows of different content, the first of each; the others are withdrawn."""
    first: dict[str, Row] = {}
    for row in rows:
        if row.id in first:
            account.withdraw(row.source, DUPLICATE, language=row.language)
        first.setdefault(row.id, row)
    return list(first.values())


def _bias(sizes: Sizes, prompts: Sequence[Hashable], unit: str) -> LengthBias | None:
    """Lengths of the sides of pairs; a pair without a prompt stands for itself."""
    if not prompts:
        return None
    return bias.length_bias(sizes["chosen"], sizes["rejected"], prompts, unit)


def _judged(check: Check, template: str | None) -> list[Finding]:
    """All findings, the gravest first."""
    rows = len(check.reading.rows)
    found = reading.findings(check.reading)
    if check.tokens is not None:
        found += tokens.findings(check.tokens, check.max_length)
    found += judgements.findings(check.judgements)
    if check.bias is not None:
        found += bias.findings(check.bias)
    if check.overlap is not None:
        found += overlap.findings(check.overlap)
    found += repeats.findings(check.repeats, rows) + turns.findings(check.turns, rows)
    found += turns.untemplated(check.reading.rows, template)
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _picked(rows: Sequence[Row], counted: Tokens | None, show: int) -> list[Row]:
    """The first rows that can be rendered; among them one that the limit cuts, if there is any."""
    refused = {row.where for row in counted.refused} if counted else set()
    picked = [row for row in rows if row.where not in refused][:show]
    cut = counted.first_cut if counted else None
    if cut is not None and picked and cut not in picked:
        picked[-1] = cut
    return picked


def _show(
    row: Row, tokenizer: Tokenizer | None, train_on: TrainOn, max_length: int | None
) -> Shown:
    if tokenizer is None:
        return unrendered(row, train_on)
    return rendered(row, tokenizer, train_on, max_length)
