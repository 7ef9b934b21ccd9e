"""What is shown adds up to the text, whole characters at a time, and never holds a stop string."""

from hypothesis import given, settings
from hypothesis import strategies as st

from accord.rollout.continuous import Token
from accord.serve.pieces import Piece, Pieces
from accord.text.tokenizer import Tokenizer

from .conftest import TEXTS

TOKENIZER = Tokenizer.train(TEXTS * 3, vocab_size=320, chat_template="chatml")
END = TOKENIZER.end_id
# a byte-level vocabulary begins with the 256 bytes: printable ones first, then the others
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = {
    byte: i for i, byte in enumerate([*_PRINTABLE, *(b for b in range(256) if b not in _PRINTABLE)])
}
some_ids = st.lists(st.integers(0, len(TOKENIZER) - 5), min_size=1, max_size=90)
some_text = st.text(st.sampled_from("abc é你🙂 \n"), min_size=1, max_size=40)


def pieces_of(ids: list[int], stop: tuple[str, ...] = (), budget: int | None = None) -> list[Piece]:
    pieces = Pieces(TOKENIZER, frozenset({END}), budget or len(ids), stop)
    given = []
    for token in ids:
        piece = pieces.add(Token(token))
        if piece is not None:
            given.append(piece)
            if piece.finish:
                break
    return given


@settings(deadline=None, max_examples=200)
@given(ids=some_ids)
def test_any_tokens_add_up_to_their_text(ids):
    given = pieces_of(ids)
    assert "".join(piece.text for piece in given) == TOKENIZER.decode(ids)
    assert [token.id for piece in given for token in piece.tokens] == ids
    assert given[-1].finish == "length"


@settings(deadline=None, max_examples=100)
@given(text=some_text)
def test_text_is_never_cut_inside_a_character(text):
    # a token a byte: every character of several bytes is cut by tokens
    ids = [BYTES[byte] for byte in text.encode()]
    given = pieces_of([*ids, END], budget=1000)
    assert "".join(piece.text for piece in given) == text
    assert all("\ufffd" not in piece.text for piece in given)
    assert given[-1].finish == "stop"


@settings(deadline=None, max_examples=200)
@given(text=some_text, stop=st.lists(st.text(st.sampled_from("abc é你"), min_size=1, max_size=4)))
def test_stop_strings_end_it_and_are_never_shown(text, stop):
    ids = [BYTES[byte] for byte in text.encode()]
    shown = ""
    for piece in pieces_of([*ids, END], tuple(stop), budget=1000):
        shown += piece.text
        # what was shown stays right whatever comes next
        assert all(word not in shown for word in stop)
    first = _first_ended(text, stop)
    assert shown == (text if first is None else first)


def _first_ended(text: str, stop: list[str]) -> str | None:
    """The text before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        found = [at for word in stop if (at := text[:end].find(word)) >= 0]
        if found:
            return text[: min(found)]
    return None


def test_a_stop_string_across_tokens_is_held_back():
    ids = [BYTES[byte] for byte in b"one STO two STOP three"]
    given = pieces_of([*ids, END], ("STOP",), budget=1000)
    assert "".join(piece.text for piece in given) == "one STO two "
    assert given[-1].finish == "stop"
    # nor are its tokens given with the text
    assert len([token for piece in given for token in piece.tokens]) == len("one STO two ")


def test_a_stop_string_in_the_last_token_that_may_be_drawn_counts():
    ids = [BYTES[byte] for byte in b"ab!"]
    assert pieces_of(ids, ("!",))[-1].finish == "stop"
