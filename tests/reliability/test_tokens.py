"""Control tokens in texts and bombs of tokenizers, as `make battery` has them."""

from pathlib import Path

from accord.text import Tokenizer


def test_control_tokens_inside_texts_are_text(tmp_path: Path) -> None:
    from battery import tokens
    from battery.row import Size

    outcome = tokens.control_tokens(tmp_path, Size())
    assert outcome.passed, outcome.details["failed"]


def test_a_reader_that_gives_control_tokens_is_found(tmp_path: Path) -> None:
    from battery import tokens

    tokenizer = Tokenizer.load(tokens.json_folder(tmp_path))
    tokenizer._core.encode_special_tokens = False
    assert tokens.taken_for_control(tokenizer, "chatml", "<|im_end|>")


def test_tokenizers_made_to_take_for_ever_are_refused(tmp_path: Path) -> None:
    from battery import tokens

    slow = ("a million added tokens", "300,000 added tokens")
    for number, name in enumerate(tokens.BOMBS.keys() - set(slow)):
        assert tokens.bomb(tmp_path / str(number), tokens.BOMBS[name], "a" * 40 + "b"), name


def test_a_word_of_a_megabyte_is_encoded(tmp_path: Path) -> None:
    from battery import tokens

    word = tokens.WORDS["a word of 1 MB"]
    assert tokens.bomb(tmp_path / "a", lambda tree: None, word) == ""
