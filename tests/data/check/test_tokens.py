"""What the check says of tokens and of a length limit is what training does."""

import random

import pytest

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.check import check_file
from accord.data.check.tokens import example_of, findings, for_training, tokens_of
from accord.data.examples import chat_example, fitted, label_example, no_room, pair_example
from accord.data.load import load_rows
from accord.data.rows import ChatRow, PairRow, TextRow
from accord.errors import AccordError
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

ASKED = (Message("user", "Where is the fox?"),)


def pair(chosen: str, rejected: str, prompt: str = "Where is the fox?") -> dict:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def test_the_account_is_the_one_that_training_writes(write, tmp_path, tokenizer: Tokenizer) -> None:
    rows = [pair("By the river.", "No " * n) for n in (1, 2, 40)]
    rows += [rows[0], pair("same", "same"), pair("By the river.", "No.", "why " * 60)]
    path = write(rows)
    limit = example_of(_pair(), tokenizer, "last").length
    source, account = SourceConfig(source=str(path)), Account()
    every = HeldoutConfig(fraction=0)
    loaded = load_rows([source], every, "pair", 1, account, tmp_path).train
    made = [pair_example(row, tokenizer, None) for row in loaded]
    kept = fitted(loaded, made, limit, account)
    found = check_file(path, tmp_path, tokenizer, limit)
    assert found.account.to_json() == account.to_json()
    assert found.tokens is not None
    assert found.tokens.rows - found.tokens.dropped.count == len(kept) == 3
    assert found.tokens.truncated.count == 1
    assert found.tokens.cut == {"chosen": 0, "rejected": 1}
    assert sorted(found.tokens.sizes["prompt"]) == sorted(len(e.prompt) for e in made)
    assert found.tokens.sizes["chosen"] == [len(e.responses[0].ids) for e in made]
    assert found.tokens.sizes["whole"] == [e.length for e in made]


def drawn(kind: str, seed: int) -> list[dict]:
    """Rows of a kind with texts of all lengths, some of them twice, some with several turns."""
    draw = random.Random(seed)

    def turns(count: int) -> list[dict]:
        roles = ("user", "assistant")
        said = [draw.choice("ab") * draw.randint(1, 30) for _ in range(count)]
        return [{"role": roles[i % 2], "content": text} for i, text in enumerate(said)]

    def answer() -> list[dict]:
        return turns(2 * draw.randint(1, 2))[1:]

    rows: list[dict] = []
    for _ in range(30):
        prompt = turns(draw.choice((1, 1, 3)))
        made = {
            "pair": {"prompt": prompt, "chosen": answer(), "rejected": answer()},
            "label": {"prompt": prompt, "completion": answer(), "label": draw.random() < 0.5},
            "chat": {"messages": [*prompt, *answer()]},
        }
        rows.append(made[kind])
    return rows + rows[:3]


@pytest.mark.parametrize("train_on", ["last", "all"])
@pytest.mark.parametrize(
    ("kind", "make"), [("pair", pair_example), ("label", label_example), ("chat", chat_example)]
)
def test_every_kind_is_accounted_for_as_in_training(
    write, tmp_path, tokenizer: Tokenizer, kind, make, train_on
) -> None:
    path = write(drawn(kind, seed=1))
    for limit in (60, 80, 110):
        account, source = Account(), SourceConfig(source=str(path))
        rows = load_rows([source], HeldoutConfig(fraction=0), kind, 1, account, tmp_path).train
        made = [make(row, tokenizer, None, train_on) for row in rows]
        kept = fitted(rows, made, limit, account)
        found = check_file(path, tmp_path, tokenizer, limit, train_on=train_on)
        assert found.account.to_json() == account.to_json()
        assert found.tokens is not None
        assert found.tokens.sizes["whole"] == [example.length for example in made]
        assert found.tokens.truncated.count == sum(
            short.responses != long.responses
            for short, long in zip(
                kept, [e for e in made if e.row_id in {k.row_id for k in kept}], strict=True
            )
        )


def _pair() -> PairRow:
    sides = ((Message("assistant", text),) for text in ("By the river.", "No No "))
    return PairRow(ASKED, *sides)


def test_which_side_a_limit_empties(tokenizer: Tokenizer) -> None:
    """With loss on the last turn alone, a long first turn leaves that side without loss."""
    said = (
        Message("assistant", "Well " * 20),
        Message("user", "And?"),
        Message("assistant", "Gone."),
    )
    row = PairRow(ASKED, (Message("assistant", "By the river."),), said, source="s", where="a:1")
    short = example_of(_pair(), tokenizer, "last").length
    account = Account()
    account.kept("s", 1)
    last = tokens_of([row], tokenizer, "last", short, account)
    assert (last.dropped.places, last.emptied) == (["a:1"], {"chosen": 0, "rejected": 1})
    assert account.to_json()["s"]["dropped"] == {no_room(short): 1}
    assert last.long_turns.places == [
        f"a:1 (assistant, {len(tokenizer.encode(said[0].content))} tokens)"
    ]
    assert [finding.severity for finding in findings(last, short)] == ["error", "note"]
    every = tokens_of([row], tokenizer, "all", short, account)
    assert (every.dropped.count, every.truncated.count, every.cut["rejected"]) == (0, 1, 1)
    lost = example_of(row, tokenizer, "all").length - short
    assert every.lost == lost
    assert f"{lost} answer tokens" in findings(every, short)[0].says


def test_a_prompt_alone_needs_room_for_an_answer(tokenizer: Tokenizer) -> None:
    row = ChatRow(ASKED, (), source="s")
    length = len(example_of(row, tokenizer, "last").prompt)
    for limit, dropped in ((length, 1), (length + 1, 0)):
        account = Account()
        account.kept("s", 1)
        assert tokens_of([row], tokenizer, "last", limit, account).dropped.count == dropped
        assert account.to_json()["s"]["kept"] == 1 - dropped


def test_a_text_is_a_response_to_nothing(tokenizer: Tokenizer) -> None:
    found = tokens_of([TextRow("A warm film.")], tokenizer, "last", None, Account())
    count = len(tokenizer.encode("A warm film."))
    assert found.sizes == {"text": [count + 1], "whole": [count + 2]}


def test_rows_that_the_template_refuses_are_bad_rows(tokenizer: Tokenizer) -> None:
    rows = [
        ChatRow((Message("tool", "42"), *ASKED), (Message("assistant", "So."),), where="a:1"),
        ChatRow(ASKED, (Message("assistant", "So."),), where="a:2"),
    ]
    found = tokens_of(rows, tokenizer, "last", 256, Account())
    assert [(bad.where, "no place for role 'tool'" in bad.why) for bad in found.refused] == [
        ("a:1", True)
    ]
    assert found.rows == 1
    assert [finding.severity for finding in findings(found, 256)] == ["error"]


def test_a_tokenizer_without_a_template_is_no_fault_of_rows(tokenizer: Tokenizer) -> None:
    bare = for_training(tokenizer, None)
    bare.chat_template, kept = None, bare.chat_template
    try:
        with pytest.raises(AccordError, match="no chat template"):
            tokens_of([_pair()], bare, "last", None, Account())
    finally:
        bare.chat_template = kept


def test_a_named_template_brings_its_control_tokens(tokenizer: Tokenizer) -> None:
    plain = Tokenizer.train(["a b c"], vocab_size=260, chat_template="plain")
    changed = for_training(plain, "chatml")
    assert "<|im_end|>" in changed.control_tokens
    assert example_of(_pair(), changed, "last").prompt[0] == changed.token_id("<|im_start|>")
    with pytest.raises(AccordError, match="did you mean 'chatml'"):
        for_training(plain, "chatmll")
