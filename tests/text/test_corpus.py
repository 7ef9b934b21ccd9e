"""The fast way through a corpus gives the ids of the slow one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from accord.errors import AccordError
from accord.text import Tokenizer
from accord.text.corpus import _members, _splitter
from accord.text.patterns import PATTERNS

SAMPLES = [
    "It's we'LL they'Re 12345 don't\r\n\r\n  x  \t\n y   ",
    "नमस्ते ಚೆನ್ನಾಗಿತ್ತು क्\u200dष é e\u0301 ß \u00a0\u2003x\u0085y\x1cz",
    "漢字かな 한국어 ١٢٣ ½ ⅷ _under_ “quoted” — dash…",
    "emoji 👨‍👩‍👧 and 𝒜𝓁𝓅𝒽𝒶 𑀓",
]
TEXT = st.text() | st.lists(st.sampled_from([*"'sSlLveRE 1\n\r\tनि\u200d.é🙂", "  "])).map("".join)

ASCII = st.text(st.characters(max_codepoint=0x7F))


def slow_cut(pattern: str, text: str) -> list[str]:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return [piece for piece, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", sorted(PATTERNS))
@settings(deadline=None, max_examples=100)
@given(text=st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])) | TEXT | ASCII)
def test_python_cuts_where_the_library_does(name: str, text: str):
    text = "".join(c for c in text if c <= "\uffff")
    assert _splitter(PATTERNS[name], 0xFFFF).findall(text) == slow_cut(PATTERNS[name], text)
    text = "".join(c for c in text if c <= "\x7f")
    assert _splitter(PATTERNS[name], 0x7F).findall(text) == slow_cut(PATTERNS[name], text)


def test_character_classes_hold_what_the_library_says():
    for name, members, others in [
        (r"\p{L}", "aZéनㄱ漢ß", "1 ा_\u0000"),
        (r"\p{M}", "ा्\u0301", "a1 "),
        (r"\p{N}", "1५½Ⅷ", "a "),
        (r"\s", " \n\t\r\u00a0\u2003", "a\u200b"),
    ]:
        found = {chr(c) for first, last in _members(name) for c in range(first, last + 1)}
        assert found.issuperset(members)
        assert found.isdisjoint(others)


@pytest.fixture(scope="module", params=[*sorted(PATTERNS), r"[\s\S]{1,3}"])
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.train(SAMPLES * 3, 400, pattern=request.param)


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXT | ASCII, max_size=4))
def test_corpora_encode_as_single_texts_do(trained: Tokenizer, texts: list[str]):
    corpus = trained.encode_corpus(iter([*texts, *SAMPLES, "x" * 200, "<|endoftext|>"]))
    assert all(ids.dtype == np.uint32 and ids.flags.writeable for ids in corpus)
    expected = [trained.encode(t) for t in (*texts, *SAMPLES, "x" * 200, "<|endoftext|>")]
    assert [ids.tolist() for ids in corpus] == expected


def test_more_words_than_are_kept_change_nothing(trained: Tokenizer, monkeypatch):
    monkeypatch.setattr("accord.text.corpus._MOST_KEPT", 2)
    expected = [trained.encode(t) for t in SAMPLES]
    assert [ids.tolist() for ids in trained.encode_corpus(SAMPLES)] == expected


def test_added_words_that_are_no_control_tokens_are_still_found(trained: Tokenizer):
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Core

    from accord.text.folder import SpecialTokens

    core = Core.from_str(trained._core.to_str())
    core.add_tokens([AddedToken("tool call", normalized=False)])
    with_word = Tokenizer(core, SpecialTokens("<|endoftext|>"))
    text = "a tool call b"
    assert with_word.encode_corpus([text])[0].tolist() == with_word.encode(text)
    assert with_word.token_id("tool call") in with_word.encode(text)


def test_a_lone_surrogate_is_told(trained: Tokenizer):
    with pytest.raises(AccordError, match=r"lone surrogate .* at character 3"):
        trained.encode_corpus(["fine", "ab \ud800"])
