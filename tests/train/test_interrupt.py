import os
import pickle
import signal
import threading
from pathlib import Path

import pytest

from accord.train.interrupt import Interrupted, stop_request


def test_a_signal_asks_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_request() as request:
        assert not request.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.asked
        os.kill(os.getpid(), signal.SIGTERM)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_ctrl_c_is_immediate() -> None:
    with stop_request() as request, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert request.asked
        os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_train_without_handlers() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_request() as request:
            seen.append(request.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_interrupted_says_how_to_go_on_and_crosses_processes() -> None:
    stop = pickle.loads(pickle.dumps(Interrupted(Path("runs/a"), 7)))
    assert (stop.folder, stop.step) == (Path("runs/a"), 7)
    assert "run it again" in str(stop)
