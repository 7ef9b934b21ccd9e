"""The chat in a terminal."""

import subprocess
import sys

import pytest

from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.pipeline.generate import complete
from accord.rollout.engine import Engine
from accord.serve.served import chat_engine
from accord.serve.terminal import Conversation, chat

from .conftest import policy

SAMPLING = SamplingConfig(max_new_tokens=20, temperature=0.8)


@pytest.fixture
def engine(tokenizer) -> Engine:
    return chat_engine(policy(tokenizer, 1), tokenizer)


def talk(conversation: Conversation, *lines: object) -> str:
    """What is shown while these lines are typed; an exception among them is raised."""
    typed, shown = iter(lines), []

    def read() -> str:
        line = next(typed, EOFError())
        if isinstance(line, BaseException):
            raise line
        return str(line)

    chat(conversation, read, shown.append)
    return "".join(shown)


def test_an_answer_is_what_accord_generates(engine, tokenizer):
    (expected,) = complete(engine.model, tokenizer, ["How was it?"], SAMPLING, 4, chat=True)
    conversation = Conversation(engine, SAMPLING, seed=4)
    assert talk(conversation, "How was it?") == expected.text + "\n\n"
    assert [turn.content for turn in conversation.turns] == ["How was it?", expected.text]


def test_turns_are_remembered_until_they_are_reset(engine):
    conversation = Conversation(engine, SAMPLING)
    talk(conversation, "One.", "Two.")
    assert [turn.role for turn in conversation.turns] == ["user", "assistant"] * 2
    talk(conversation, "/system Be brief.", "Three.")
    assert [turn.role for turn in conversation.messages()] == ["system", "user", "assistant"]
    talk(conversation, "/reset")
    assert [turn.content for turn in conversation.messages()] == ["Be brief."]


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said(engine):
    conversation = Conversation(engine, SAMPLING)
    shown = []

    def show(text: str) -> None:
        if len(shown) == 3:
            shown.append(None)
            raise KeyboardInterrupt
        shown.append(text)

    lines = iter(["How was it?"])

    def read() -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    chat(conversation, read, show)
    assert shown[4] == " [stopped]\n"
    assert conversation.turns[1].content.startswith("".join(shown[:3]))
    assert len(conversation.turns[1].content) < 20


def test_ctrl_c_at_the_prompt_gives_up_the_line_and_ctrl_d_leaves(engine):
    conversation = Conversation(engine, SAMPLING)
    assert talk(conversation, KeyboardInterrupt(), "/help", "").count("/reset") == 1
    assert not conversation.turns


def test_a_conversation_that_no_longer_fits_says_so(engine):
    conversation = Conversation(engine, SAMPLING)
    shown = talk(conversation, "film " * 600, "Short.")
    assert "/reset" in shown
    assert conversation.turns[0].content == "Short."
    with pytest.raises(AccordError, match="512"):
        next(conversation.answer("film " * 600))


@pytest.mark.slow
def test_the_command(folders):
    command = [sys.executable, "-m", "accord", "chat", folders[0], "--max-new-tokens", "3"]
    done = subprocess.run(
        [*command, "--system", "x"], input="Hi\n/quit\n", capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
