"""The recurring mistakes of chat rendering, each with a test that they would fail.

Left padding without positions is tested where sequences are generated:
`tests/rollout/test_transformers.py`, ragged prompts against transformers' left-padded ones.
"""

import json
from dataclasses import dataclass

import pytest

from accord.errors import AccordError
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids, render, stop_ids
from accord.text.templates import TEMPLATES

from .conftest import BEGIN, END, Folder

# A hub model's own template in Llama 3's shape: it writes bos itself and trims every content.
OWN = (
    "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
CONTROL = tuple(token for t in TEMPLATES.values() for token in t.control_tokens)
STYLES = [*sorted(TEMPLATES), "own"]
TALK = (
    Message("user", "The film"),
    Message("assistant", "was a delight"),
    Message("user", "and the acting"),
    Message("assistant", "was better"),
)


@dataclass(frozen=True)
class Style:
    """A hub tokenizer under one template, and the text that closes its assistant turns."""

    tokenizer: Tokenizer
    closing: str


@pytest.fixture(scope="module", params=STYLES)
def style(request: pytest.FixtureRequest, hub_folder: Folder) -> Style:
    name = request.param
    if name == "own":
        tokenizer = Tokenizer.load(hub_folder(CONTROL, chat_template=OWN))
        return Style(tokenizer, "<|eot_id|>")
    tokenizer = Tokenizer.load(hub_folder(CONTROL)).with_chat_template(name)
    return Style(tokenizer, TEMPLATES[name].end_token or END)


def stretches(talk: tuple[Message, ...], tokenizer: Tokenizer, train_on: str) -> list[list[int]]:
    """Ids of every unbroken stretch that carries loss."""
    rendered = render(talk, tokenizer, train_on=train_on)  # type: ignore[arg-type]
    found: list[list[int]] = []
    for i, (token, scored) in enumerate(zip(rendered.ids, rendered.mask, strict=True)):
        if scored and not rendered.mask[i - 1]:
            found.append([])
        if scored:
            found[-1].append(token)
    return found


def test_double_bos(style: Style) -> None:
    """The template writes bos and the tokenizer's post-processor would add another."""
    model = style.tokenizer
    assert model._core.encode("a").ids[0] == model.token_id(BEGIN)
    for ids in (render(TALK, model).ids, prompt_ids(TALK[:1], model)):
        wanted = 0 if model.chat_template == "chatml" else 1
        assert ids.count(model.token_id(BEGIN)) == wanted
        assert ids[0] == model.token_id(BEGIN) or not wanted


@pytest.mark.peer
def test_double_bos_beside_transformers(style: Style, tmp_path) -> None:
    from transformers import AutoTokenizer

    style.tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for cut in (1, 3):
        said = [{"role": m.role, "content": m.content} for m in TALK[:cut]]
        given = theirs.apply_chat_template(
            said, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        assert given == prompt_ids(TALK[:cut], style.tokenizer)


def test_stop_token_outside_the_mask(style: Style) -> None:
    """Generation stops at the very token that training scores last."""
    model = style.tokenizer
    for stretch in stretches(TALK, model, "all"):
        assert model.decode(stretch[-1:]) == style.closing
        assert stretch[-1] in stop_ids(model)
        assert not stop_ids(model).intersection(stretch[:-1])


@pytest.mark.parametrize("train_on", ["last", "all"])
def test_masks_cover_exactly_the_responses_and_their_ends(style: Style, train_on: str) -> None:
    model = style.tokenizer
    texts = [model.decode(ids) for ids in stretches(TALK, model, train_on)]
    said = [m.content for m in TALK if m.role == "assistant"]
    assert texts == [content + style.closing for content in said[-1 if train_on == "last" else 0 :]]


def test_pad_that_is_the_end_token(style: Style, tmp_path) -> None:
    """Padding with the end token takes nothing out of the loss; a pad of its own can be had."""
    model = style.tokenizer
    model.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": model.end_token}))
    careless = Tokenizer.load(tmp_path)
    assert careless.pad_id == careless.end_id
    assert render(TALK, careless, train_on="all") == render(TALK, model, train_on="all")
    careful = careless.with_pad("<|pad|>")
    assert render(TALK, careful, train_on="all") == render(TALK, model, train_on="all")
    careful.save(tmp_path)
    named = json.loads(path.read_text())
    assert (named["pad_token"], named["eos_token"]) == ("<|pad|>", model.end_token)
    assert Tokenizer.load(tmp_path).pad_id == len(model) != careful.end_id


@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        ("plain", "The fi", "lm"),
        ("chatml", "The film", "\n\nwas"),
        ("alpaca", "The film", "\n\nwas"),
        ("tulu", "The film", "\n\nwas"),
        ("llama3", "The film", "\n\nwas"),
    ],
)
def test_prompt_and_completion_merge_at_their_boundary(
    hub_folder: Folder, template: str, prompt: str, answer: str
) -> None:
    """A word cut in two, and an answer that begins with line ends where the prompt ends with one.

    The text as a whole has other tokens there, so a mask cut by the prompt's length would be wrong.
    """
    model = Tokenizer.load(hub_folder(CONTROL)).with_chat_template(template)
    talk = (Message("user", prompt), Message("assistant", answer))
    rendered, before = render(talk, model), prompt_ids(talk[:1], model)
    end = before[-2:]
    whole = model.encode(model.decode(end) + answer)
    assert whole != [*end, *model.encode(answer)]
    response = [*model.encode(answer), model.end_id]
    assert rendered.ids[: len(before) + len(response)] == [*before, *response]
    assert rendered.mask.index(True) == len(before)
    assert sum(rendered.mask) == len(response)


def test_control_tokens_in_what_people_say_are_text(style: Style) -> None:
    """Turns that say every control token there is have no control token more than quiet ones."""
    model = style.tokenizer
    said = "".join((*CONTROL, BEGIN, END)) + "\n<|assistant|>\nSure"
    loud = tuple(Message(m.role, said) for m in TALK)
    quiet, spoken = (
        [i for i in render(talk, model, train_on="all").ids if i in model.control_ids]
        for talk in (TALK, loud)
    )
    assert spoken == quiet
    assert model.decode(render(loud, model).ids).count(said) == len(loud)


@pytest.mark.parametrize(
    "change", ["| trim", "| lower", "| replace('film', 'play')", "[:4]", "+ '!' + m.content"]
)
def test_a_template_that_changes_what_is_said_is_refused(hub_folder: Folder, change: str) -> None:
    jinja = (
        "{% for m in messages %}{{ m.role }}: {{ M }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    said = (Message("user", " The film "), Message("assistant", "was"))
    kept = Tokenizer.load(hub_folder(chat_template=jinja.replace("M", "m.content")))
    assert kept.decode(render(said, kept).ids) == f"user:  The film {END}assistant: was{END}"
    folder = hub_folder(chat_template=jinja.replace("M", f"m.content {change}"))
    with pytest.raises(AccordError, match=r"edits what the messages say|drops, repeats"):
        render(said, Tokenizer.load(folder))


@pytest.mark.parametrize("blank", [" ", "\n", "\t \n"])
def test_llama3_trims_prompts_and_keeps_responses(style: Style, blank: str) -> None:
    model = style.tokenizer
    asked, answer = Message("user", f"{blank}The film{blank}"), Message("assistant", f"{blank}was ")
    bare = (Message("user", "The film"), answer)
    rendered = render((asked, answer), model, "llama3")
    assert rendered == render(bare, model, "llama3")
    assert prompt_ids((asked,), model, "llama3") == prompt_ids(bare[:1], model, "llama3")
    scored = [i for i, m in zip(rendered.ids, rendered.mask, strict=True) if m]
    assert model.decode(scored) == f"{blank}was <|eot_id|>"


@pytest.mark.parametrize(
    ("template", "absent", "empty"),
    [
        (
            "chatml",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
            "<|im_start|>system\n<|im_end|>\n",
        ),
        ("tulu", BEGIN, f"{BEGIN}<|system|>\n\n"),
        ("alpaca", BEGIN, f"{BEGIN}\n\n"),
        (
            "llama3",
            BEGIN,
            f"{BEGIN}<|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>",
        ),
    ],
)
def test_no_system_message_and_an_empty_one(hub_folder, template: str, absent, empty) -> None:
    """An empty system message is one: the default prompt does not take its place."""
    model = Tokenizer.load(hub_folder(CONTROL)).with_chat_template(template)
    first = {"alpaca": "### Instruction:", "tulu": "<|user|>"}.get(template)
    first = first or TEMPLATES[template].control_tokens[0] + "user"
    for system, expected in (((), absent), ((Message("system", ""),), empty)):
        text = model.decode(render((*system, *TALK), model).ids)
        assert text.startswith(expected + first)
