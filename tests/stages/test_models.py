"""What a stage refuses to start from."""

import json
from pathlib import Path

import pytest
import torch
from left import SHAPE, make_model

from accord.checkpoint.folder import save_model
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.stages.models import check_same_tokens, fresh_model, open_model
from accord.text.tokenizer import Tokenizer

CHATS = [{"source": "chat.jsonl"}]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a tokenizer of other words, but as many."""
    folder = tmp_path_factory.mktemp("stranger") / "model"
    return make_model(folder, ["quick zebras jump over lazy dogs and vex the wizards"] * 20)


def test_a_fresh_model_follows_preset_settings_tokenizer_and_seed(tokenizer: Tokenizer) -> None:
    settings = {"preset": "gpt2", **SHAPE}
    model = fresh_model(settings, tokenizer, 5)
    assert model.config.position == "learned"
    assert model.config.vocab_size == len(tokenizer)
    again, other = (fresh_model(settings, tokenizer, seed).state_dict() for seed in (5, 6))
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    assert not torch.equal(model.state_dict()["embedding.weight"], other["embedding.weight"])


@pytest.mark.parametrize("kind", ["sft", "preference", "pretrain"])
def test_more_tokens_than_positions_are_refused(run, model_folder: Path, kind: str) -> None:
    source = "stories.jsonl" if kind == "pretrain" else "preferences.jsonl"
    settings = {"kind": kind, "from": str(model_folder), "steps": 1, "data": [{"source": source}]}
    with pytest.raises(AccordError) as caught:
        run({**settings, "max_length": 257})
    assert caught.value.lines() == [
        "max_length 257 is more than the model's 256 positions.",
        f"  where: stages.{kind}.max_length",
        "  fix:   set max_length to at most 256",
    ]


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    small = ModelConfig(vocab_size=len(tokenizer) - 1, **SHAPE)
    save_model(Decoder.init(small, 1), tmp_path, None)
    tokenizer.save(tmp_path)
    with pytest.raises(AccordError, match=r"300 tokens, the model embeds 299"):
        open_model(tmp_path)


def test_the_same_number_of_other_tokens_is_refused(
    run, stranger: Path, model_folder: Path, tokenizer: Tokenizer
) -> None:
    assert len(Tokenizer.load(stranger)) == len(tokenizer)
    with pytest.raises(AccordError, match="another tokenizer") as caught:
        check_same_tokens(tokenizer, stranger)
    assert caught.value.where == str(stranger)
    sampled = {"kind": "sampled", "rejected": str(stranger)}
    common = {"steps": 1, "from": str(model_folder), "max_length": 128}
    with pytest.raises(AccordError, match="another tokenizer"):
        run({"kind": "preference", "data": CHATS, "pairs": sampled, **common})
    stories = [{"source": "stories.jsonl"}]
    with pytest.raises(AccordError, match="another tokenizer"):
        run({"kind": "pretrain", "data": stories, "tokenizer": str(stranger), **common})


def test_another_end_token_is_no_other_tokenizer(
    tmp_path: Path, model_folder: Path, tokenizer: Tokenizer
) -> None:
    tokenizer.with_chat_template("chatml").save(tmp_path)
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert named["eos_token"] != tokenizer.end_token
    check_same_tokens(tokenizer, tmp_path)
