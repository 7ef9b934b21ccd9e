"""Control tokens: which a tokenizer is trained with, and how it gets further ones."""

from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import AddedToken

from accord.errors import AccordError


def control_tokens(
    end: str, pad: str, of_template: Sequence[str], further: Sequence[str]
) -> list[str]:
    """The control tokens of a tokenizer to be trained, in the order of their ids.

    Raises:
        AccordError: One is empty or named twice, or the pad token has another meaning too.
    """
    if end == pad:
        raise AccordError(
            f"the end token and the pad token are both '{end}'",
            where="pad_token",
            fix="give them different texts: a padded end token would drop out of the loss",
        )
    if pad in of_template:
        raise AccordError(
            f"the pad token '{pad}' is also a control token of the chat template",
            where="pad_token",
            fix="give padding a token of its own",
        )
    tokens = list(dict.fromkeys((end, pad, *of_template)))
    for token in further:
        if token in tokens:
            raise AccordError(
                f"the control token '{token}' is named twice",
                where="special_tokens",
                fix="remove it: end, pad and chat template tokens are there already",
            )
        tokens.append(token)
    if "" in tokens:
        raise AccordError("a control token is empty", where="special_tokens", fix="name it")
    return tokens


def merges_within(vocab_size: int, control: Sequence[str]) -> int:
    """Bytes and merges that a vocabulary has room for beside its control tokens.

    Raises:
        AccordError: Not even the 256 bytes.
    """
    if vocab_size - len(control) < 256:
        raise AccordError(
            f"vocab_size {vocab_size} is too small: 256 bytes and {len(control)} control "
            f"tokens need {256 + len(control)}",
            where="vocab_size",
            fix=f"set vocab_size to at least {256 + len(control)}",
        )
    return vocab_size - len(control)


def with_control(core: tokenizers.Tokenizer, tokens: Iterable[str]) -> tokenizers.Tokenizer:
    """A copy in which each of the tokens is a control token.

    One that was an added token without being special keeps its id; those that were not there get
    the ids after the last.

    Raises:
        AccordError: A token is empty, or the model writes it as an ordinary token, so that text
            could not be told from control; ids are missing before the vocabulary's end.
    """
    changed = tokenizers.Tokenizer.from_str(core.to_str())
    changed.encode_special_tokens = True
    _check_gaps(changed)
    for token in dict.fromkeys(tokens):
        if not token:
            raise AccordError("a control token is empty", fix="name it")
        changed.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        if changed.token_to_id(token) in changed.encode(token, add_special_tokens=False).ids:
            raise AccordError(
                f"'{token}' is an ordinary token of this tokenizer, which any text may hold",
                fix="choose a text that the vocabulary does not have",
            )
    return changed


def _check_gaps(core: tokenizers.Tokenizer) -> None:
    """Refuse ids with gaps: the library would give a new token the id of another."""
    size = core.get_vocab_size(with_added_tokens=True)
    last = max(core.get_vocab(with_added_tokens=True).values(), default=-1)
    if last != size - 1:
        raise AccordError(
            f"the tokenizer's ids have gaps: {size} tokens, the last is {last}",
            fix="give a tokenizer whose ids have none, or one that has the tokens already",
        )
