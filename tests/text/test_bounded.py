"""The process that renders templates: asked by many threads, ended by one template, begun anew."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from accord.errors import AccordError
from accord.text.bounded import Renderer, rendered, renderer
from accord.text.messages import Message

SAID = "{% for m in messages %}{{ m.content }}{% endfor %}"
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def said(text: str) -> list[str | AccordError]:
    return rendered(SAID, [((Message("user", text),), False)], {})


@pytest.mark.parametrize("text", ["a", "line\nline\r\u2028", "\ud83d", '"\\', "x" * 300_000])
def test_any_content_comes_back_as_it_was(text: str) -> None:
    assert said(text) == [text]


def test_threads_get_their_own_answers() -> None:
    words = [f"word {n}" * (n + 1) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(said, words)) == [[word] for word in words]


def test_a_run_that_refuses_leaves_the_others() -> None:
    runs = [((Message("user", "a"),), False), ((), True), ((Message("user", "b"),), False)]
    picky = "{% if not messages %}{{ raise_exception('none') }}{% endif %}" + SAID
    first, second, third = rendered(picky, runs, {})
    assert (first, third) == ("a", "b")
    assert isinstance(second, AccordError)
    assert second.what == "the chat template refuses the conversation: none"


def test_a_process_that_was_ended_is_told_and_begun_anew() -> None:
    assert said("a") == ["a"]
    process = renderer()._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(AccordError, match="ended with -9"):
        said("a")
    assert said("a") == ["a"]


def test_an_endless_template_ends_its_process_and_no_other() -> None:
    other = Renderer()
    runs = [([{"role": "user", "content": "a"}], False)]
    assert other.ask({"source": SAID, "runs": runs, "tokens": {}}) == [["text", "a"]]
    with pytest.raises(AccordError, match=r"more than 0\.5 s"):
        rendered(ENDLESS, [((), False)], {})
    assert other.ask({"source": SAID, "runs": runs, "tokens": {}}) == [["text", "a"]]
    other.close()


def test_no_file_can_be_opened_by_who_gets_out() -> None:
    import resource

    assert said("a") == ["a"]
    process = renderer()._process
    assert process is not None
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (3, 3)
    assert resource.prlimit(process.pid, resource.RLIMIT_AS)[0] == 256 * 2**20
