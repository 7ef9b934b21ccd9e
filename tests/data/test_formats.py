"""Formats: each convention recognised from its columns, each faulty row told what it lacks."""

import json

import pytest

from accord.config.data import SourceConfig
from accord.data.formats import FORMATS, IDENTICAL, Converter
from accord.data.rawfile import BadRow, FilteredRow, RawRow
from accord.data.rows import ChatRow, LabelRow, PairRow, TextRow
from accord.errors import AccordError
from accord.text.messages import Message


def text(content):
    return (Message("text", content),)


def said(*turns):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return tuple(Message(roles[who], content) for who, content in turns)


def turns(*pairs):
    return [{"role": message.role, "content": message.content} for message in said(*pairs)]


def convert(row, **settings):
    return Converter(SourceConfig(source="f.jsonl", **settings))(RawRow(row, "f.jsonl:1"))


Q, A, B = ("u", "q"), ("a", "yes"), ("a", "no")
CHAT = ChatRow(said(Q), said(A))
PAIR = PairRow(said(Q), said(A), said(B))
PLAIN_PAIR = PairRow(text("q"), text("yes"), text("no"))
SYSTEM_PAIR = PairRow(said(("s", "be kind"), Q), said(A), said(B))

ROWS = [
    ("text", {"text": "yes"}, TextRow("yes")),
    ("messages", {"messages": turns(Q, A)}, CHAT),
    (
        "messages",
        {"messages": turns(("s", "be kind"), Q, A, Q, B)},
        ChatRow(said(("s", "be kind"), Q, A, Q), said(B)),
    ),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, *turns(A)]},
        CHAT,
    ),
    ("prompt", {"prompt": "q"}, ChatRow(text("q"), ())),
    ("prompt", {"prompt": turns(Q)}, ChatRow(said(Q), ())),
    ("completion", {"completion": "yes"}, ChatRow((), text("yes"))),
    ("prompt-completion", {"prompt": "q", "completion": "yes"}, ChatRow(text("q"), text("yes"))),
    ("prompt-completion", {"prompt": "", "completion": "yes"}, ChatRow((), text("yes"))),
    ("prompt-completion", {"prompt": turns(Q), "completion": turns(A)}, CHAT),
    ("prompt-completion", {"prompt": "q", "completion": turns(A)}, CHAT),
    (
        "prompt-completion",
        {"system": "be kind", "prompt": "q", "completion": "yes"},
        ChatRow(said(("s", "be kind"), Q), said(A)),
    ),
    (
        "labelled",
        {"prompt": "q", "completion": "yes", "label": False},
        LabelRow(text("q"), text("yes"), False),
    ),
    (
        "labelled",
        {"prompt": turns(Q), "completion": turns(A), "label": 1},
        LabelRow(said(Q), said(A), True),
    ),
    ("preference", {"prompt": "q", "chosen": "yes", "rejected": "no"}, PLAIN_PAIR),
    (
        "preference",
        {"prompt": "q", "chosen": "yes", "rejected": "no", "margin": 2},
        PairRow(text("q"), text("yes"), text("no"), 2.0),
    ),
    ("preference", {"prompt": turns(Q), "chosen": turns(A), "rejected": turns(B)}, PAIR),
    # ultrafeedback_binarized: the prompt as a string and again inside both sides
    (
        "preference",
        {"prompt": "q", "chosen": turns(Q, A), "rejected": turns(Q, B), "messages": turns(Q, A)},
        PAIR,
    ),
    # multifaceted: a system column beside strings makes them turns
    (
        "preference",
        {"system": "be kind", "prompt": "q", "chosen": "yes", "rejected": "no"},
        SYSTEM_PAIR,
    ),
    ("implicit-prompt preference", {"chosen": turns(Q, A), "rejected": turns(Q, B)}, PAIR),
    (
        "implicit-prompt preference",
        {"chosen": "yes", "rejected": "no"},
        PairRow((), text("yes"), text("no")),
    ),
    # the split form of hh-rlhf (rm-static): the prompt is a transcript that ends with an open turn
    (
        "preference",
        {
            "prompt": "\n\nHuman: q\n\nAssistant:",
            "response": " yes",
            "chosen": " yes",
            "rejected": " no",
        },
        PAIR,
    ),
    # the Tülu 3 preference mixture: the prompt as a string, both sides with all turns
    (
        "preference",
        {
            "id": "x",
            "source": "wildchat",
            "prompt": "q",
            "chosen": turns(Q, A, Q, A),
            "rejected": turns(Q, A, Q, B),
            "chosen_model": "m",
        },
        PairRow(said(Q, A, Q), said(A), said(B)),
    ),
    # answers of several turns keep them all
    (
        "preference",
        {"prompt": turns(Q), "chosen": turns(A, Q, A), "rejected": turns(B)},
        PairRow(said(Q), said(A, Q, A), said(B)),
    ),
    (
        "instruction-pair",
        {"instruction": "q", "input": "more", "chosen": "yes", "rejected": "no"},
        PairRow(said(("u", "q\n\nmore")), said(A), said(B)),
    ),
    # Argilla's names
    (
        "instruction-pair",
        {"instruction": "q", "chosen_response": "yes", "rejected_response": "no", "margin": 1},
        PairRow(said(Q), said(A), said(B), 1.0),
    ),
    (
        "input-pair",
        {"system": "be kind", "input": "q", "chosen": "yes", "rejected": "no"},
        SYSTEM_PAIR,
    ),
    ("input-pair", {"input": "q", "chosen": turns(Q, A), "rejected": turns(Q, B)}, PAIR),
    (
        "implicit-prompt preference",
        {"chosen_messages": turns(Q, A), "rejected_messages": turns(Q, B)},
        PAIR,
    ),
    (
        "labelled messages",
        {"messages": turns(Q, A), "label": True},
        LabelRow(said(Q), said(A), True),
    ),
    (
        "labelled messages",
        {"messages": turns(Q, B), "kto_tag": False},
        LabelRow(said(Q), said(B), False),
    ),
    (
        "labelled sharegpt",
        {
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "yes"}],
            "label": "true",
        },
        LabelRow(said(Q), said(A), True),
    ),
    (
        "labelled alpaca",
        {"instruction": "q", "input": "", "output": "yes", "kto_tag": "0"},
        LabelRow(said(Q), said(A), False),
    ),
    # hh-rlhf, whose sides part at an assistant turn that is not always the last
    (
        "implicit-prompt preference",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: yes",
            "rejected": "\n\nHuman: q\n\nAssistant: no",
        },
        PAIR,
    ),
    (
        "implicit-prompt preference",
        {
            "chosen": "\n\nHuman: q\n\nAssistant: a\n\nb\n\nHuman: q\n\nAssistant: yes",
            "rejected": "\n\nHuman: q\n\nAssistant: a\n\nb\n\nHuman: q\n\nAssistant: no",
        },
        PairRow(said(Q, ("a", "a\n\nb"), Q), said(A), said(B)),
    ),
    # orca_dpo_pairs
    (
        "question-pair",
        {"system": "be kind", "question": "q", "chosen": "yes", "rejected": "no"},
        SYSTEM_PAIR,
    ),
    ("question-pair", {"system": "", "question": "q", "chosen": "yes", "rejected": "no"}, PAIR),
    ("alpaca", {"instruction": "q", "input": "", "output": "yes"}, CHAT),
    (
        "alpaca",
        {"instruction": "q", "input": "more", "output": "yes"},
        ChatRow(said(("u", "q\n\nmore")), said(A)),
    ),
    (
        "alpaca",
        {"instruction": "q", "output": "no", "history": [["q", "yes"]], "system": "be kind"},
        ChatRow(said(("s", "be kind"), Q, A, Q), said(B)),
    ),
    (
        "prompt-completion",
        {"prompt": "q", "completion": turns(Q, A)},
        CHAT,
    ),
    ("messages", {"messages": json.dumps(turns(Q, A))}, CHAT),
    (
        "messages",
        {"messages": [{"role": "Developer", "content": "be kind"}, *turns(Q, A)]},
        ChatRow(said(("s", "be kind"), Q), said(A)),
    ),
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "yes"}]},
        CHAT,
    ),
    (
        "sharegpt-pair",
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "yes"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        PAIR,
    ),
]


@pytest.mark.parametrize(("name", "columns", "expected"), ROWS)
def test_each_format_is_recognised_and_converted(name, columns, expected) -> None:
    convert_row = Converter(SourceConfig(source="f.jsonl"))
    row = convert_row(RawRow(columns, "f.jsonl:1"))
    assert row.content() == expected.content()
    assert type(row) is type(expected)
    assert (row.where, row.source) == ("f.jsonl:1", "f.jsonl")
    assert convert_row.format_of(row.where).name == name


def test_every_format_of_the_table_is_tried_here() -> None:
    assert {name for name, _, _ in ROWS} == {form.name for form in FORMATS}


def test_what_a_format_does_not_use_goes_to_extra() -> None:
    row = convert({"prompt": "q", "completion": "yes", "score": 3, "messages": []})
    assert row.extra == {"score": 3, "messages": []}


FAULTS = [
    ({"text": None}, "'text' is null, expected a string"),
    ({"text": 3}, "'text' is a number (3), expected a string"),
    ({"text": " \n"}, "'text' is empty"),
    ({"text": "\ud83d"}, "'text' holds half of a surrogate pair"),
    ({"prompt": ""}, "'prompt' is empty"),
    ({"prompt": "q", "completion": ""}, "'completion' is an empty response"),
    ({"prompt": None, "completion": "yes"}, "'prompt' is null, expected a string"),
    (
        {"prompt": "q", "completion": ["yes"]},
        "'completion[0]' is a string ('yes'), expected {role,",
    ),
    (
        {"prompt": turns(Q), "completion": "yes"},
        "'prompt' is messages but the response is a string",
    ),
    ({"prompt": "q", "completion": "yes", "label": "good"}, "'label' is 'good', expected true"),
    ({"prompt": "q", "completion": turns(Q)}, "'completion' ends with the user's turn"),
    ({"messages": []}, "'messages' is empty"),
    ({"messages": "q"}, "'messages' is a string ('q'), expected a list of messages"),
    ({"messages": turns(Q)}, "'messages' ends with the user's turn"),
    ({"messages": turns(Q, ("a", " "))}, "'messages' is an empty response"),
    ({"messages": [{"role": "asistant", "content": "x"}]}, "'messages[0]' has role 'asistant'"),
    ({"messages": [{"role": "user"}]}, "'messages[0].content' is null"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [1]}]}, "calls tools"),
    ({"prompt": "q", "chosen": "yes", "rejected": ""}, "'rejected' is an empty response"),
    (
        {"prompt": "q", "chosen": "yes", "rejected": 0},
        "'rejected' is a number (0), expected a string",
    ),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "x"}, "'margin' is 'x', expected a"),
    (
        {"prompt": "q", "chosen": "a", "rejected": "b", "margin": float("nan")},
        "'margin' is nan, expected a finite number",
    ),
    (
        {"prompt": "other", "chosen": turns(Q, A), "rejected": turns(Q, B)},
        "'prompt' differs from the turns",
    ),
    (
        {"prompt": "q", "chosen": turns(Q, A), "rejected": "no"},
        "one of 'chosen' and 'rejected' is messages and the other a string",
    ),
    ({"prompt": "", "chosen": "yes", "rejected": "no"}, "'prompt' is empty"),
    ({"prompt": "", "completion": "yes", "label": True}, "'prompt' is empty"),
    (
        {"chosen": turns(Q, A), "rejected": turns(("u", "other"), A)},
        "part at the user's turn: they do not answer the same prompt",
    ),
    ({"chosen": turns(A), "rejected": turns(B)}, "share no turn that could be the prompt"),
    ({"messages": turns(Q, A), "kto_tag": "good"}, "'kto_tag' is 'good', expected true or false"),
    ({"prompt": "q", "completion": "yes", "label": 2}, "'label' is 2, expected true or false"),
    ({"instruction": "q", "output": "a", "history": ["q"]}, "'history[0]' is a string ('q')"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "holds 'image', expected"),
    ({"conversations": [{"from": "observation", "value": "q"}]}, "calls tools"),
    ({"chosen": "\n\nHuman: q", "rejected": "\n\nHuman: r"}, "'chosen' ends with the user's turn"),
    ({"instruction": "q", "output": ""}, "'output' is an empty response"),
    ({"conversations": [{"from": "alien", "value": "q"}]}, "'conversations[0]' has role 'alien'"),
]


@pytest.mark.parametrize(("columns", "why"), FAULTS)
def test_each_faulty_row_says_what_is_wrong(columns, why) -> None:
    row = convert(columns)
    assert isinstance(row, BadRow)
    assert why in row.why
    assert row.where == "f.jsonl:1"
    assert row.sample


def test_a_misspelt_role_gets_a_suggestion() -> None:
    row = convert({"messages": [{"role": "asistant", "content": "x"}]})
    assert row.fix == "did you mean 'assistant'?"


def test_identical_sides_are_left_out_and_no_fault() -> None:
    row = convert({"prompt": "q", "chosen": "yes", "rejected": "yes"})
    assert row == FilteredRow("f.jsonl:1", IDENTICAL)


def test_a_file_keeps_the_format_of_its_first_row() -> None:
    convert_row = Converter(SourceConfig(source="f.jsonl"))
    convert_row(RawRow({"prompt": "q", "chosen": "a", "rejected": "b"}, "f.jsonl:1"))
    row = convert_row(RawRow({"prompt": "q", "chosen": "a", "rejcted": "b"}, "f.jsonl:2"))
    assert row.why == "column 'rejected' is missing"
    assert row.fix == "did you mean 'rejected' by 'rejcted'?"
    assert isinstance(convert_row(RawRow({"text": "x"}, "g.jsonl:1")), TextRow)


def test_unknown_columns_name_the_nearest_format_and_the_slip() -> None:
    with pytest.raises(AccordError) as caught:
        convert({"prompt": "q", "chosen": "a", "rejcted": "b"})
    assert str(caught.value) == (
        "No known format has the columns: prompt, chosen, rejcted.\n"
        "  where: f.jsonl:1\n"
        "  fix:   nearest is preference (prompt, chosen, rejected): "
        "did you mean 'rejected' by 'rejcted'? Name them with fields: {rejected: rejcted}; "
        "or, if prompt alone is meant, fields: {prompt: prompt}"
    )
    with pytest.raises(AccordError, match=r"nearest is text \(text\): 'text' is missing\."):
        convert({"body": "q", "title": "a"})


@pytest.mark.parametrize(
    ("columns", "slip"),
    [
        (("prompt", "completon"), "did you mean 'completion' by 'completon'?"),
        (("prompt", "chosen"), "'rejected' is missing"),
        (("prompt", "completion", "lable"), "did you mean 'label' by 'lable'?"),
        (("mesages",), "did you mean 'messages' by 'mesages'?"),
    ],
)
def test_a_fuller_format_that_was_begun_is_not_read_as_a_smaller_one(columns, slip) -> None:
    row = dict.fromkeys(columns, "x")
    with pytest.raises(AccordError) as caught:
        convert(row)
    assert slip in caught.value.fix


def test_an_id_beside_the_columns_is_no_misspelling() -> None:
    pair = {"chosen": "a", "rejected": "b", "question_id": 1, "conversation_id": 2}
    assert isinstance(convert(pair), PairRow)
    assert isinstance(convert({"prompt": "q", "label": 1}, fields={"prompt": "prompt"}), ChatRow)


def test_named_fields_decide_between_formats() -> None:
    columns = {"text": "doc", "prompt": "q", "completion": "yes"}
    assert isinstance(convert(columns), ChatRow)
    assert isinstance(convert(columns, fields={"text": "text"}), TextRow)
    pair = {"prompt": "other", "chosen": turns(Q, A), "rejected": turns(Q, B)}
    assert "'prompt' differs" in convert(pair).why
    meant = convert(pair, fields={"chosen": "chosen", "rejected": "rejected"})
    assert (meant.prompt, meant.extra) == (said(Q), {"prompt": "other"})
    # naming one column of a pair says nothing about the others
    renamed = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    assert isinstance(convert(renamed, fields={"prompt": "body"}), PairRow)


def test_groups_come_from_a_field_or_a_part_of_it() -> None:
    columns = {"text": "x", "id": "12_3", "n": 7}
    assert convert(columns).group is None
    assert convert(columns, group="id").group == "12_3"
    assert convert(columns, group="n").group == "7"
    assert convert(columns, group="id", group_pattern="^[^_]+").group == "12"
    assert convert(columns, group="id", group_pattern="_(.)").group == "3"
    assert "group_pattern finds nothing" in convert(columns, group="id", group_pattern="x").why
    assert "the row has no field 'ids'" in convert(columns, group="ids").why
    assert "is null" in convert(columns | {"id": None}, group="id").why


MARGINS = [(2, 2.0), ("0.5", 0.5), (None, None), ("", None), (-1.5, -1.5)]


@pytest.mark.parametrize(("cell", "margin"), MARGINS)
def test_margins_are_numbers_also_as_a_table_of_text_writes_them(cell, margin) -> None:
    row = convert({"prompt": "q", "chosen": "a", "rejected": "b", "margin": cell})
    assert row.margin == margin


LABELS = [
    (True, True), (1, True), (1.0, True), ("True", True), (" 1 ", True),
    (False, False), (0, False), ("false", False), ("0", False),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "label"), LABELS)
def test_labels_are_truth_values_in_any_spelling(cell, label) -> None:
    assert convert({"prompt": "q", "completion": "a", "label": cell}).label is label


@pytest.mark.parametrize("cell", [None, "good", "", "yes", 2, -1, 0.5, [], {}, float("nan")])
def test_other_labels_are_refused_with_the_way_out(cell) -> None:
    row = convert({"prompt": "q", "completion": "a", "label": cell})
    assert "expected true or false" in row.why
    assert "write true for a wanted answer" in row.fix


def test_scores_are_no_margin_and_stay_in_extra() -> None:
    row = convert(
        {
            "prompt": "q",
            "prompt_id": "7",
            "chosen": turns(Q, A),
            "rejected": turns(Q, B),
            "messages": turns(Q, A),
            "score_chosen": 8.5,
            "score_rejected": 2.0,
        }
    )
    assert row.content() == PAIR.content()
    assert row.margin is None
    assert (row.extra["score_chosen"], row.extra["score_rejected"]) == (8.5, 2.0)


def test_a_second_name_is_no_rename_where_the_first_stands() -> None:
    row = convert({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_response": "c"})
    assert (row.chosen, row.extra) == (text("a"), {"chosen_response": "c"})


def test_a_row_of_another_format_is_told_how_its_file_is_read() -> None:
    convert_row = Converter(SourceConfig(source="f.jsonl"))
    convert_row(RawRow({"text": "x"}, "f.jsonl:1"))
    row = convert_row(RawRow({"messages": turns(Q, A)}, "f.jsonl:2"))
    assert row.why == "column 'text' is missing"
    assert row.fix == "the file is read as text (text), as its first row is: one format a file"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"prompt": "Hi", "completion": "Hello", "label": True},
        {"prompt": "Hi", "completion": "Hello"},
    ],
)
def test_strings_are_turns_where_the_source_says_so(row):
    for strings, roles in (("text", ("text", "text")), ("turns", ("user", "assistant"))):
        found = convert(row, strings=strings)
        answer = found.chosen if isinstance(found, PairRow) else found.completion
        assert (found.prompt[0].role, answer[0].role) == roles


def test_a_document_is_no_turn():
    assert convert({"text": "Once"}, strings="turns").text == "Once"
