"""generation_config.json: other software loads it as it is, and its presets are Accord's."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import OURS

from accord.checkpoint.folder import load_model, save_model
from accord.checkpoint.generation import generation_config
from accord.config.generate import PRESETS, SamplingConfig
from accord.model.decoder import Decoder
from accord.pipeline.generate import complete
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer.train(["words and more words"] * 3, 290, chat_template="chatml")
    config = OURS["llama"].model_copy(update={"vocab_size": len(tokenizer)})
    save_model(Decoder.init(config, 0), tmp_path / "ours", tokenizer)
    return tmp_path / "ours"


def test_every_preset_stands_there_in_transformers_words() -> None:
    presets = generation_config(None)["presets"]
    assert presets == {
        "creative": {
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 50,
            "repetition_penalty": 1.1,
            "no_repeat_ngram_size": 8,
        },
        "factual": {"do_sample": False},
    }
    assert presets.keys() == PRESETS.keys()


def test_nothing_is_sampled_otherwise_unless_a_preset_is_asked_for(folder: Path) -> None:
    written = json.loads((folder / "generation_config.json").read_text())
    tokenizer = Tokenizer.load(folder)
    assert written.pop("presets")
    ends = [tokenizer.end_id, tokenizer.token_id("<|im_end|>")]
    assert written == {"eos_token_id": ends, "pad_token_id": tokenizer.pad_id}


@pytest.mark.peer
def test_transformers_loads_it_keeps_it_and_generates_by_it(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GenerationConfig

    written = json.loads((folder / "generation_config.json").read_text())
    read = GenerationConfig.from_pretrained(folder)
    assert read.presets == written["presets"]
    assert not read.do_sample and read.temperature is None
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "theirs")
    again = json.loads((tmp_path / "theirs" / "generation_config.json").read_text())
    assert again["presets"] == written["presets"]
    assert again["eos_token_id"] == written["eos_token_id"]
    ours, theirs = load_model(folder), load_model(tmp_path / "theirs")
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, theirs.state_dict()[name])
    tokenizer = Tokenizer.load(folder)
    prompt = torch.tensor([prompt_ids([Message("text", "more words")], tokenizer)])
    presets = model.generation_config.presets
    ids = {
        name: model.generate(prompt, max_new_tokens=12, **presets[name])[0, prompt.shape[1] :]
        for name in presets
    }
    sampling = SamplingConfig(**PRESETS["factual"], max_new_tokens=12)
    [answer] = complete(ours.eval(), tokenizer, ["more words"], sampling)
    assert list(answer.ids) == ids["factual"].tolist()[: len(answer.ids)] and answer.ids
    assert ids["creative"].tolist() != ids["factual"].tolist()
