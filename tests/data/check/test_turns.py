"""Roles, system prompts and odd turns."""

from dataclasses import replace

from accord.data.check.turns import findings, turns_of, untemplated
from accord.data.rows import ChatRow, PairRow, Row
from accord.text.messages import Message, Messages

ASKED = (Message("system", "Be brief."), Message("user", "Why?"))
ANSWER = (Message("assistant", "So."),)


def test_counts() -> None:
    rows: list[Row] = [
        ChatRow(ASKED, ANSWER, source="s", language="en"),
        ChatRow((ASKED[1],), ANSWER, source="s", language="ko"),
        PairRow(ASKED, ANSWER, (*ANSWER, ASKED[1], *ANSWER), source="s"),
        ChatRow((), (Message("text", "alone"),), source="t"),
    ]
    found = turns_of(rows)
    assert found.counts == {3: 1, 2: 1, 5: 1, 1: 1}
    assert found.roles == {"system": 2, "user": 4, "assistant": 5, "text": 1}
    assert found.systems == {"Be brief.": 2}
    assert found.languages == {"en": 1, "ko": 1}
    assert found.sources == {"s": 3, "t": 1}
    assert found.unprompted == 1
    assert findings(found, len(rows)) == []


def test_odd_turns_are_found_with_their_places() -> None:
    sound = [ChatRow(ASKED, ANSWER) for _ in range(40)]
    empty = ChatRow((Message("user", " \n"),), ANSWER, where="a:1")
    twice = ChatRow((ASKED[1], ASKED[1]), ANSWER, where="a:2")
    long = ChatRow((Message("user", "why " * 1000),), ANSWER, where="a:3")
    found = turns_of([*sound, empty, twice, long])
    assert found.empty.places == ["a:1 (user)"]
    assert found.same_role.places == ["a:2"]
    assert found.long.places == ["a:3 (4,000 characters)"]
    names = {finding.name: finding.severity for finding in findings(found, 43)}
    assert names == {"empty_turns": "warning", "over_long_turns": "warning", "same_role": "note"}


def test_plain_strings_run_on_and_do_not_repeat_a_role() -> None:
    row = ChatRow((Message("text", "One."),), (Message("text", "Two."),))
    assert turns_of([row]).same_role.count == 0


def test_names_of_control_tokens_in_text() -> None:
    rows = [
        ChatRow((Message("user", f"{i} < {i + 1}"),), ANSWER, where=f"a:{i}") for i in range(20)
    ]
    rows[3] = replace(rows[3], completion=(Message("assistant", "</s> and <|mine|></s>"),))
    found = turns_of(rows, ("<|mine", "<|mine|>"))
    assert {name: tally.count for name, tally in found.control.items()} == {
        "</s>": 1,
        "<|mine|>": 1,
    }
    (finding,) = findings(found, len(rows))
    assert (finding.severity, finding.places) == ("note", ("a:3",))
    (finding,) = findings(turns_of(rows[2:5]), 3)
    assert finding.severity == "warning" and "rendered by a template already" in finding.advice


def said(words: str) -> Messages:
    return (Message("text", words),)


def test_plain_strings_pass_a_chat_template_by() -> None:
    plain = PairRow((Message("text", "Hi"),), said("Hello"), said("No"), where="a:1")
    alone = PairRow((), said("Hello"), said("No"), where="a:2")
    chat = PairRow((Message("user", "Hi"),), said("Hello"), said("No"), where="a:3")
    (finding,) = untemplated([chat, plain, alone], "chatml")
    assert finding.severity == "warning" and finding.places == ("a:1",)
    assert finding.says.startswith("1 row (33.3 %) with plain strings")
    assert "strings: turns" in finding.advice
    assert untemplated([plain], None) == untemplated([plain], "plain") == []
    assert untemplated([alone, chat], "chatml") == []
