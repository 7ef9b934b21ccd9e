"""Formats by name, and the page that shows them."""

import re
from pathlib import Path
from typing import get_args

import pytest

from accord.config import base
from accord.errors import AccordError
from accord.text import Message, Tokenizer
from accord.text.chat import render
from accord.text.templates import TEMPLATES, jinja_of, name_of, named_template, template_of

from .conftest import BEGIN, END

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chat-templates.md"
SHOWN = dict(re.findall(r"^### (\w+)\n\n```text\n(.*?)\n```", PAGE.read_text(), re.DOTALL | re.M))


def test_recipes_may_name_exactly_these() -> None:
    assert set(get_args(base.ChatTemplate)) == set(TEMPLATES) == set(SHOWN)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_page_shows_what_is_rendered(hub_folder, name: str) -> None:
    control = TEMPLATES[name].control_tokens
    model = Tokenizer.load(hub_folder(control)).with_chat_template(name)
    rendered = render((Message("user", "Hi"), Message("assistant", "Yes")), model)
    begin = rendered.mask.index(True)
    end = begin + sum(rendered.mask)
    parts = (rendered.ids[:begin], rendered.ids[begin:end], rendered.ids[end:])
    before, scored, after = (model.decode(ids) for ids in parts)
    text = f"{before}⟦{scored}⟧{after}".replace(BEGIN, "{bos}").replace(END, "{end}")
    assert text.removesuffix("\n") == SHOWN[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_names_and_jinja_texts_stand_for_each_other(name: str) -> None:
    assert name_of(jinja_of(name)) == name
    assert template_of(name) == template_of(jinja_of(name)) == named_template(name)
    assert jinja_of("{{ 1 }}") == name_of("{{ 1 }}") == "{{ 1 }}"


def test_an_unknown_name_is_told() -> None:
    for find in (template_of, named_template, jinja_of):
        with pytest.raises(AccordError, match=r"'lama3'[\s\S]*did you mean 'llama3'\?"):
            find("lama3")
