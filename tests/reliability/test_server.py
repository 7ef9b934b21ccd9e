"""The battery's rows on the server, with small numbers, against a real `accord serve`."""

import pytest

from battery import auth, streams
from battery import server as server_rows
from battery.row import Size
from battery.serving import Answer, build, served


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    build(folder / "model")
    return folder


@pytest.fixture(scope="module")
def server(home):
    with served(home) as running:
        yield running


def test_requests_that_are_none_are_answered_below_500(server) -> None:
    count, failed = server_rows.fuzzed(server, server_rows.garbage())
    assert count >= 25
    assert not failed


def test_damaged_requests_are_answered_below_500(server) -> None:
    _, failed = server_rows.fuzzed(server, server_rows.damaged(30, seed=2))
    assert not failed


def test_what_is_too_much_is_refused_and_the_server_lives(server) -> None:
    assert not server_rows.unlimited(server)


def test_streams_at_once_say_what_each_says_alone(server) -> None:
    texts = streams.together(server, 12)
    assert all(texts)
    assert texts[7] == streams.alone(server, 7)


def test_who_leaves_gives_its_place_back(server) -> None:
    streams.left(server, 6)
    assert streams.slow(server)


def test_a_full_server_says_when_to_come_again(server) -> None:
    assert streams.filled(server) == (429, "1")


def test_nothing_is_drawn_for_who_has_left(home) -> None:
    assert streams.steps_after_leaving(home / "model") <= 4  # a token for each of four completions


def test_a_key_is_asked_for_and_never_written_down(tmp_path) -> None:
    outcome = auth.auth(tmp_path, Size())
    assert outcome.passed, outcome.details


def test_a_wrong_answer_is_found_out() -> None:
    good = b'{"error": {"message": "", "type": "", "param": null, "code": null}}'
    assert Answer(400, {}, good).refused
    assert not Answer(500, {}, good).refused
    assert not Answer(400, {}, b"{}").refused
    assert not Answer(400, {}, b"Bad Request").refused
