"""What a stage is told before it trains."""

from accord.data.check import warnings_of
from accord.data.examples import pair_example
from accord.data.rows import PairRow
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer


def pair(prompt: str, chosen: str, rejected: str) -> PairRow:
    sides = {
        "chosen": (Message("assistant", chosen),),
        "rejected": (Message("assistant", rejected),),
    }
    return PairRow(prompt=(Message("user", prompt),), **sides)


def told(rows: list[PairRow], tokenizer: Tokenizer, max_length: int | None = None) -> list[str]:
    return warnings_of(rows, [pair_example(row, tokenizer, None) for row in rows], max_length)


def test_sound_rows_give_no_warning(tokenizer: Tokenizer) -> None:
    rows = [pair(f"q{i}", f"aa{i}", f"bb{i}") for i in range(20)]
    assert told(rows, tokenizer, 512) == []


def test_each_thing_that_spoils_training_is_said_in_a_sentence(tokenizer: Tokenizer) -> None:
    rows = [pair("q", f"a much longer answer {i}", f"b{i}") for i in range(20)]
    rows += [pair("q", "x", "y"), pair("q", "Y", "X"), pair("q", "X ", "y")]
    short = sorted(pair_example(row, tokenizer, None).length for row in rows)[5]
    said = "\n".join(told(rows, tokenizer, short))
    assert "learned from length alone" in said
    assert "All 23 prompts are the same." in said
    assert "3 rows have a preference or label that other rows" in said
    assert "1 repeat (4.3 % of rows) of an earlier row but for case and blanks" in said
    assert f"longer than {short} tokens" in said
    assert all(line.endswith(".") for line in said.splitlines())


def test_without_rows_there_is_nothing_to_say() -> None:
    assert warnings_of([], [], 10) == []
