"""The vLLM engine on a stand-in for vLLM: what it hands over, what it refuses.

That it computes what ours does is in test_vllm.py, on vLLM itself.
"""

import gc
import os
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from accord.checkpoint.folder import save_model
from accord.config.generate import SamplingConfig
from accord.errors import AccordError
from accord.rollout.vllm import VLLMEngine

from .vllm_models import STYLES, TOKENIZER, engine_of, model


class StandIn:
    """As much of `vllm.LLM` as the engine calls; it writes down what it is given."""

    def __init__(self, **options):
        self.options, self.log = options, []
        self.variables = {name: os.environ.get(name) for name in VARIABLES}
        head = SimpleNamespace(quant_method=self)
        self.model = SimpleNamespace(lm_head=head)
        stops = [
            SimpleNamespace(shutdown=lambda name=name, log=self.log: log.append(name))
            for name in ("executor", "scheduler")
        ]
        core = SimpleNamespace(model_executor=stops[0], scheduler=stops[1])
        finalizer = SimpleNamespace(detach=lambda log=self.log: log.append("detach"))
        client = SimpleNamespace(engine_core=core, _finalizer=finalizer)
        self.llm_engine = SimpleNamespace(engine_core=client)

    def generate(self, asked, params, use_tqdm):
        assert not use_tqdm
        return [self.answer(*request) for request in zip(asked, params, strict=True)]

    def answer(self, asked, params):
        """The prompt's first token as often as allowed, at minus the seed."""
        self.log.append(params)
        ids = asked["prompt_token_ids"][:1] * params.max_tokens
        steps = [{token: SimpleNamespace(logprob=-params.seed)} for token in ids]
        output = SimpleNamespace(token_ids=ids, logprobs=steps, finish_reason="length")
        return SimpleNamespace(outputs=[output])

    def collective_rpc(self, method, kwargs):
        self.log.append(method)
        self.loaded = dict(kwargs["weights_iterator"])

    def apply_model(self, function):
        function(self.model)

    def process_weights_after_loading(self, head):
        self.log.append("head")

    def reset_prefix_cache(self):
        self.log.append("reset")
        return True


VARIABLES = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_NO_USAGE_STATS")


@pytest.fixture
def stand_in(monkeypatch):
    module = SimpleNamespace(LLM=StandIn, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_vllm_is_told_to_stay_in_this_process_and_to_give_the_drawn_probabilities(
    stand_in, tmp_path, monkeypatch
):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)
    engine = engine_of("llama", tmp_path, dtype=torch.bfloat16, max_num_seqs=3)
    assert engine._llm.options == {
        "model": str(tmp_path),
        "dtype": "bfloat16",
        "max_model_len": 128,
        "max_num_seqs": 3,
        "enforce_eager": True,
        "use_tqdm_on_load": False,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
    }
    assert list(engine._llm.variables.values()) == ["0", "1"]
    assert [os.environ.get(name) for name in VARIABLES] == ["1", None]


def test_with_ranks_vllm_joins_their_group_and_does_not_end_it(stand_in, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    engine = engine_of("llama", tmp_path)
    log = engine._llm.log
    assert engine._llm.options["distributed_executor_backend"] == "external_launcher"
    assert log == ["detach"]  # of what would end it
    del engine
    gc.collect()
    assert log == ["detach", "executor", "scheduler"]


def test_each_prompt_has_its_seed_its_room_and_its_answer(stand_in, tmp_path):
    engine = engine_of("llama", tmp_path, max_model_len=10)
    sampling = SamplingConfig(max_new_tokens=5, temperature=0.5)
    done = engine.generate([[7], [8] * 8, [9, 9]], sampling, [3, 0, 2**70 + 1])
    assert [c.ids for c in done] == [(7,) * 5, (8,) * 2, (9,) * 5]
    assert [set(c.logps) for c in done] == [{-3.0}, {0.0}, {-1.0}]
    params = engine._llm.log[0]
    assert (params.temperature, params.stop_token_ids) == (0.5, [TOKENIZER.end_id])
    assert sorted(params.logit_bias) == [TOKENIZER.pad_id, *range(len(TOKENIZER), 300)]
    assert engine.generate([], sampling, []) == []


@pytest.mark.parametrize("style", STYLES)
def test_new_weights_go_over_as_a_folder_would_hold_them(style, stand_in, tmp_path):
    engine, other = engine_of(style, tmp_path / "old"), model(style, seed=9)
    engine.update(dict(other.named_parameters()))
    save_model(other, tmp_path / "new", TOKENIZER)
    stored = load_file(tmp_path / "new" / "model.safetensors")
    assert engine._llm.loaded.keys() == stored.keys()
    assert all(torch.equal(engine._llm.loaded[name], stored[name]) for name in stored)
    tied = other.config.tie_word_embeddings
    assert engine._llm.log == ["reload_weights", *["head"] * tied, "reset"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"norm.wieght": w["norm.weight"]}, r"'norm.wieght'\n.*'norm.weight'"),
        (lambda w: {n: v for n, v in w.items() if n != "norm.weight"}, r"'norm.weight'.*None"),
        (lambda w: w | {"norm.weight": torch.ones(63)}, r"shape \(63,\).*model \(64,\)"),
    ],
    ids=["unknown", "missing", "shape"],
)
def test_weights_of_another_model_are_refused(change, message, stand_in, tmp_path):
    engine = engine_of("llama", tmp_path)
    with pytest.raises(AccordError, match=message):
        engine.update(change(model("llama").state_dict()))
    assert engine._llm.log == []


def test_prompts_that_vllm_goes_on_holding_are_an_error(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(StandIn, "reset_prefix_cache", lambda self: False)
    with pytest.raises(AccordError, match="read with the old weights"):
        engine_of("llama", tmp_path).update(model("llama").state_dict())


@pytest.mark.parametrize(
    ("asked", "seeds", "batch_size", "message"),
    [
        ([[1], []], [0, 1], 4, r"no tokens\n  where: prompt 1"),
        (
            [[1] * 10],
            [0],
            4,
            r"10 positions\n  where: prompt 0\n  fix:   shorten it to at most 9",
        ),
        ([[1, 290]], [0], 4, r"outside the tokenizer's 0 to 289\n  where: prompt 0"),
        ([[1], [2]], [0], 4, "2 prompts came with 1 seeds"),
        ([[1]], [0], 0, "batch_size is 0"),
        ([[1]], [-4], 4, "seed -4 is negative"),
    ],
)
def test_what_cannot_be_generated_is_refused(asked, seeds, batch_size, message, stand_in, tmp_path):
    engine = engine_of("llama", tmp_path, max_model_len=10)
    with pytest.raises(AccordError, match=message):
        engine.generate(asked, SamplingConfig(), seeds, batch_size)


def test_a_tokenizer_larger_than_the_model_is_refused(stand_in, tmp_path):
    save_model(model("llama", vocab_size=280), tmp_path)
    with pytest.raises(AccordError, match="290 tokens, the model's embedding 280 rows"):
        VLLMEngine(tmp_path, TOKENIZER)


def test_a_missing_vllm_names_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        AccordError, match=r"needs vLLM.*\n.*\n  fix:   pip install 'accord\[vllm\]"
    ):
        engine_of("llama", tmp_path)
