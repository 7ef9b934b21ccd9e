"""One call for one sample: bounded in time, and every way it can go wrong names the sample."""

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from accord.errors import AccordError
from accord.rewards.answer import Answer, Judge, Reward

_AGAIN = 1.0
"""Seconds after which a function that swallowed the interruption is interrupted again."""


class _Overrun(BaseException):
    """The time is over; no Exception, so that `except Exception` in a function lets it through."""


def guarded(judge: Judge, label: str, timeout: float) -> Reward:
    """A reward that calls `judge` for each answer, for at most `timeout` seconds each.

    In the main thread the call is interrupted by a timer (and any timer that was running goes on
    afterwards). In another thread no call can be interrupted: it runs in a thread of its own, which
    is left behind if it overruns.

    Raises:
        AccordError: The call raises, overruns, or gives something that is no finite number; names
            the sample.
    """

    def reward(answers: Sequence[Answer]) -> list[float]:
        return [_one(judge, answer, label, timeout) for answer in answers]

    return reward


def _one(judge: Judge, answer: Answer, label: str, timeout: float) -> float:
    main = threading.current_thread() is threading.main_thread()
    bounded = _interrupted if main and hasattr(signal, "setitimer") else _left_behind
    try:
        value = bounded(lambda: judge(answer), timeout)
    except _Overrun:
        raise AccordError(
            f"The reward '{label}' took longer than {timeout:g} seconds.",
            answer.shown,
            "raise the term's timeout, or mend the function",
        ) from None
    except AccordError as error:
        where = f"{answer.shown} ({error.where})" if error.where else answer.shown
        raise AccordError(error.what, where, error.fix) from error
    except (Exception, SystemExit) as error:
        raise AccordError(
            f"The reward '{label}' failed: {type(error).__name__}: {_first_line(error)}",
            answer.shown,
            "mend the function, or the row",
        ) from error
    return _number(value, answer, label)


def _number(value: Any, answer: Answer, label: str) -> float:
    """The value as a float; arrays and tensors of one number are numbers too."""
    if not isinstance(value, Real) and getattr(value, "size", None) is not None:
        value = _item(value)
    if not isinstance(value, Real) or not math.isfinite(value):
        raise AccordError(
            f"The reward '{label}' gave {value!r:.60}, which is no finite number.",
            answer.shown,
            "return a float for every answer",
        )
    return float(value)


def _item(value: Any) -> Any:
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return value


def _interrupted(call: Callable[[], Any], seconds: float) -> Any:
    """Run in the main thread, interrupted by SIGALRM after `seconds`."""
    fired = running = False

    def interrupt(*_: Any) -> None:
        nonlocal fired
        fired = True
        if running:
            raise _Overrun

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, interrupt)
    earlier, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        running = True
        value = call()
        running = False
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if earlier:  # whoever set it is still owed the rest of its time
            left = earlier - (time.monotonic() - began)
            signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6), interval)
    if fired:  # a bare `except:` in the function swallowed it
        raise _Overrun
    return value


def _left_behind(call: Callable[[], Any], seconds: float) -> Any:
    """Run in a thread of its own, given up after `seconds`."""
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:  # raised again where it was called
            outcome.append((None, error))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    if not outcome:
        raise _Overrun
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
