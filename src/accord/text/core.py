"""A `tokenizer.json` read with what a file of a stranger may do kept within bounds."""

from pathlib import Path

import tokenizers

from accord.errors import AccordError


def read_core(path: Path) -> tokenizers.Tokenizer:
    """The tokenizers library's object of a `tokenizer.json`.

    Raises:
        AccordError: The library cannot read it.
    """
    try:
        return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except BaseException as error:  # the binding raises bare Exceptions, and panics
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise AccordError(
            f"tokenizer.json cannot be read: {error}", str(path), "fetch or save it again"
        ) from None
