"""`accord data check`: options and exit codes."""

import json
import sys
from pathlib import Path

import pytest

from accord.cli import main as entry
from accord.text.tokenizer import Tokenizer


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs `accord data check` in a fresh folder; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["accord", "data", "check", *words])
        with pytest.raises(SystemExit) as left:
            entry.main()
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return call


def pairs(count: int, chosen: str) -> list[dict]:
    return [
        {
            "prompt": [{"role": "user", "content": f"q{i}"}],
            "chosen": [{"role": "assistant", "content": f"{chosen} {i}"}],
            "rejected": [{"role": "assistant", "content": f"no {i}"}],
        }
        for i in range(count)
    ]


def write(name: str, rows: list) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_exit_codes(check) -> None:
    write("fine.jsonl", pairs(3, "ja"))
    write("biased.jsonl", pairs(40, "a much longer answer"))
    write("bad.jsonl", [*pairs(3, "ja"), {"prompt": "q"}])
    assert check("fine.jsonl")[0] == check("fine.jsonl", "--strict")[0] == 0
    assert (check("biased.jsonl")[0], check("biased.jsonl", "--strict")[0]) == (0, 1)
    code, out, _ = check("bad.jsonl")
    assert code == 1 and "bad.jsonl:4  " in out
    code, out, err = check("gone.jsonl")
    assert (code, out) == (2, "") and "No such file" in err
    assert check("fine.jsonl", "--against", "gone.jsonl")[0] == 2


def test_tokens_template_and_limit(check) -> None:
    write("fine.jsonl", pairs(3, "ja"))
    Tokenizer.train(["ja no q"], vocab_size=260, chat_template="plain").save("tok")
    words = ("fine.jsonl", "--tokenizer", "tok", "--max-length", "90", "--rows", "1")
    code, out, _ = check(*words, "--chat-template", "chatml")
    assert code == 0
    assert "<|im_start|>user" in out and "⟦ja 0<|im_end|>⟧" in out and "max_length   90: " in out
    code, out, _ = check(*words, "--chat-template", "chatml", "--json", "--train-on", "all")
    document = json.loads(out)
    assert document["limit"]["rows"] == 3 and len(document["examples"]) == 1
    assert check("fine.jsonl", "--chat-template", "chatml")[0] == 2
    assert check("fine.jsonl", "--max-length", "9")[0] == 2
    assert "did you mean 'chatml'" in check(*words, "--chat-template", "chatlm")[2]


def test_languages_are_counted_by_a_column(check) -> None:
    write("two.jsonl", [{"text": f"{i}", "lang": "ko" if i % 3 else "hi"} for i in range(6)])
    code, out, _ = check("two.jsonl", "--language", "column:lang")
    assert code == 0
    assert "languages   ko 4, hi 2" in out


def test_json_of_a_column_that_is_no_text(check) -> None:
    write("odd.jsonl", [{"text": "ja", "\ud800": 1}])
    code, out, _ = check("odd.jsonl", "--json")
    assert code == 0
    assert json.loads(out)["unused_columns"] == {"\ud800": 1}


def test_against_an_evaluation(check) -> None:
    write("a.jsonl", pairs(3, "ja"))
    write("eval.jsonl", [{"prompt": "Q1"}])
    code, out, _ = check("a.jsonl", "--against", "eval.jsonl")
    assert code == 0
    assert "1 row (33.3 %) ask what 1 of 1 row (100.0 %) of the evaluation ask" in out
    assert "a.jsonl:2 asks what eval.jsonl:1 asks" in out
