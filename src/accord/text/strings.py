"""What counts as text: strings without lone surrogates, looked at one by one or in batches."""

from collections.abc import Iterable, Iterator

from accord.errors import AccordError

_BATCH_CHARACTERS = 1 << 20  # of text held as encodings at a time


def is_text(text: str) -> bool:
    """Whether a string can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def surrogate(text: str) -> AccordError:
    """The error for a string that is no text; names the place of its first lone surrogate."""
    at = next((i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff"), 0)
    return AccordError(
        f"the text holds a lone surrogate ({text[at : at + 1]!a}) at character {at}: no UTF-8",
        where="text",
        fix="read the file as UTF-8 with errors='replace', or drop the row",
    )


def checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts as they come.

    Raises:
        AccordError: One holds a lone surrogate, or all are empty.
    """
    seen = False
    for text in texts:
        if not is_text(text):
            raise surrogate(text)
        seen = seen or bool(text)
        yield text
    if not seen:
        raise AccordError(
            "the tokenizer's corpus is empty", where="data", fix="give sources that hold text"
        )


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists of about a million characters, in their order."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
