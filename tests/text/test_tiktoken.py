"""tiktoken's rank files and tekken.json: the ids are tiktoken's own."""

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from accord.errors import AccordError
from accord.text import Tokenizer
from accord.text.tiktoken import KNOWN, _alphabet

CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""As tiktoken itself has it."""
TEXT = (
    "It's what we'LL say: 12345 foxes aren't 7% of it.\n\n  aaaa aaaaa aaaaaaa\tनमस्ते दुनिया "
    "한국어 🙂🙂 café naïve x=1+2; don't DON'T \r\n  \n end  "
)


def ranks() -> list[bytes]:
    """Bytes and 300 merges, learnt as tiktoken's educational trainer would."""
    tokens = [bytes([b]) for b in range(256)]
    words = [[bytes([b]) for b in word.encode()] for word in TEXT.split(" ") * 2]
    words += [[bytes([b]) for b in (" " + word).encode()] for word in TEXT.split()]
    for _ in range(300):
        counts: dict[bytes, int] = {}
        for word in words:
            for pair in pairwise(word):
                both = pair[0] + pair[1]
                counts[both] = counts.get(both, 0) + 1
        fresh = {both: n for both, n in counts.items() if both not in tokens}
        if not fresh:
            break
        best = max(fresh, key=lambda both: (fresh[both], both))
        tokens.append(best)
        words = [_merged(word, best) for word in words]
    return tokens


def _merged(word: list[bytes], best: bytes) -> list[bytes]:
    made: list[bytes] = []
    for part in word:
        if made and made[-1] + part == best:
            made[-1] = best
        else:
            made.append(part)
    return made


TOKENS = ranks()
END = len(TOKENS)
OWN = tiktoken.Encoding(
    "own",
    pat_str=CL100K,
    mergeable_ranks={token: rank for rank, token in enumerate(TOKENS)},
    special_tokens={"<|endoftext|>": END},
)


def write(folder: Path, name: str = "cl100k_base.tiktoken", **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [f"{base64.b64encode(t).decode()} {rank}\n" for rank, t in enumerate(TOKENS)]
    (folder / name).write_text("".join(lines))
    said = {
        "eos_token": "<|endoftext|>",
        "added_tokens_decoder": {str(END): {"content": "<|endoftext|>"}},
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def tekken(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(TOKENS)
    ]
    document = {
        "config": {
            "pattern": KNOWN["cl100k_base"],
            "num_vocab_tokens": len(TOKENS),
            "default_vocab_size": len(TOKENS) + 10,
            "default_num_special_tokens": 10,
        },
        "vocab": vocabulary,
        "special_tokens": [
            {"rank": 0, "token_str": "<unk>"},
            {"rank": 1, "token_str": "<s>"},
            {"rank": 2, "token_str": "</s>"},
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(document))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "</s>", "bos_token": "<s>"})
    )
    return folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(write(tmp_path_factory.mktemp("ranks")))


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(TEXT + "\u0301ſ\x85\u2028", max_size=60),
    st.text("a \n'", max_size=30),
)


@settings(deadline=None, max_examples=300)
@given(text=TEXTS)
def test_ids_are_tiktokens(loaded: Tokenizer, text: str) -> None:
    ids = OWN.encode_ordinary(text)
    assert loaded.encode(text) == ids
    assert loaded.decode(ids) == text


def test_a_long_text_has_tiktokens_ids(loaded: Tokenizer) -> None:
    assert len(TOKENS) > 350
    assert loaded.encode(TEXT) == OWN.encode_ordinary(TEXT)
    assert loaded.end_id == END and len(loaded) == END + 1
    assert END not in loaded.encode("<|endoftext|>")


def test_tekkens_ranks_follow_its_control_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tekken(tmp_path))
    assert tokenizer.encode(TEXT) == [i + 10 for i in OWN.encode_ordinary(TEXT)]
    assert (tokenizer.bos_id, tokenizer.end_id) == (1, 2)
    assert tokenizer.control_ids == frozenset(range(10))


def test_what_is_saved_is_read_again_from_tokenizer_json(loaded: Tokenizer, tmp_path: Path) -> None:
    loaded.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.encode(TEXT) == loaded.encode(TEXT)


def test_a_rank_file_of_another_name_needs_its_pattern(tmp_path: Path) -> None:
    with pytest.raises(AccordError, match=r"nothing says how 'mine\.tiktoken' cuts words"):
        Tokenizer.load(write(tmp_path / "a", "mine.tiktoken"))
    said = Tokenizer.load(write(tmp_path / "b", "mine.tiktoken", pat_str=KNOWN["cl100k_base"]))
    assert said.encode(TEXT) == OWN.encode_ordinary(TEXT)


@pytest.mark.parametrize("text", ["", "%% 0\n", "YQ== 0\nYg== 2\n", "YQ==\n"])
def test_a_broken_rank_file_is_told_so(text: str, tmp_path: Path) -> None:
    (write(tmp_path) / "cl100k_base.tiktoken").write_text(text)
    with pytest.raises(AccordError, match="holds no tiktoken ranks"):
        Tokenizer.load(tmp_path)


def test_bytes_are_written_as_the_library_writes_them() -> None:
    assert sorted(_alphabet().values()) == sorted(ByteLevel.alphabet())
