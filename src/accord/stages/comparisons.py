"""What a reward model learns from: pairs of the data, or texts that people have rated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from accord.config.data import RatedPairs
from accord.config.reward import RatedGroups, RewardStage
from accord.data.account import Account
from accord.data.examples import chat_example, fitted, pair_example
from accord.data.packing import Example, Response
from accord.data.pairs import rated_pairs, rating_of
from accord.data.rows import ChatRow, PairRow, Row, TextRow
from accord.errors import AccordError
from accord.stages.context import StageContext
from accord.stages.pairs import load_pairs
from accord.stages.records import stage_rows
from accord.text.messages import Message, Messages
from accord.text.tokenizer import Tokenizer

R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Comparisons:
    """Rows of a reward stage.

    Args:
        pairs: To train on; empty where groups of texts are compared.
        texts: Rated texts of the training part; empty where the data holds pairs.
        heldout_pairs: To be measured on.
        heldout_texts: Rated texts of the held-out part.
        rating: Field of the texts' rating.
    """

    pairs: Sequence[PairRow]
    heldout_pairs: Sequence[PairRow]
    texts: Sequence[TextRow] = ()
    heldout_texts: Sequence[TextRow] = ()
    rating: str = ""


def comparisons(
    config: RewardStage, context: StageContext, tokenizer: Callable[[], Tokenizer], account: Account
) -> Comparisons:
    """Read the stage's rows; held-out pairs are made of held-out rows alone.

    Raises:
        AccordError: As `load_pairs` and `rated_pairs`; a pair without the margin asked for.
    """
    made = config.pairs
    if not isinstance(made, RatedPairs | RatedGroups):
        pairs = load_pairs(config, context, tokenizer, account)
        if config.use_margin:
            _check_margins(pairs.train, f"stages.{context.name}.use_margin")
        return Comparisons(pairs.train, pairs.heldout)
    rows = stage_rows(config, "text", context, account)
    held = made.heldout if isinstance(made, RatedGroups) else made
    heldout = rated_pairs(rows.heldout, held, context.seed) if rows.heldout else []
    training = (
        rated_pairs(rows.train, made, context.seed, account) if isinstance(made, RatedPairs) else []
    )
    return Comparisons(training, heldout, rows.train, rows.heldout, made.rating)


def _check_margins(pairs: Sequence[PairRow], where: str) -> None:
    for pair in pairs:
        if pair.margin is None:
            raise AccordError(
                "The pair has no margin.",
                pair.where,
                f"give every row a number in the column 'margin', or drop {where}",
            )


def pair_examples(
    rows: Sequence[PairRow], tokenizer: Tokenizer, max_length: int, account: Account
) -> list[tuple[PairRow, Example]]:
    """Pairs with their tokens; those that `max_length` leaves no response of are counted."""
    return _kept(rows, lambda row: pair_example(row, tokenizer, None), max_length, account)


def text_examples(
    rows: Sequence[TextRow], tokenizer: Tokenizer, max_length: int, account: Account
) -> list[tuple[TextRow, Example]]:
    """Texts with their tokens, as `pair_examples`."""

    def example(row: TextRow) -> Example:
        chat = ChatRow(prompt=(), completion=(Message("text", row.text),), where=row.where)
        return replace(chat_example(chat, tokenizer, None, "last"), row_id=row.id)

    return _kept(rows, example, max_length, account)


def _kept(
    rows: Sequence[R], encode: Callable[[R], Example], max_length: int, account: Account
) -> list[tuple[R, Example]]:
    found: list[tuple[R, Example]] = []
    for row in rows:
        found += [(row, e) for e in fitted([row], [_closed(encode(row))], max_length, account)]
    return found


def _closed(example: Example) -> Example:
    """Responses up to their last scored token: what a policy's answer ends with.

    A template may write a line break after it, which is never sampled.
    """
    return replace(example, responses=tuple(_cut(response) for response in example.responses))


def _cut(response: Response) -> Response:
    end = max((i + 1 for i, scored in enumerate(response.mask) if scored), default=0)
    return Response(response.ids[:end], response.mask[:end])


def ratings_of(rows: Sequence[TextRow], field_name: str) -> list[float]:
    """The number in each row's rating field."""
    return [rating_of(row, field_name) for row in rows]


def shown(side: Messages) -> str:
    """A response's text, as the baseline reads it."""
    return "\n".join(message.content for message in side)
