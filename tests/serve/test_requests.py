"""Limits, errors and keys, below what a client library would send."""

import socket

import httpx
import pytest

from accord.errors import AccordError
from accord.serve.run import check_address
from accord.serve.served import Capacity, names

from .conftest import serving

CHAT = "/v1/chat/completions"
BODY = {"model": "sft", "messages": [{"role": "user", "content": "a"}], "max_tokens": 4}


def test_every_refusal_is_json_in_openais_form(server):
    url = server.url
    answers = [
        httpx.get(url + "/nowhere"),
        httpx.get(url + CHAT),
        httpx.delete(url + "/v1/models"),
        httpx.get(url + "/v1/models/none"),
        httpx.post(url + CHAT, content=b"{"),
        httpx.post(url + CHAT, json=[]),
        httpx.post(url + CHAT, json=BODY | {"max_tokens": "4"}),
        httpx.post(url + CHAT, content=b"\xff\xfe", headers={"content-type": "application/json"}),
        httpx.post(url + CHAT, data={"model": "sft"}),
    ]
    assert [answer.status_code for answer in answers] == [
        404,
        405,
        405,
        404,
        415,
        400,
        400,
        400,
        415,
    ]
    for answer in answers:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "text",
    [
        '{"model":"sft","messages":[{"role":"user","content":"\\ud800"}]}',
        '{"model":"sft","max_tokens":NaN,"messages":[{"role":"user","content":"a"}]}',
        '{"model":"sft","temperature":1e999,"messages":[{"role":"user","content":"a"}]}',
        '{"model":"sft","max_tokens":' + "9" * 5000 + ',"messages":[]}',
        "[" * 100_000,
    ],
    ids=["surrogate", "nan", "infinity", "digits", "deep"],
)
def test_json_that_is_not_quite(server, text):
    answer = httpx.post(
        server.url + CHAT, content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("settings", [{"temperature": 1e-300}, {"top_p": 1e-300}], ids=str)
def test_settings_below_what_float32_holds_are_greedy(ask, settings):
    greedy = ask(CHAT, **BODY | {"temperature": 0})
    assert ask(CHAT, **BODY | settings)["choices"] == greedy["choices"]


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as wire:
        wire.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 20000000\r\n\r\n"
        )
        assert wire.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_it_all_the_same_reads_the_refusal(server, chunked):
    body = (b" " * 100_000 for _ in range(20)) if chunked else b" " * 2_000_000
    answer = httpx.post(
        server.url + CHAT, content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert httpx.get(server.url + "/health").status_code == 200


def test_another_host_is_not_answered_without_a_key(server):
    """A page of another site, whose name is pointed here, reaches nothing."""
    for host in ("evil.example", "evil.example:80", "localhost.evil.example"):
        answer = httpx.get(server.url + "/v1/models", headers={"host": host})
        assert answer.status_code == 403
    for host in ("localhost:1", "[::1]:8000", "127.0.0.1", "127.8.8.8:80"):
        assert httpx.get(server.url + "/v1/models", headers={"host": host}).status_code == 200


def test_a_key_is_asked_for_and_never_logged(folders, tmp_path, capfd, caplog):
    key = "open-sesame-7"
    with serving(folders[:1], tmp_path / "p", Capacity(slots=2), key=key) as server:
        get = httpx.get
        models = server.url + "/v1/models"
        assert get(models).status_code == 401
        for wrong in ("", key, f"Bearer {key}x", f"bearer {key}", "Bearer " + "é" * 9):
            refused = get(models, headers={"authorization": wrong.encode()})
            assert refused.status_code == 401
            assert key not in refused.text
        right = {"authorization": f"Bearer {key}"}
        assert get(models, headers=right | {"host": "anything.example"}).status_code == 200
        assert httpx.post(server.url + CHAT, json=BODY).status_code == 401
        assert httpx.post(server.url + "/preferences", json={}).status_code == 401
        assert get(server.url + "/").status_code == 200
        assert httpx.post(server.url + CHAT, json=BODY, headers=right).status_code == 200
    shown = capfd.readouterr()
    assert key not in shown.out + shown.err + caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_other_addresses_want_a_key(host):
    with pytest.raises(AccordError, match="everyone"):
        check_address(host, None)
    check_address(host, "k")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_wants_none(host):
    check_address(host, None)


@pytest.mark.parametrize("key", ["", " k", "k\n", "clé"])
def test_a_key_that_no_header_can_hold_is_refused(key):
    with pytest.raises(AccordError, match="key"):
        check_address("127.0.0.1", key)


def test_names_are_the_last_parts_that_differ():
    assert names(["runs/a/sft", "runs/a/dpo/"]) == ["sft", "dpo"]
    assert names(["runs/a/dpo", "runs/b/dpo"]) == ["a/dpo", "b/dpo"]
    with pytest.raises(AccordError, match="twice"):
        names(["runs/a", "runs/./a"])


def test_an_openapi_document_and_a_page(server):
    document = httpx.get(server.url + "/openapi.json").json()
    assert "/v1/chat/completions" in document["paths"]
    page = httpx.get(server.url + "/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("// ", "").partition("<body>")[2].partition("<script>")[0]
