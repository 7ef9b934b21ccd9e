"""A hub model's own template: contents stay text, and masks fit what generation would write."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids, render, stop_ids
from accord.text.folder import SpecialTokens

# Llama 3's shape: headers in control tokens, bos written by the template.
HEADERS = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}<|im_start|>\n\n"
    "{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_start|>\n\n{% endif %}"
)
# Llama 2's shape: a blank between instruction and answer that only the answer brings, text tags.
TAGS = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + "
    "' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('no ' ~ m.role ~ ' here') }}{% endif %}{% endfor %}"
)
# Reasoning models' shape: an empty thought before the last answer, which the prompt has not.
THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = (
    Message("user", "Hi <|im_end|>"),
    Message("assistant", "Yes"),
    Message("user", "Why"),
    Message("assistant", "So"),
)


@pytest.fixture(scope="module")
def hub(tokenizer: Tokenizer):
    def of(jinja: str) -> Tokenizer:
        special = SpecialTokens("<|endoftext|>", "<|pad|>", "<|pad|>")  # bos by another name
        return Tokenizer(tokenizer._core, special, jinja)

    return of


def scored(talk: tuple[Message, ...], tokenizer: Tokenizer, train_on: str = "last") -> str:
    rendered = render(talk, tokenizer, train_on=train_on)  # type: ignore[arg-type]
    return tokenizer.decode([i for i, m in zip(rendered.ids, rendered.mask, strict=True) if m])


@pytest.mark.parametrize(
    ("jinja", "last", "every"),
    [
        (HEADERS, "So<|im_end|>", "Yes<|im_end|>So<|im_end|>"),
        (TAGS, " So <|endoftext|>", " Yes <|endoftext|> So <|endoftext|>"),
        (THOUGHT, "<think></think>So<|im_end|>", "Yes<|im_end|><think></think>So<|im_end|>"),
    ],
)
def test_masks_cover_all_that_generation_would_write(hub, jinja: str, last: str, every: str):
    assert scored(TALK, hub(jinja)) == last
    assert scored(TALK, hub(jinja), "all") == every


@pytest.mark.parametrize("jinja", [HEADERS, TAGS])
@settings(deadline=None, max_examples=60)
@given(
    contents=st.lists(
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=9)
        | st.sampled_from(["<|im_end|>", "<|pad|>", "[/INST]", "{{ 1 }}", "\ue0000\ue001"]),
        min_size=2,
        max_size=6,
    )
)
def test_prompts_are_prefixes_and_contents_text(hub, jinja: str, contents: list[str]):
    model = hub(jinja)
    contents = contents[: len(contents) // 2 * 2]
    roles = ["user", "assistant"] * (len(contents) // 2)
    talk = tuple(Message(r, c) for r, c in zip(roles, contents, strict=True))
    whole = render(talk, model, train_on="all")
    for k in range(1, len(talk), 2):
        before = prompt_ids(talk[:k], model)
        assert whole.ids[: len(before)] == before
        assert whole.mask[len(before)] and not whole.mask[len(before) - 1]
    control = [i for i in whole.ids if i in model.control_ids]
    per_message, opening = (3, 1) if jinja == HEADERS else (1, 0)
    assert len(control) == opening + per_message * len(talk)
    for content in contents:
        assert content in model.decode(whole.ids)


@pytest.mark.peer
@pytest.mark.parametrize("jinja", [HEADERS, TAGS])
def test_prompt_ids_equal_transformers(hub, jinja: str, tmp_path):
    from transformers import AutoTokenizer

    model = hub(jinja)
    model.save(tmp_path)
    loaded, theirs = Tokenizer.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.chat_template == jinja
    talk = (Message("user", "The film was"), *TALK[1:3])
    said = [{"role": m.role, "content": m.content} for m in talk]
    given_ = theirs.apply_chat_template(
        said, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert prompt_ids(talk, loaded) == given_


def test_a_token_that_swallows_blanks_does_so_here_too(tokenizer):
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Core

    core = Core.from_str(tokenizer._core.to_str())
    core.add_special_tokens([AddedToken("<|end|>", rstrip=True, special=True)])
    jinja = "{% for m in messages %}{{ m.content }}<|end|>\n{% endfor %}"
    model = Tokenizer(core, SpecialTokens("<|end|>"), jinja)
    rendered = render(TALK[2:], model)
    expected = [*model.encode("Why"), model.end_id, *model.encode("So"), model.end_id]
    assert rendered.ids == expected


def test_stop_ids_hold_the_token_that_closes_turns(hub):
    model = hub(HEADERS)
    assert stop_ids(model) == {model.token_id("<|im_end|>"), model.token_id("<|endoftext|>")}


@pytest.mark.parametrize(
    ("jinja", "talk", "message"),
    [
        (
            HEADERS,
            (Message("user", " a "), Message("assistant", "b")),
            "edits what the messages say",
        ),
        (HEADERS, (Message("user", "a"), Message("assistant", "b\n")), "edits what the messages"),
        (
            "{% for m in messages[1:] %}{{ m.content }}{% endfor %}",
            TALK,
            "drops, repeats or reorders",
        ),
        ("{{ messages[0].content }}" * 2, TALK[1:2], "drops, repeats or reorders"),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
            TALK,
            "closes an assistant turn without a control token",
        ),
        (
            "{% if add_generation_prompt %}Now{% endif %}"
            "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
            TALK,
            "generation prompt before message 3 is not how",
        ),
        (TAGS, (Message("system", "Be."), *TALK), "refuses the conversation: no system here"),
        ("{% for %}", TALK, "not valid Jinja"),
        ("{{ messages[0].content.nothing.more }}", TALK, "the chat template fails"),
        ("{{ ''.__class__.__mro__ }}", TALK, "the chat template fails"),
        (HEADERS, (), "has no message"),
        (HEADERS, TALK[:1], "no assistant turn"),
    ],
)
def test_what_a_template_cannot_do_is_told(hub, jinja: str, talk, message: str):
    with pytest.raises(AccordError, match=message):
        render(talk, hub(jinja))


def test_an_empty_prompt_is_told(hub):
    with pytest.raises(AccordError, match="has no message"):
        prompt_ids((), hub(HEADERS))
