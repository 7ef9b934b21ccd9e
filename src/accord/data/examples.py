"""From rows to tokens, with every row that is cut or left out counted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from accord.data.account import Account
from accord.data.packing import Example, Response, fit, split_mask
from accord.data.rows import ChatRow, LabelRow, PairRow, Row
from accord.errors import AccordError
from accord.text.chat import TrainOn, prompt_ids, render
from accord.text.messages import Messages
from accord.text.tokenizer import Tokenizer


def chat_example(
    row: ChatRow, tokenizer: Tokenizer, template: str | None, train_on: TrainOn
) -> Example:
    """A conversation as one example: what stands before the first scored token is its prompt.

    Raises:
        AccordError: As `render`, with the row's place.
    """
    with at_row(row):
        rendered = render((*row.prompt, *row.completion), tokenizer, template, train_on)
    prompt, response = split_mask(rendered.ids, rendered.mask)
    return Example(prompt, (response,), row.id)


def pair_example(
    row: PairRow, tokenizer: Tokenizer, template: str | None, train_on: TrainOn = "last"
) -> Example:
    """A pair as one example: two responses that share their prompt, as drawn where that is known.

    Args:
        row: The pair.
        tokenizer: The tokenizer.
        template: A format's name or Jinja text; none: the tokenizer's own.
        train_on: Whether the last assistant turn of an answer carries loss, or every one of the
            answer; those of the shared prompt never do.

    Raises:
        AccordError: As `render`, with the row's place.
    """
    if row.drawn is not None:
        both = (row.drawn.chosen, row.drawn.rejected)
        drawn = tuple(Response(ids, (True,) * len(ids)) for ids in both)
        return Example(row.drawn.prompt, drawn, row.id, margin=row.margin)
    sides = (row.chosen, row.rejected)
    prompt, responses = _answers(row, row.prompt, sides, tokenizer, template, train_on)
    responses = tuple(
        _without_end(response) if cut else response
        for response, cut in zip(responses, row.cut_off, strict=True)
    )
    return Example(prompt, responses, row.id, margin=row.margin)


def label_example(
    row: LabelRow, tokenizer: Tokenizer, template: str | None, train_on: TrainOn = "last"
) -> Example:
    """An answer that is wanted or not as one example, as a side of `pair_example`.

    Raises:
        AccordError: As `render`, with the row's place.
    """
    sides = (row.completion,)
    prompt, responses = _answers(row, row.prompt, sides, tokenizer, template, train_on)
    return Example(prompt, responses, row.id, label=row.label)


def _without_end(response: Response) -> Response:
    """The response up to its last scored token, which closes it."""
    end = max(i for i, scored in enumerate(response.mask) if scored)
    return Response(response.ids[:end], response.mask[:end])


def _answers(
    row: Row,
    asked: Messages,
    sides: Sequence[Messages],
    tokenizer: Tokenizer,
    template: str | None,
    train_on: TrainOn,
) -> tuple[tuple[int, ...], tuple[Response, ...]]:
    """The ids before all of the answers to one prompt, and each answer after them."""
    with at_row(row):
        opening = opening_ids(asked, sides[0][0].role, tokenizer, template)
        rendered = [render((*asked, *side), tokenizer, template, train_on) for side in sides]
    # an answer that goes on with the user's turn shares less than what opens an assistant's
    cut = min(_common(opening, side.ids) for side in rendered)
    return tuple(opening[:cut]), tuple(
        Response(tuple(side.ids[cut:]), tuple(side.mask[cut:])) for side in rendered
    )


def _common(left: list[int], right: list[int]) -> int:
    """How many tokens both begin with."""
    if right[: len(left)] == left:
        return len(left)
    pairs = zip(left, right, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def opening_ids(
    prompt: Messages, role: str, tokenizer: Tokenizer, template: str | None
) -> list[int]:
    """The ids after which a response by `role` starts; plain text needs no prompt to start."""
    return prompt_ids(prompt, tokenizer, template if prompt or role != "text" else "plain")


@contextmanager
def at_row(row: Row) -> Iterator[None]:
    """Give an error that names no place the place of the row it was raised for."""
    try:
        yield
    except AccordError as error:
        raise AccordError(error.what, error.where or row.where, error.fix) from error


def no_room(max_length: int) -> str:
    """Why a row is dropped whose prompt takes all of `max_length`."""
    return f"no response token within {max_length} tokens"


def fitted(
    rows: Sequence[Row], examples: Sequence[Example], max_length: int, account: Account
) -> list[Example]:
    """Examples cut to `max_length` tokens; those cut, or left with no loss, are counted."""
    kept: list[Example] = []
    for row, example in zip(rows, examples, strict=True):
        short = fit(example, max_length)
        if short is None:
            account.withdraw(row.source, no_room(max_length), language=row.language)
            continue
        if short.responses != example.responses:
            account.truncated(row.source, f"longer than {max_length} tokens")
        kept.append(short)
    return kept


def check_some(
    rows: Sequence[Row], training: Sequence[Example], max_length: int, where: str
) -> None:
    """Refuse a `max_length` that leaves none of the rows a token to train on."""
    if rows and not training:
        raise AccordError(
            f"None of {len(rows)} rows has a response token within {max_length} tokens.",
            f"{where}.max_length",
            "raise it, or give rows with shorter prompts",
        )
