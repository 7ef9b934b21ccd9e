import json

import pytest

from accord.text.measure import ScriptRow, measure, script_of, to_json


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("Hello, world! 123", "Latin"),
        ("Größe ậ", "Latin"),
        ("नमस्ते, दुनिया।", "Devanagari"),
        ("ಚಿತ್ರ ಚೆನ್ನಾಗಿದೆ", "Kannada"),
        ("안녕하세요", "Hangul"),
        ("Привет", "Cyrillic"),
        ("漢字", "Han"),
        ("かなカナ", "Kana"),
        ("film बहुत अच्छी थी", "Mixed"),
        ("123 + 456 = ?", "Other"),
        ("ᏣᎳᎩ", "Other"),
        ("", "Other"),
        ("abcdefghi न", "Latin"),  # nine letters of ten
        ("abcdefgh न", "Mixed"),  # eight of nine
    ],
)
def test_script_of_a_line(line: str, script: str):
    assert script_of(line) == script


def test_figures_by_hand():
    # One token a character. Latin: 3+7 characters; Devanagari: "नन" is 6 bytes, 2 tokens.
    rows = measure(list, ["a b", "abc def", "नन", ""])  # type: ignore[arg-type]
    latin = ScriptRow("Latin", 2, 10, 4, 10, 1000.0, 1.0, 2.5, 6.8)  # p95: 3 + .95 * (7 - 3)
    hindi = ScriptRow("Devanagari", 1, 6, 1, 2, 2000 / 6, 3.0, 2.0, 2.0)
    overall = ScriptRow("Overall", 3, 16, 5, 12, 750.0, 16 / 12, 2.4, 6.6)
    assert [r.script for r in rows] == ["Latin", "Devanagari", "Overall"]
    for row, expected in zip(to_json(rows), to_json([latin, hindi, overall]), strict=True):
        assert row == pytest.approx(expected)
    json.dumps(to_json(rows))


def test_nothing_measured_is_a_row_of_zeros():
    assert measure(list, []) == [ScriptRow("Overall", 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)]  # type: ignore[arg-type]


def test_scripts_add_up_to_overall(tokenizer):
    lines = ["The film was good.", "फिल्म अच्छी थी", "ಚಿತ್ರ", "mixed फिल्म अच्छी", "42"]
    *scripts, overall = measure(tokenizer.encode, lines)
    for figure in ("lines", "bytes", "words", "tokens"):
        assert sum(getattr(r, figure) for r in scripts) == getattr(overall, figure)
    assert overall.bytes == sum(len(line.encode()) for line in lines)
