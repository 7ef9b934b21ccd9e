"""Greedy decoding is transformers' own, penalties included, for both families and any batch."""

import pytest
import torch

from accord.checkpoint.folder import load_model
from accord.config.generate import SamplingConfig
from accord.rollout.engine import Engine

from .models import LetterTokenizer

SIZES = {"vocab_size": 28, "pad_token_id": 27, "eos_token_id": 26, "bos_token_id": 26}
PROMPTS = [[3], [1, 2, 3, 4, 5, 6, 7], [9, 9, 9, 9], list(range(20))]


def hf_model(family: str):
    import transformers

    torch.manual_seed(0)
    if family == "gpt2":
        config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **SIZES)
    else:
        config = transformers.LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            **SIZES,
        )
    config.initializer_range = 0.25
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.peer
@pytest.mark.parametrize(
    "changes",
    [{}, {"repetition_penalty": 1.4}, {"no_repeat_ngram_size": 2}],
    ids=["plain", "penalty", "ngrams"],
)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_greedy_is_transformers_greedy(family, changes, tmp_path):
    peer = hf_model(family)
    peer.save_pretrained(tmp_path)
    engine = Engine(load_model(tmp_path), LetterTokenizer())
    sampling = SamplingConfig(temperature=0, max_new_tokens=30, **changes)
    done = engine.generate(PROMPTS, sampling, [0] * len(PROMPTS), batch_size=3)
    for prompt, completion in zip(PROMPTS, done, strict=True):
        ids = torch.tensor([prompt])
        want = peer.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=30,
            suppress_tokens=[27],
            **changes,
        )
        assert list(completion.ids) == want[0, len(prompt) :].tolist()


@pytest.mark.peer
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_ragged_prompts_are_transformers_left_padded_ones(family, tmp_path):
    peer = hf_model(family)
    peer.save_pretrained(tmp_path)
    engine = Engine(load_model(tmp_path), LetterTokenizer())
    sampling = SamplingConfig(temperature=0, max_new_tokens=30)
    done = engine.generate(PROMPTS, sampling, [0] * len(PROMPTS))
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[27] * (width - len(prompt)) + prompt for prompt in PROMPTS])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    want = peer.generate(
        ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp_min(0),
        do_sample=False,
        max_new_tokens=30,
        suppress_tokens=[27],
    )
    for prompt, completion, row in zip(PROMPTS, done, want[:, width:].tolist(), strict=True):
        length = len(completion.ids)
        assert list(completion.ids) == row[:length]
        assert set(row[length:]) <= {27}
        [alone] = engine.generate([prompt], sampling, [0])
        assert alone.ids == completion.ids
