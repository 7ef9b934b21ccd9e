"""Whatever a function does, the sample is named, in time, and nothing is left behind."""

import re
import signal
import threading
import time

import numpy as np
import pytest
import torch
from helpers import answer

from accord.errors import AccordError
from accord.rewards.guard import guarded


def spin(_) -> float:
    while True:
        pass


def swallow(_) -> float:
    """Goes on for a while after it was interrupted, and hides that it was."""
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        try:
            while time.monotonic() < until:
                pass
        except:  # noqa: E722 -- what careless code does
            pass
    return 1.0


def backtrack(_) -> float:
    return float(bool(re.match("(a+)+$", "a" * 40 + "b")))


def in_thread(work):
    """What `work` gives or raises in another thread than the main one."""
    found = []

    def run():
        try:
            found.append(work())
        except AccordError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert found, "the thread hangs"
    return found[0]


@pytest.mark.parametrize("judge", [spin, swallow, backtrack, lambda _: time.sleep(30)])
def test_a_call_that_overruns_names_the_sample(judge):
    sample = answer("it is 3", "What is 1+2?")
    with pytest.raises(AccordError, match=r"'slow' took longer than 0\.05 seconds") as error:
        guarded(judge, "slow", 0.05)([sample])
    assert error.value.where == "tasks.jsonl:7: prompt 'What is 1+2?', completion 'it is 3'"


def test_outside_the_main_thread_the_call_is_bounded_too():
    stop = threading.Event()
    reward = guarded(lambda _: stop.wait(30), "slow", 0.05)
    error = in_thread(lambda: reward([answer("it is 3")]))
    stop.set()
    assert "'slow' took longer than 0.05 seconds" in str(error) and "it is 3" in str(error)
    assert in_thread(lambda: guarded(lambda a: a.tokens, "length", 5)([answer()])) == [4.0]
    failed = in_thread(lambda: guarded(lambda _: 1 / 0, "own", 5)([answer()]))
    assert "failed: ZeroDivisionError" in str(failed)


def test_math_verify_works_in_and_outside_the_main_thread():
    from helpers import term

    from accord.rewards.functions import reward_function

    reward = reward_function(term("math_verify"))
    asked = [answer("$3$", extra={"answer": "3"}), answer("$4$", extra={"answer": "3"})]
    assert reward(asked) == in_thread(lambda: reward(asked)) == [1.0, 0.0]


def test_math_verify_is_bounded_by_the_terms_timeout(monkeypatch):
    from helpers import term
    from math_verify import grader

    from accord.rewards.functions import reward_function

    # math-verify catches every Exception of a comparison and calls the answer wrong
    monkeypatch.setattr(grader, "sympy_expr_eq", lambda *_, **__: spin(None))
    reward = reward_function(term("math_verify", timeout=0.1))
    with pytest.raises(AccordError, match=r"'math_verify' took longer than 0\.1 seconds"):
        reward([answer("$x+1$", extra={"answer": "$x+2$"})])


def test_only_the_sample_at_fault_is_named():
    reward = guarded(lambda a: 1 / (len(a.completion) - 2), "own", 5)
    with pytest.raises(AccordError, match="'own' failed: ZeroDivisionError: division") as error:
        reward([answer("a", name="one"), answer("ab", name="two"), answer("abc", name="three")])
    assert error.value.where.startswith("two: ")
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_long_texts_are_cut_in_messages():
    with pytest.raises(AccordError) as error:
        guarded(lambda _: 1 / 0, "own", 5)([answer("b" * 10_000, "a" * 10_000)])
    assert len(error.value.where) < 250 and "aaa…'" in error.value.where


def test_leaving_python_is_a_fault_and_ctrl_c_is_not():
    def leave(_):
        raise SystemExit("bye")

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(AccordError, match="failed: SystemExit: bye"):
        guarded(leave, "own", 5)([answer()])
    with pytest.raises(KeyboardInterrupt):
        guarded(interrupted, "own", 5)([answer()])


def test_an_error_with_its_own_remedy_keeps_it():
    def refuse(_):
        raise AccordError("No column.", "rows", "give one")

    with pytest.raises(AccordError) as error:
        guarded(refuse, "own", 5)([answer("x")])
    assert (error.value.what, error.value.fix) == ("No column.", "give one")
    assert "completion 'x' (rows)" in error.value.where


@pytest.mark.parametrize(
    "value", [1, 1.0, True, np.float32(1), np.bool_(True), np.array(1), torch.tensor([1.0])]
)
def test_a_number_is_a_number_in_any_dress(value):
    [found] = guarded(lambda _: value, "own", 5)([answer()])
    assert type(found) is float and found == 1.0


@pytest.mark.parametrize(
    "value",
    [None, "1", float("nan"), float("inf"), [1.0], np.ones(2), torch.tensor(float("nan")), 1j],
    ids=str,
)
def test_what_is_no_finite_number_names_the_sample(value):
    with pytest.raises(AccordError, match="which is no finite number") as error:
        guarded(lambda _: value, "own", 5)([answer()])
    assert "tasks.jsonl:7" in error.value.where


def test_another_timer_and_its_handler_are_given_back():
    rang = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        assert guarded(lambda a: a.tokens, "length", 5)([answer()]) == [4.0]
        with pytest.raises(AccordError):
            guarded(spin, "slow", 0.02)([answer()])
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        assert 0 < left <= 0.15 and not rang
        time.sleep(0.3)
        assert rang == [1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_no_timer_is_left_running():
    guarded(lambda _: 1, "own", 5)([answer()])
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
