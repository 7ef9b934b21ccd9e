"""Duplicates, contradictions and texts that come too often."""

from accord.data.check.parts import keys_of
from accord.data.check.repeats import Repeats, findings, repeats_of
from accord.data.rows import LabelRow, PairRow, Row, TextRow
from accord.text.messages import Message


def said(text: str, role: str = "text") -> tuple[Message, ...]:
    return (Message(role, text),) if text else ()


def pair(prompt: str, chosen: str, rejected: str, line: int) -> PairRow:
    sides = {"chosen": said(chosen), "rejected": said(rejected)}
    return PairRow(prompt=said(prompt), **sides, where=f"a:{line}")


def found_in(rows: list[Row]) -> Repeats:
    return repeats_of(rows, [keys_of(row) for row in rows])


def test_exact_repeats_and_those_but_for_case_and_blanks() -> None:
    rows: list[Row] = [
        TextRow(t, where=f"a:{i}") for i, t in enumerate(["x y", "x y", "X  y", "z"])
    ]
    found = found_in(rows)
    assert found.exact.places == ["a:1 repeats a:0"]
    assert found.normalised.places == ["a:2 repeats a:0"]
    assert (found.exact.count, found.normalised.count) == (1, 1)


def test_a_label_makes_a_difference_and_a_contradiction() -> None:
    rows: list[Row] = [
        LabelRow(said("q"), said(answer), label, where=f"a:{i}")
        for i, (answer, label) in enumerate([("yes", True), ("Yes", False), ("no", False)])
    ]
    found = found_in(rows)
    assert found.normalised.count == 0
    assert found.contradictory.places == ["a:0", "a:1"]


def test_contradictions_are_circles_and_rankings_are_none() -> None:
    ranking: list[Row] = [pair("q", "A", "B", 1), pair("q", "B", "C", 2), pair("q", "A", "C", 3)]
    found = found_in(ranking)
    assert (found.contradictory.count, found.chained) == (0, 1)
    circle = [*ranking, pair("q", "c", "a", 4), pair("other", "C", "A", 5)]
    found = found_in(circle)
    assert found.contradictory.places == ["a:1", "a:2", "a:3"]
    assert (found.contradictory.count, found.chained) == (4, 0)


def test_equal_sides_are_no_circle() -> None:
    found = found_in([pair("q", "Yes ", "yes", 1)])
    assert (found.equal_sides.count, found.contradictory.count) == (1, 0)


def test_one_prompt_for_all_and_one_answer_for_many() -> None:
    rows: list[Row] = [pair("q", "I cannot help.", f"no {i}", i) for i in range(10)]
    found = found_in(rows)
    assert found.most["prompt"].count == found.most["chosen"].count == 10
    assert "rejected" not in found.most
    says = {finding.name: finding.says for finding in findings(found, len(rows))}
    assert says["same_prompt"] == "All 10 prompts are the same."
    assert says["same_chosen"].startswith("One chosen text is in 10 rows (100.0 %): 'I cannot")


def test_severity_of_repeats_depends_on_their_share() -> None:
    rows: list[Row] = [TextRow(str(i)) for i in range(200)]
    few, many = found_in([*rows, rows[0]]), found_in([*rows, *rows[:9]])
    assert [finding.severity for finding in findings(few, 201)] == ["note"]
    assert [finding.severity for finding in findings(many, 209)] == ["warning"]
    assert findings(found_in(rows), 200) == []
