"""The command line: exit codes, messages, and how little it loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from accord.cli import main as entry
from accord.train.interrupt import Interrupted

COMMANDS = [
    "run", "tokenizer", "pretrain", "sft", "dpo", "evaluate",
    "generate", "schema", "report", "doctor", "data", "explain", "merge", "study", "audit",
    "compare", "serve", "chat",
]  # fmt: skip

RECIPE = """\
name: toy
stages:
  tokenizer: {kind: tokenizer, data: [{source: a.txt}]}
  base: {kind: pretrain, tokenizer: tokenizer, steps: 10, data: [{source: a.txt}]}
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def accord(capsys, monkeypatch):
    """Run a command line; gives exit code, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["accord", *words])
        with pytest.raises(SystemExit) as left:
            entry.main()
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return call


def test_help_names_every_command_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom accord.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as e: code = e.code\n"
        "heavy = {'torch', 'pydantic', 'numpy', 'yaml', 'rich', 'datasets'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(accord, command):
    code, out, _ = accord(command, "--help")
    assert code == 0
    assert "Usage: accord " + command in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dpoo"], "Did you mean 'dpo'"),
        (["dpo", "--beta", "0.3"], "settings are written key=value: beta=..."),
        (["dpo", "--data", "x"], "Missing option '--out'"),
        (["dpo", "--out", "o", "--data", "x"], "'from' is missing"),
        (["dpo", "--out", "o", "--data", "x"], "--model in a command"),
        (["sft", "--out", "o", "--model", "hub:a/b"], "--data in a command"),
        (["sft", "--out", "o", "--model", "nowhere", "--data", "x"], "nor a folder"),
        (["evaluate", "--out", "o", "--model", "hub:a/b"], "'prompts' is"),
        (["sft", "--out", "o", "--model", ".", "--data", "x", "lrr=1"], "did you mean 'lr'?"),
        (["run", "recipes.yaml"], "did you mean 'recipe.yaml'?"),
        (["run", "recipe.yaml", "bse.lr=1"], "did you mean 'base'?"),
        (["run", "recipe.yaml", "base.lr=fast"], "expected a number above 0"),
        (["run", "recipe.yaml", "--stage", "basse"], "did you mean 'base'?"),
        (["run", "recipe.yaml"], "there is no file 'a.txt'"),
        (["generate", "--model", "nowhere", "--prompt", "x"], "no such model folder"),
        (["generate", "--model", ".", "--prompt", "x", "--temperature", "-1"], "at least 0"),
        (["report", "."], "the folder holds no report.json"),
        (["data", "check", "gone.jsonl"], "gone.jsonl"),
        (["study", "recipe.yaml"], "this is a recipe, not a study"),
        (["study", "recipe.yaml", "--memory", "lots"], "'lots' is not a size of memory"),
    ],
)
def test_a_mistake_is_one_screen_and_code_2(home, accord, words, said):
    code, out, err = accord(*words)
    assert code == entry.MISTAKE
    assert said.lower() in err.lower()
    assert err.startswith("error: ")
    assert len(err.splitlines()) < 24
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(home, accord, place):
    words = ["run", "recipes.yaml"]
    words.insert(place, "--debug")
    code, _, err = accord(*words)
    assert code == entry.MISTAKE
    assert err.startswith("Traceback (most recent call last):")
    assert "\nerror: no such file\n" in err


def test_an_interrupted_run_says_how_to_go_on(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["accord", "run", "my recipe.yaml", "dpo.beta=0.3"])

    def stop():
        raise Interrupted(Path("runs/x/dpo"), 12)

    assert entry.guarded(stop, debug=False) == 75
    err = capsys.readouterr().err
    assert "step 12" in err
    assert "resume: accord run 'my recipe.yaml' dpo.beta=0.3" in err


def test_other_ends(capsys):
    def stop():
        raise KeyboardInterrupt

    def full():
        raise OSError(28, "No space left on device", "model.safetensors")

    def broken():
        raise ZeroDivisionError

    assert entry.guarded(stop, debug=False) == 130
    assert entry.guarded(full, debug=False) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert entry.guarded(broken, debug=False) == entry.FAULT
    assert "Traceback" not in capsys.readouterr().err


def test_schema_is_json(accord):
    code, out, _ = accord("schema")
    assert code == 0
    assert "stages" in json.loads(out)["properties"]


def test_data_check_tells_good_from_bad(home, accord):
    good, bad = home / "good.jsonl", home / "bad.jsonl"
    good.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    code, out, _ = accord("data", "check", str(good), "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 1
    bad.write_text(good.read_text() + "{\n")
    code, out, _ = accord("data", "check", str(bad))
    assert code == 1
    assert "bad.jsonl:2" in out


def test_python_dash_m(home):
    command = [sys.executable, "-m", "accord", "run", "recipes.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'recipe.yaml'?" in done.stderr


@pytest.mark.parametrize("words", [["--api-key", "se same"], ["--api-key=sesame"]])
def test_a_key_is_not_said_again(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["accord", "serve", "model", *words, "--port", "1"])

    def broken():
        raise ZeroDivisionError

    assert entry.guarded(broken, debug=False) == entry.FAULT
    err = capsys.readouterr().err
    assert "same" not in err
    assert "accord --debug serve model --api-key" in err
    assert "--port 1" in err
