"""Rows as a stage would see them: their tokens, and what a length limit does to them.

Everything here is done by `data.examples`, which is what training calls.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from accord.data.account import Account
from accord.data.check.finding import Finding, Tally, counted, share
from accord.data.check.lengths import Sizes, add_sizes
from accord.data.check.parts import answers_of, prompt_of
from accord.data.examples import (
    at_row,
    chat_example,
    fitted,
    label_example,
    no_room,
    opening_ids,
    pair_example,
)
from accord.data.kinds import as_kind
from accord.data.packing import Example, fit
from accord.data.rawfile import SAMPLE, BadRow
from accord.data.rows import ChatRow, LabelRow, PairRow, Row
from accord.data.split import row_text
from accord.errors import AccordError
from accord.text.chat import TrainOn
from accord.text.templates import named_template
from accord.text.tokenizer import Tokenizer

MANY_CUT = 0.1
"""Share of truncated rows from which there is a warning."""
UNRENDERED = "cannot be rendered"


@dataclass
class Tokens:
    """Rows in tokens.

    Args:
        sizes: Tokens by part.
        rows: Different rows that could be rendered.
        pairs: Ids of the pairs among them, in the order of their sizes.
        refused: Rows that cannot be rendered, at the first of which a stage would stop.
        dropped: Rows that the limit leaves no token to train on.
        emptied: Of these, rows in which that part has none left, by part.
        truncated: Rows that are cut.
        cut: Of these, rows in which that part is cut, by part.
        lost: Answer tokens that are cut off.
        answered: Answer tokens, cut off or not.
        long_turns: Turns that are longer than the limit by themselves.
        first_cut: The first row that is cut or dropped.
    """

    sizes: Sizes = field(default_factory=dict)
    rows: int = 0
    pairs: list[str] = field(default_factory=list)
    refused: list[BadRow] = field(default_factory=list)
    dropped: Tally = field(default_factory=Tally)
    emptied: Counter[str] = field(default_factory=Counter)
    truncated: Tally = field(default_factory=Tally)
    cut: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    answered: int = 0
    long_turns: Tally = field(default_factory=Tally)
    first_cut: Row | None = None

    def to_json(self, max_length: int) -> dict[str, Any]:
        """What the limit does, as JSON values."""
        return {
            "max_length": max_length,
            "rows": self.rows,
            "dropped": self.dropped.to_json(),
            "emptied": dict(self.emptied),
            "truncated": self.truncated.to_json(),
            "cut": dict(self.cut),
            "lost_tokens": self.lost,
            "answer_tokens": self.answered,
            "long_turns": self.long_turns.to_json(),
        }


def for_training(tokenizer: Tokenizer, chat_template: str | None) -> Tokenizer:
    """The tokenizer as a stage with that `chat_template` would use it; none: as it is.

    Raises:
        AccordError: As the tokenizer's `with_tokens` and `with_chat_template`.
    """
    if chat_template is None:
        return tokenizer
    more = tokenizer.with_tokens(named_template(chat_template).control_tokens)
    return more.with_chat_template(chat_template)


def example_of(row: Row, tokenizer: Tokenizer, train_on: TrainOn) -> Example:
    """A row as the stage that it is made for would train on it; a prompt alone has no response.

    Raises:
        AccordError: It cannot be rendered.
    """
    match row:
        case PairRow():
            return pair_example(row, tokenizer, None, train_on)
        case LabelRow():
            return label_example(row, tokenizer, None, train_on)
        case ChatRow(prompt=prompt, completion=()):
            role = "text" if prompt[-1].role == "text" else "assistant"
            with at_row(row):
                return Example(tuple(opening_ids(prompt, role, tokenizer, None)), (), row.id)
    chat = as_kind(row, "chat")
    assert isinstance(chat, ChatRow)
    return replace(chat_example(chat, tokenizer, None, train_on), row_id=row.id)


def tokens_of(
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    train_on: TrainOn,
    max_length: int | None,
    account: Account,
) -> Tokens:
    """Measure different rows; those that the limit cuts or drops are counted in `account` too.

    Raises:
        AccordError: The tokenizer has no chat template or lacks its control tokens.
    """
    found = Tokens()
    for row in rows:
        try:
            example = example_of(row, tokenizer, train_on)
        except AccordError as error:
            if error.where == "chat_template":  # no fault of the row
                raise
            found.refused.append(BadRow(row.where, error.what, row_text(row)[:SAMPLE], error.fix))
            account.withdraw(row.source, UNRENDERED, language=row.language)
            continue
        found.rows += 1
        if isinstance(row, PairRow):
            found.pairs.append(row.id)
        names = tuple(answers_of(row))
        sizes = [len(response.ids) for response in example.responses]
        found.answered += sum(sizes)
        # a text's prompt is the start token alone
        asked = len(example.prompt) if prompt_of(row) else None
        whole = len(example.prompt) + max(sizes, default=0)
        add_sizes(found.sizes, asked, dict(zip(names, sizes, strict=True)), whole)
        if max_length is not None:
            _limit(row, example, max_length, tokenizer, account, found)
    return found


def _limit(
    row: Row,
    example: Example,
    max_length: int,
    tokenizer: Tokenizer,
    account: Account,
    found: Tokens,
) -> None:
    """Count what `max_length` does to one row."""
    if not example.responses:
        if len(example.prompt) >= max_length:
            account.withdraw(row.source, no_room(max_length), language=row.language)
            found.dropped.add(row.where)
            found.emptied["response"] += 1
            _long_turns(row, max_length, tokenizer, found)
        return
    kept = fitted([row], [example], max_length, account)
    names = tuple(answers_of(row))
    if not kept:
        found.dropped.add(row.where)
        for name, response in zip(names, example.responses, strict=True):
            found.emptied[name] += fit(replace(example, responses=(response,)), max_length) is None
    elif kept[0].responses != example.responses:
        found.truncated.add(row.where)
        for name, short, long in zip(names, kept[0].responses, example.responses, strict=True):
            found.cut[name] += short != long
            found.lost += len(long.ids) - len(short.ids)
    else:
        return
    found.first_cut = found.first_cut or row
    _long_turns(row, max_length, tokenizer, found)


def _long_turns(row: Row, max_length: int, tokenizer: Tokenizer, found: Tokens) -> None:
    answers = [message for answer in answers_of(row).values() for message in answer]
    for message in (*prompt_of(row), *answers):
        # no token is shorter than a byte
        if len(message.content.encode()) > max_length:
            size = len(tokenizer.encode(message.content))
            if size > max_length:
                found.long_turns.add(f"{row.where} ({message.role}, {size:,} tokens)")


def findings(tokens: Tokens, max_length: int | None) -> list[Finding]:
    """Rows that cannot be rendered, and what the limit costs."""
    found: list[Finding] = []
    if tokens.refused:
        count, places = len(tokens.refused), tuple(row.where for row in tokens.refused[:3])
        says = f"{counted(count, 'row')} cannot be rendered by the chat template."
        found.append(Finding("error", "cannot_be_rendered", says, "each is listed below", places))
    if max_length is None:
        return found
    if tokens.rows and tokens.dropped.count == tokens.rows:
        says = f"No row has a response token within {max_length} tokens."
        found.append(Finding("error", "all_dropped", says, "raise max_length"))
    elif tokens.dropped.count:
        of = f"{counted(tokens.dropped.count, 'row')} ({share(tokens.dropped.count, tokens.rows)})"
        emptied = ", ".join(f"{name} in {n:,}" for name, n in tokens.emptied.items() if n)
        says = f"{of} dropped: {no_room(max_length)} (emptied: {emptied})."
        places = tuple(tokens.dropped.places)
        found.append(Finding("warning", "dropped", says, "raise max_length", places))
    if tokens.truncated.count:
        found.append(_truncated(tokens, max_length))
    if tokens.long_turns.count:
        says = f"{counted(tokens.long_turns.count, 'turn')} longer than {max_length} tokens alone."
        places = tuple(tokens.long_turns.places)
        found.append(Finding("note", "long_turns", says, "split or shorten them", places))
    return found


def _truncated(tokens: Tokens, max_length: int) -> Finding:
    count = tokens.truncated.count
    severity = "warning" if count > MANY_CUT * tokens.rows else "note"
    cut = ", ".join(f"{name} in {n:,}" for name, n in tokens.cut.items() if n)
    lost = f"{counted(tokens.lost, 'answer token')} ({share(tokens.lost, tokens.answered)})"
    of = f"{counted(count, 'row')} ({share(count, tokens.rows)})"
    says = f"{of} cut to {max_length} tokens ({cut}): {lost} lost."
    advice = "raise max_length: a cut answer has no end token, so it doesn't teach to stop"
    return Finding(severity, "truncated", says, advice, tuple(tokens.truncated.places))
