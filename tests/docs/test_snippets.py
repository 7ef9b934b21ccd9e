"""What the README and the docs tell users to type works as written.

Python snippets are run, against the small recipe in examples/ instead of the ten-minute one; YAML
recipes are loaded; every command line is parsed by the command it calls.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accord.config.load import load_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def snippets(language: str) -> list:
    """Every fenced block of a language, named by its page and place."""
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (found, block) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
        if found == language
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small recipe under the quickstart's name, and its data."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run([sys.executable, ROOT / "examples" / "make_tiny_data.py"], cwd=home, check=True)
    (home / "recipes").mkdir()
    shutil.copy(ROOT / "examples" / "tiny.yaml", home / "recipes" / "quickstart.yaml")
    return home


@pytest.mark.slow
@pytest.mark.parametrize("snippet", snippets("python"))
def test_python_snippets_run(snippet: str, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("snippet", snippets("yaml"))
def test_recipes_in_the_docs_load(snippet: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(snippet, encoding="utf-8")
    assert load_recipe(path).stages


def commands() -> list:
    """Lines of plain blocks that start with `accord`."""
    return [
        pytest.param(line.split("#")[0].split()[1:], id=line.split("#")[0].strip())
        for block in snippets("")
        for line in block.values[0].splitlines()
        if line.startswith("accord ")
    ]


@pytest.mark.parametrize("words", commands())
def test_commands_in_the_docs_have_these_options(words: list[str]) -> None:
    """Every option that a page shows is one that the command's own help lists."""
    names = [word for word in words[: 2 if words[0] == "data" else 1]]
    shown = subprocess.run(
        [sys.executable, "-m", "accord", *names, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in shown


def test_the_docs_link_to_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
