"""SentencePiece models give the ids of SentencePiece's own library."""

import io
import random
from pathlib import Path

import pytest

from accord.errors import AccordError
from accord.text.tokenizer import Tokenizer

spm = pytest.importorskip("sentencepiece")
CORPUS = [
    "The quick brown fox jumps over the lazy dog; <s> and </s> are tokens, <unk> and <pad> too.",
    "def f(x):\n    return {x: [1, 2, 3]}  # <0xFF> 0123456789ABCDEF",
    "안녕하세요 세계, 한국어 문장입니다. ﾊﾝｶｸ ａｂｃ №5 ½",
    "Größe, façade, naïve — “quoted” … |pipe| a_b ok?! (yes) a/b x=y+z",
] * 6
ALPHABET = [
    *"abcdefg  <s></s> \n\t012(){}|_ÀÉéŁ한국어▁\u00a0\u3000ﾊａ½①é\u0301\u200d🙂🏳️‍🌈中\0",
    "<s>", "</s>", "<unk>", "<pad>", "<0x41>", "  ", "the ", " quick",
]  # fmt: skip
KINDS = [
    (kind, {"byte_fallback": fallback, **more})
    for kind in ("unigram", "bpe")
    for fallback in (True, False)
    for more in (
        {"remove_extra_whitespaces": False},
        {"remove_extra_whitespaces": True},
        {"add_dummy_prefix": False, "split_digits": True, "remove_extra_whitespaces": False},
    )
]


def trained(folder: Path, kind: str, **options: object) -> "spm.SentencePieceProcessor":
    written = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        model_type=kind,
        vocab_size=420 if options.get("byte_fallback") else 180,
        character_coverage=1.0,
        hard_vocab_limit=False,
        pad_id=3,
        minloglevel=2,
        **{"normalization_rule_name": "identity", **options},
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    return spm.SentencePieceProcessor(model_proto=written.getvalue())


@pytest.mark.peer
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=str)
def test_ids_and_texts_are_sentencepieces(kind: str, options: dict, tmp_path: Path) -> None:
    theirs = trained(tmp_path, kind, **options)
    ours = Tokenizer.load(tmp_path)
    assert (ours.bos_id, ours.end_id, ours.pad_id) == (1, 2, 3)
    assert len(ours) == theirs.get_piece_size()
    draw = random.Random(0)
    texts = [
        *CORPUS[:4],
        *("".join(draw.choices(ALPHABET, k=draw.randrange(0, 30))) for _ in range(400)),
    ]
    for text in texts:
        assert ours.encode(text) == theirs.encode(text), text
    for text in CORPUS[:4]:
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
    ours.save(tmp_path / "out")
    again = Tokenizer.load(tmp_path / "out")
    assert again.encode_batch(texts) == ours.encode_batch(texts)


def test_tokens_added_beside_the_model_have_their_ids(tmp_path: Path) -> None:
    size = trained(tmp_path, "unigram", byte_fallback=True).get_piece_size()
    added = f'{{"<|im_end|>": {size + 1}, "<|im_start|>": {size}}}'
    (tmp_path / "added_tokens.json").write_text(added)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.token_id("<|im_start|>") == size
    assert size not in loaded.encode("<|im_start|>")
    (tmp_path / "added_tokens.json").write_text(f'{{"<|im_end|>": {size + 7}}}')
    with pytest.raises(AccordError, match="has the id"):
        Tokenizer.load(tmp_path)


def test_what_could_give_other_ids_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, "bpe", user_defined_symbols=["<mark>"])
    with pytest.raises(AccordError, match="user-defined symbols"):
        Tokenizer.load(tmp_path)
    trained(tmp_path, "unigram", normalization_rule_name="nmt_nfkc")
    with pytest.raises(AccordError, match="normalises characters by a table of its own"):
        Tokenizer.load(tmp_path)
    trained(tmp_path, "word")
    with pytest.raises(AccordError, match="neither a unigram nor a BPE model"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x0a\xff", b"no model at all", b"\x80" * 20])
def test_a_file_that_is_no_model_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(AccordError, match="SentencePiece model") as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.where == str(tmp_path / "tokenizer.model")
