"""SentencePiece's `tokenizer.model`, read without its library into the tokenizers library's form.

The file is a protocol buffer (`sentencepiece_model.proto`), of which a few fields are needed. What
would give other ids than SentencePiece gives is refused.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from accord.errors import AccordError
from accord.text.core import check_size, check_tokens

MODEL = "tokenizer.model"
_BLANK = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _USER = 1, 2, 3, 4
_UNIGRAM, _BPE = 1, 2
_Value = int | bytes


@dataclass(frozen=True)
class Piece:
    """A token: its text, its score, and whether it is normal, control, a byte, …"""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePiece:
    """What a `tokenizer.model` says.

    Args:
        pieces: The tokens in the order of their ids.
        kind: Of the model: 1 unigram, 2 BPE.
        byte_fallback: Whether unknown characters become bytes.
        ids: Ids of unk, bos, eos and pad, -1 where there is none.
        charsmap: How characters are normalised, compiled; empty: not at all.
        dummy_prefix: Whether a blank is put before a text.
        squeezes: Whether blanks at the ends go and those in a row become one.
    """

    pieces: tuple[Piece, ...]
    kind: int
    byte_fallback: bool
    ids: tuple[int, int, int, int]
    charsmap: bytes
    dummy_prefix: bool
    squeezes: bool

    def special(self, which: int) -> str | None:
        """Text of unk (0), bos (1), eos (2) or pad (3)."""
        number = self.ids[which]
        return self.pieces[number].text if 0 <= number < len(self.pieces) else None


def read(path: Path) -> SentencePiece:
    """The content of a `tokenizer.model`.

    Raises:
        AccordError: It is no SentencePiece model, or one whose ids cannot be given exactly.
    """
    check_size(path)
    try:
        model = _model(path.read_bytes())
    except (LookupError, ValueError, struct.error, AssertionError) as error:
        raise AccordError(
            f"the file is no SentencePiece model: {error}",
            str(path),
            "give a folder with a tokenizer.json",
        ) from error
    check_tokens((piece.text for piece in model.pieces), str(path))
    reason = _refusal(model)
    if reason is not None:
        raise AccordError(
            f"the SentencePiece model is not read: {reason}",
            str(path),
            "convert it where it came from and give the tokenizer.json",
        )
    return model


def converted(model: SentencePiece) -> tokenizers.Tokenizer:
    """The tokenizers library's object that gives SentencePiece's ids."""
    core = tokenizers.Tokenizer(_unigram(model) if model.kind == _UNIGRAM else _bpe(model))
    core.normalizer = normalizers.Sequence(list(_normalising(model)))
    if model.kind == _UNIGRAM and (cuts := _cuts(model)):
        core.pre_tokenizer = pre_tokenizers.Split(Regex(cuts), "merged_with_previous")
    tail = [decoders.Strip(" ", 1, 0)] if model.dummy_prefix else []
    core.decoder = decoders.Sequence(
        [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse(), *tail]
    )
    control = [p.text for p in model.pieces if p.kind in (_UNKNOWN, _CONTROL)]
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    return core


def _refusal(model: SentencePiece) -> str | None:
    if not model.pieces or model.kind not in (_UNIGRAM, _BPE):
        return "it is neither a unigram nor a BPE model"
    if model.charsmap:
        return (
            "it normalises characters by a table of its own (nmt_nfkc and the like), which the "
            "tokenizers library reads otherwise where a mark follows a mapped character"
        )
    if any(piece.kind == _USER for piece in model.pieces):
        return "it has user-defined symbols, which are cut out of a text before all else"
    normal = {piece.text for piece in model.pieces if piece.kind == _NORMAL}
    # an unknown character then has no way round, whatever it costs
    held = {character for text in normal for character in text}
    if not held <= normal:
        return f"no piece of its own: {', '.join(sorted(held - normal)[:8])!r}, inside others"
    others = [piece.text for piece in model.pieces if piece.kind != _NORMAL]
    whole = [text for text in others if not any(character in normal for character in text)]
    if model.kind == _UNIGRAM and whole:
        return f"a text could be taken for the control token {whole[0]!r}"
    return None


def _unigram(model: SentencePiece) -> models.Unigram:
    scores = {piece.text: piece.score for piece in model.pieces if piece.kind == _NORMAL}
    others = [piece.text for piece in model.pieces if piece.kind != _NORMAL]
    spelt = [text for text in others if all(character in scores for character in text)]
    # a control token's text is then always cheaper in characters
    dearest = min((sum(scores[character] for character in text) for text in spelt), default=0.0)
    floor = min(dearest, *scores.values()) - 1
    vocabulary = [
        (piece.text, piece.score if piece.kind == _NORMAL else floor) for piece in model.pieces
    ]
    return models.Unigram(vocabulary, model.ids[0], model.byte_fallback)


def _cuts(model: SentencePiece) -> str:
    """Where a text is cut so that it is never taken for a control token; empty: nowhere.

    Only beside a character that no piece holds, where SentencePiece's own pieces end too.
    """
    normal = {piece.text for piece in model.pieces if piece.kind == _NORMAL}
    after: dict[str, list[str]] = {}
    for text in (piece.text for piece in model.pieces if piece.kind != _NORMAL):
        known = [character in normal for character in text]
        place = next((i for i in range(1, len(text)) if known[i - 1] != known[i]), None)
        if place is not None:
            after.setdefault(re.escape(text[:place]), []).append(re.escape(text[place:]))
    return "|".join(f"{before}(?={'|'.join(rest)})" for before, rest in after.items())


def _bpe(model: SentencePiece) -> models.BPE:
    ids = {piece.text: number for number, piece in enumerate(model.pieces)}
    normal = {piece.text for piece in model.pieces if piece.kind == _NORMAL}
    ranked = sorted((p for p in model.pieces if p.kind == _NORMAL), key=lambda p: -p.score)
    merges = [
        (piece.text[:cut], piece.text[cut:])
        for piece in ranked
        for cut in range(1, len(piece.text))
        if piece.text[:cut] in normal and piece.text[cut:] in normal
    ]
    return models.BPE(
        ids,
        merges,
        unk_token=model.special(0),
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def _normalising(model: SentencePiece) -> Iterator[normalizers.Normalizer]:
    if model.squeezes:
        yield normalizers.Replace(Regex(r"\A +"), "")
        yield normalizers.Replace(Regex(" {2,}"), " ")
    yield normalizers.Replace(" ", _BLANK)
    if model.dummy_prefix:
        yield normalizers.Prepend(_BLANK)
    if model.squeezes:
        # at the end a written mark counts as a blank too
        yield normalizers.Replace(Regex(rf"{_BLANK}+\z"), "")


def _model(data: bytes) -> SentencePiece:
    pieces: list[Piece] = []
    trainer: dict[int, _Value] = {}
    normalizer: dict[int, _Value] = {}
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            pieces.append(_piece(value))
        elif number == 2 and isinstance(value, bytes):
            trainer = dict(_fields(value))
        elif number == 3 and isinstance(value, bytes):
            normalizer = dict(_fields(value))
    charsmap = normalizer.get(2, b"")
    if trainer.get(24) or not normalizer.get(5, 1):
        raise ValueError("blanks at the end of pieces, or not escaped, are not supported")
    return SentencePiece(
        tuple(pieces),
        _number(trainer.get(3, _UNIGRAM)),
        bool(trainer.get(35, 0)),
        (
            _number(trainer.get(40, 0)),
            _number(trainer.get(41, 1)),
            _number(trainer.get(42, 2)),
            _number(trainer.get(43, -1)),
        ),
        charsmap if isinstance(charsmap, bytes) else b"",
        bool(normalizer.get(3, 1)),
        bool(normalizer.get(4, 1)),
    )


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text, score = fields[1], fields.get(2, b"\0\0\0\0")
    assert isinstance(text, bytes) and isinstance(score, bytes)
    return Piece(text.decode(), struct.unpack("<f", score)[0], _number(fields.get(3, _NORMAL)))


def _number(value: _Value) -> int:
    """A signed 32-bit number, which is written as 64 bits."""
    if not isinstance(value, int):
        raise ValueError("a number is stored as text")
    return value - (1 << 64) if value >> 63 else value


def _fields(data: bytes) -> Iterator[tuple[int, _Value]]:
    """Field numbers and values of a protocol buffer's message, in order."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(data, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + length > len(data):
            raise ValueError("it ends early")
        yield number, data[place : place + length]
        place += length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number is too long")
