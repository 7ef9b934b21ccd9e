"""Control tokens that a tokenizer gets after it was trained."""

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import AccordError
from accord.text import Tokenizer
from accord.text.folder import SpecialTokens
from accord.text.templates import TEMPLATES

from .conftest import END, Folder

NEW = ("<|im_start|>", "<|im_end|>", "<tool>")


@pytest.fixture(scope="module")
def hub(hub_folder: Folder) -> Tokenizer:
    return Tokenizer.load(hub_folder())


def test_new_tokens_stand_last_and_all_else_keeps_its_id(hub: Tokenizer) -> None:
    grown = hub.with_tokens(NEW)
    assert [grown.token_id(t) for t in NEW] == list(range(len(hub), len(hub) + 3))
    assert len(grown) == len(hub) + 3
    assert grown.control_ids == hub.control_ids | set(range(len(hub), len(hub) + 3))
    assert (grown.end_id, grown.bos_id, grown.pad_id) == (hub.end_id, hub.bos_id, None)
    assert hub.token_id(END) == grown.token_id(END)
    assert len(hub.with_tokens(())) == len(hub)


def test_tokens_that_are_there_are_not_added_again(hub: Tokenizer) -> None:
    grown = hub.with_tokens([END, "<a>", "<a>"])
    assert len(grown) == len(hub) + 1
    assert grown.with_tokens(["<a>", END]) is grown


def test_a_tokenizer_with_more_tokens_extends_and_is_another(hub: Tokenizer) -> None:
    grown = hub.with_tokens(NEW)
    assert grown.extends(hub) and hub.extends(hub)
    assert not hub.extends(grown)
    assert not grown.same_ids(hub) and not hub.same_ids(grown)
    assert grown.same_ids(hub.with_tokens(NEW))
    assert not grown.same_ids(hub.with_tokens(NEW[::-1]))
    assert not hub.with_tokens(NEW[1:]).extends(hub.with_tokens(NEW[:1]))


def test_a_pad_more_changes_no_text(hub: Tokenizer) -> None:
    padded = hub.with_pad("<|fill|>")
    assert len(padded) == len(hub) + 1
    assert padded.same_ids(hub) and hub.same_ids(padded)
    assert not padded.same_ids(hub.with_tokens(["<|fill|>", "<b>"]))
    assert not hub.with_tokens(["<b>"]).same_ids(hub)


@settings(deadline=None, max_examples=100)
@given(parts=st.lists(st.sampled_from([*NEW, "<tool", ">", " ", "é", "\n"]) | st.text(max_size=3)))
def test_text_never_holds_the_new_tokens(hub: Tokenizer, parts: list[str]) -> None:
    grown, text = hub.with_tokens(NEW), "".join(parts)
    assert grown.encode(text) == hub.encode(text)
    assert [ids.tolist() for ids in grown.encode_corpus([text])] == [hub.encode(text)]
    assert grown.encode_batch([text]) == [hub.encode(text)]


def test_a_save_keeps_the_new_tokens(hub: Tokenizer, tmp_path: Path) -> None:
    grown = hub.with_tokens(NEW).with_pad("<|pad|>")
    grown.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == grown.fingerprint
    added = json.loads((tmp_path / "tokenizer.json").read_text())["added_tokens"]
    flags = {t["content"]: (t["id"], t["special"]) for t in added}
    for token in (*NEW, "<|pad|>"):
        assert flags[token] == (grown.token_id(token), True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["added_tokens_decoder"][str(loaded.pad_id)]["content"] == "<|pad|>"


@pytest.mark.peer
def test_transformers_loads_the_new_tokens_with_the_same_ids(hub: Tokenizer, tmp_path) -> None:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    grown = hub.with_tokens(NEW).with_pad("<|pad|>")
    grown.save(tmp_path)
    for theirs in (
        AutoTokenizer.from_pretrained(tmp_path),
        PreTrainedTokenizerFast.from_pretrained(tmp_path),
    ):
        assert len(theirs) == len(grown)
        assert theirs.convert_tokens_to_ids(list(NEW)) == [grown.token_id(t) for t in NEW]
        assert theirs("The<tool> film", add_special_tokens=False).input_ids == [
            *grown.encode("The"),
            grown.token_id("<tool>"),
            *grown.encode(" film"),
        ]
        assert set(NEW).isdisjoint(theirs.decode(range(len(grown)), skip_special_tokens=True))
        assert (theirs.pad_token_id, theirs.eos_token_id) == (grown.pad_id, grown.end_id)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_hub_tokenizer_takes_any_template_with_its_tokens(hub, template: str, tmp_path) -> None:
    control = TEMPLATES[template].control_tokens
    chat = hub.with_tokens(control).with_chat_template(template)
    chat.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert len(loaded) == len(hub) + len(control)
    assert (loaded.chat_template, loaded.bos_id) == (template, hub.bos_id)
    assert loaded.end_token == (TEMPLATES[template].end_token or END)


def test_an_added_token_that_was_text_becomes_control_in_its_place(hub: Tokenizer) -> None:
    core = tokenizers.Tokenizer.from_str(hub._core.to_str())
    core.add_tokens([tokenizers.AddedToken("<|im_end|>", special=False)])
    loose = Tokenizer(core, SpecialTokens(END))
    assert loose.encode("a<|im_end|>")[-1] == len(hub)
    strict = loose.with_tokens(["<|im_end|>"])
    assert len(strict) == len(loose) and strict.token_id("<|im_end|>") == len(hub)
    assert strict.encode("a<|im_end|>") == hub.encode("a<|im_end|>")


def test_a_pad_of_its_own(hub: Tokenizer) -> None:
    padded = hub.with_pad("<|pad|>")
    assert (padded.pad_token, padded.pad_id) == ("<|pad|>", len(hub))
    assert (padded.end_id, padded.bos_id) == (hub.end_id, hub.bos_id)
    # one that is there already takes no new id
    known = hub.with_tokens(["<reserved>"])
    assert known.with_pad("<reserved>").pad_id == len(hub)
    assert len(known.with_pad("<reserved>")) == len(known)
    assert padded.fingerprint != hub.with_tokens(["<|pad|>"]).fingerprint


@pytest.mark.parametrize("token", ["<|begin_of_text|>", "<|im_end|>", "<|im_start|>"])
def test_a_pad_that_means_something_else_is_refused(hub: Tokenizer, token: str) -> None:
    chat = hub.with_tokens(NEW).with_chat_template("chatml")
    with pytest.raises(AccordError, match="has another meaning here") as caught:
        chat.with_pad(token)
    assert caught.value.where == "pad_token"


def test_mistakes_are_told(hub: Tokenizer) -> None:
    with pytest.raises(AccordError, match="a control token is empty"):
        hub.with_tokens([""])
    with pytest.raises(AccordError, match="'The' is an ordinary token of this tokenizer"):
        hub.with_tokens(["The"])
    with pytest.raises(AccordError, match="'The' is an ordinary token"):
        hub.with_pad("The")


def test_ids_with_gaps_are_told() -> None:
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0, "b": 2}, merges=[]))
    gap = Tokenizer(core, SpecialTokens("b"))
    with pytest.raises(AccordError, match="ids have gaps"):
        gap.with_tokens(["<a>"])
