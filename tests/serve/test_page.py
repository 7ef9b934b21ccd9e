"""The chat page in headless Chromium: ask, read two answers, look at a token, prefer one."""

import json
import shutil
from pathlib import Path

import pytest

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import load_rows

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as driver:
        # where the system has none, playwright's own is looked for
        if path is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip(f"no browser is installed: {', '.join(BROWSERS)}")
        running = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(SECONDS)
    faults, elsewhere = [], []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on("request", lambda r: r.url.startswith(server.url) or elsewhere.append(r.url))
    page.goto(server.url)
    page.get_by_label("dpo", exact=True).wait_for()
    page.fill("#seed", "3")
    page.fill("#max_tokens", "12")
    yield page
    assert not faults
    assert not elsewhere
    page.close()


def ask(page, text: str, turns: int = 1) -> None:
    from playwright.sync_api import expect

    page.fill("#prompt", text)
    page.press("#prompt", "Enter")
    expect(page.locator(".answer")).to_have_count(2 * turns)
    expect(page.locator(".writing")).to_have_count(0, timeout=SECONDS)
    expect(page.locator(".prefer:enabled")).to_have_count(2)


def test_a_preference_goes_from_the_page_to_a_file_that_loads(page, server, tmp_path):
    ask(page, "How was the film?")
    answers = page.locator(".said").all_text_contents()
    assert answers[0] != answers[1]
    token = page.locator(".answer").nth(1).locator(".token").nth(2)
    token.hover()
    tip = page.get_by_role("tooltip")
    tip.wait_for()
    assert "log p -" in tip.inner_text()
    assert tip.locator("tr").count() >= 5
    page.locator(".prefer").nth(1).click()
    page.locator(".answer.preferred").wait_for()
    row = json.loads(server.preferences.read_text().splitlines()[-1])
    assert row["prompt"] == [{"role": "user", "content": "How was the film?"}]
    assert row["chosen"] == [{"role": "assistant", "content": answers[1]}]
    assert row["rejected"] == [{"role": "assistant", "content": answers[0]}]
    assert (row["chosen_model"], row["rejected_model"]) == ("dpo", "sft")
    source = SourceConfig(source=str(server.preferences))
    loaded = load_rows([source], HeldoutConfig(), "pair", 1, Account(), tmp_path)
    assert any(pair.chosen[0].content == answers[1] for pair in loaded.train)

    # both go on from the preferred answer, so that the next pair has one prompt too
    ask(page, "And the end?", turns=2)
    page.locator(".prefer:enabled").nth(0).click()
    page.locator(".answer.preferred").nth(1).wait_for()
    row = json.loads(server.preferences.read_text().splitlines()[-1])
    assert [turn["content"] for turn in row["prompt"]] == [
        "How was the film?", answers[1], "And the end?",
    ]  # fmt: skip


def test_it_is_used_by_keys_alone(page):
    ask(page, "How was it?")
    page.locator(".said").nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".token.here").count() == 1
    assert "log p" in page.get_by_role("tooltip").inner_text()
    page.keyboard.press("Escape")
    assert not page.get_by_role("tooltip").is_visible()
    page.keyboard.press("Alt+Digit1")
    page.locator(".answer.preferred").wait_for()
    assert "1 preference appended" in page.get_by_role("status").inner_text()


def test_answers_that_followed_other_words_cannot_be_compared(page):
    from playwright.sync_api import expect

    ask(page, "How was it?")
    page.fill("#prompt", "And then?")
    page.press("#prompt", "Enter")
    expect(page.locator(".answer")).to_have_count(4)
    expect(page.locator(".writing")).to_have_count(0, timeout=SECONDS)
    expect(page.locator("#send")).to_have_text("Send")
    assert page.locator(".prefer:enabled").count() == 0
    page.get_by_role("button", name="New conversation").click()
    ask(page, "How was it?")


def test_a_server_with_a_key_asks_for_it(browser, folders, tmp_path):
    from accord.serve.served import Capacity

    from .conftest import serving

    with serving(folders, tmp_path / "p.jsonl", Capacity(slots=2), key="sesame") as server:
        page = browser.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(server.url)
        for key in ("wrong", "sesame"):
            page.fill("#key", key)
            page.press("#key", "Enter")
        page.get_by_label("dpo", exact=True).wait_for()
        page.close()


def test_what_a_model_or_a_user_writes_is_text_and_no_markup(page):
    ask(page, "<img src=x onerror=alert(1)><b>bold</b>")
    assert page.locator("#talk img, #talk b").count() == 0
    assert "<b>bold</b>" in page.locator(".asked").inner_text()
