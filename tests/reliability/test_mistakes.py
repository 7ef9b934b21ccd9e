"""The table of mistakes, exit codes, and what `--debug` adds; the row runs the same table."""

import subprocess
import sys

import pytest

from battery import mistakes
from battery.mistake_cases import FROM_A_SHELL, MISTAKES
from battery.mistake_world import build

EXPECTED = mistakes.expected()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes") / "world"
    build(folder)
    return folder


@pytest.mark.parametrize("title", MISTAKES)
def test_each_mistake_gives_its_message(world, tmp_path, title) -> None:
    mistake = MISTAKES[title]
    said = mistakes.made(mistake, world, tmp_path / "home")
    assert not mistakes.faults(mistake, said, EXPECTED[title])


def test_the_table_has_every_mistake_and_no_other() -> None:
    assert list(EXPECTED) == list(MISTAKES)
    assert len(MISTAKES) >= 40
    assert set(FROM_A_SHELL) <= set(MISTAKES)


def test_a_message_that_lacks_something_is_found_out(world) -> None:
    mistake, wanted = MISTAKES["a typo in a key"], EXPECTED["a typo in a key"]
    good = mistakes.Said(2, "", wanted.partition("\n")[2] + "\n")
    assert not mistakes.faults(mistake, good, wanted)
    bad = {
        "exit code 1": mistakes.Said(1, "", good.err),
        "it said": mistakes.Said(2, "", good.err.replace("beta'", "betas'")),
        "how to mend": mistakes.Said(2, "", good.err.partition("  fix")[0]),
        "screen": mistakes.Said(2, "", "Traceback …\n" + good.err),
    }
    for part, said in bad.items():
        assert any(part in found for found in mistakes.faults(mistake, said, wanted)), part


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("title", ["a typo in a key", "a fault of Accord's own"])
def test_debug_adds_the_traceback_and_changes_nothing_else(world, tmp_path, title, place) -> None:
    mistake = MISTAKES[title]
    words = mistake.words.split()
    words.insert(place, "--debug")
    plain = mistakes.made(mistake, world, tmp_path / "plain")
    debugged = mistakes.made(
        mistakes.replace(mistake, words=" ".join(words)), world, tmp_path / "debugged"
    )
    assert debugged.code == plain.code
    assert debugged.err.startswith("Traceback (most recent call last):\n")
    assert debugged.err.splitlines()[-3:-1] == plain.err.splitlines()[:2]


@pytest.mark.slow
@pytest.mark.parametrize("title", FROM_A_SHELL)
def test_a_shell_sees_the_same(world, tmp_path, title) -> None:
    mistake = mistakes.replace(MISTAKES[title], by=mistakes.in_a_shell)
    said = mistakes.made(mistake, world, tmp_path / "home")
    assert not mistakes.faults(mistake, said, EXPECTED[title])


def test_help_says_what_exit_codes_mean() -> None:
    command = [sys.executable, "-m", "accord", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = " ".join(shown.split())
    for code in ("0 fine", "1 a check", "2 a mistake", "70 a fault", "75 interrupted", "130 stop"):
        assert code in said


def test_doctor_names_a_torch_that_is_missing(tmp_path) -> None:
    with MISTAKES["no torch"].under(tmp_path):
        from unittest import mock

        from accord.cli import doctor

        number = doctor.version
        absent = doctor.PackageNotFoundError("torch")

        def version(package: str) -> str:
            if package == "torch":
                raise absent
            return number(package)

        with mock.patch.object(doctor, "version", version):
            found = doctor.examine()
    assert "torch is missing: pip install 'torch'" in found["problems"]
