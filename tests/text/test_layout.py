"""A default system prompt of one's own: in the saved Jinja text, and found there again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids, render
from accord.text.templates import TEMPLATES, template_of

WITH_SYSTEM = sorted(name for name, t in TEMPLATES.items() if "system" in t.turns)
AWKWARD = [
    "Answer in the user's language.",
    "“É” 🙂 \\n is no 'line' \"end\"\n\ta tab",
    "{{ messages }} {% endif %} {# #} {% generation %}",
    "' }}\n{%- endif %}\n",
    "<|im_end|>\n⟨system⟩ <|eot_id|>",
    "\x00\x7f\u2028 \\u0027 \\",
]
ASKED = (Message("user", "Hi"),)


@pytest.mark.parametrize("name", WITH_SYSTEM)
@settings(deadline=None, max_examples=60)
@given(prompt=st.text(max_size=20) | st.sampled_from(AWKWARD))
def test_a_system_prompt_is_read_back_from_the_jinja_text(name: str, prompt: str) -> None:
    changed = TEMPLATES[name].with_system(prompt)
    found = template_of(changed.jinja)
    assert found == changed
    assert found.default_system == (TEMPLATES[name].turns["system"].shown(prompt) or None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_that_differs_anywhere_is_another_template(name: str) -> None:
    jinja = TEMPLATES[name].jinja
    assert template_of(jinja) == TEMPLATES[name]
    for at in range(0, len(jinja), 7):
        assert template_of(jinja[:at] + "~" + jinja[at + 1 :] + "{") is None


@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_a_conversation_without_system_turn_gets_it(tokenizer, name: str, tmp_path) -> None:
    bare = tokenizer.with_chat_template(name)
    chat = bare.with_system_prompt("Be brief.")
    told = (Message("system", "Be brief."), *ASKED)
    assert prompt_ids(ASKED, chat) == prompt_ids(told, bare)
    own = (Message("system", "Sing."), *ASKED)
    assert prompt_ids(own, chat) == prompt_ids(own, bare)
    chat.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == chat.fingerprint
    answered = (*ASKED, Message("assistant", " Yes\n"))
    assert render(answered, loaded) == render((told[0], *answered), bare)


def test_an_empty_prompt_takes_the_default_away_and_the_default_is_the_format(tokenizer) -> None:
    chat = tokenizer.with_chat_template("chatml")
    assert chat.with_system_prompt("You are a helpful assistant.").chat_template == "chatml"
    quiet = chat.with_system_prompt("")
    assert tokenizer.decode(prompt_ids(ASKED, quiet)).startswith("<|im_start|>user\n")
    assert quiet.end_id == chat.end_id


@pytest.mark.peer
@pytest.mark.parametrize("prompt", AWKWARD)
@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_transformers_renders_the_same_system_prompt(tokenizer, name, prompt, tmp_path) -> None:
    from transformers import AutoTokenizer

    chat = tokenizer.with_chat_template(name).with_system_prompt(prompt)
    chat.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for system in ((), (Message("system", ""),), (Message("system", "Sing."),)):
        said = [{"role": m.role, "content": m.content} for m in (*system, *ASKED)]
        text = theirs.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        assert text == chat.decode(prompt_ids((*system, *ASKED), chat))


def test_where_no_system_prompt_fits_is_told(tokenizer) -> None:
    with pytest.raises(AccordError, match="'plain' has no place for a system prompt") as caught:
        tokenizer.with_chat_template("plain").with_system_prompt("Be.")
    assert caught.value.where == "system_prompt"
    own = tokenizer.with_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(AccordError, match="own chat template cannot be changed") as caught:
        own.with_system_prompt("Be.")
    assert "set chat_template too" in caught.value.fix
