"""`accord convert`: what is written is read again, by Accord, by transformers, and measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.checkpoint.folder import load_model, save_model
from accord.checkpoint.gguf import read_gguf
from accord.checkpoint.gguf_tokenizer import read_tokenizer
from accord.checkpoint.gguf_vocabulary import NO_BOS, vocabulary
from accord.cli.converting import table
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.pipeline.convert import convert
from accord.pipeline.quality import compared, decoder_logits
from accord.text import Tokenizer
from accord.text.chat import stop_ids

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied with wide heads": {"head_dim": 24, "tie_word_embeddings": False},
    "llama 3.1": {
        "head_dim": 32,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "original_max_position_embeddings": 16,
        },
    },
    "mixtral": {"num_experts": 4},
    "qwen2": {"attention_bias": True, "attention_out_bias": False},
    # transformers does not read head_dim, n_inner and n_positions of these from GGUF: these are
    # the defaults of its classes
    "qwen3": {"qk_norm": True, "head_dim": 128},
    "qwen3 yarn": {
        "qk_norm": True,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
            "attention_factor": 1.25,
        },
    },
    "qwen3moe": {"qk_norm": True, "num_experts": 4},
    "gpt2": {
        **PRESETS["gpt2"],
        "num_key_value_heads": None,
        "intermediate_size": 256,
        "max_position_embeddings": 1024,
    },
}
TEXTS = ["a fox isn't 123 long; it'll be 7% of it\n\n"] * 4 + ["नमस्ते दुनिया 한국어 🙂 x=1+2"] * 2


def trained(pattern: str = "gpt2", template: str = "chatml") -> Tokenizer:
    return Tokenizer.train(TEXTS, 400, pattern=pattern, chat_template=template)


def decoder(tokenizer: Tokenizer, **shape: Any) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(ModelConfig(**{**SHAPE, **shape}, vocab_size=len(tokenizer) + 5))
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.copy_(torch.randn_like(weight) * 0.2 + ("norm.weight" in name))
    return made.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = trained()
    save_model(decoder(tokenizer), tmp_path / "tiny", tokenizer, card="# tiny\n")
    return tmp_path / "tiny"


@pytest.mark.parametrize("name", SHAPES)
def test_every_architecture_comes_back_to_the_bit(name: str, tmp_path: Path) -> None:
    tokenizer = trained()
    made = decoder(tokenizer, **SHAPES[name])
    save_model(made, tmp_path / "tiny", tokenizer)
    found = convert(tmp_path / "tiny", "gguf", tmp_path, "f32")
    assert (found["max_logit_difference"], found["greedy_agreement"]) == (0.0, 1.0)
    back = read_gguf(Path(found["path"]))
    assert all(torch.equal(back.weights[k], w) for k, w in made.named_parameters())
    assert back.tokenizer.chat_template == "chatml"
    assert stop_ids(back.tokenizer) == stop_ids(tokenizer)
    assert len(back.tokenizer) == len(tokenizer)  # rows that pad the embedding are no tokens
    assert all(back.tokenizer.encode(text) == tokenizer.encode(text) for text in TEXTS)


def test_fewer_bits_cost_more(folder: Path, tmp_path: Path) -> None:
    found = {kind: convert(folder, "gguf", tmp_path, kind) for kind in ("f16", "q8_0", "q4_0")}
    sizes = [one["bytes"] for one in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    errors = [one["max_logit_difference"] for one in found.values()]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert found["q8_0"]["texts"] == "texts that the model itself wrote"
    shown = table(found["q8_0"]).splitlines()
    assert shown[2].startswith("gguf q8_0") and f"{found['q8_0']['bytes']:,}" in shown[2]


def test_figures_are_those_of_the_given_texts(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": t}) + "\n" for t in dict.fromkeys(TEXTS)))
    found = convert(folder, "gguf", tmp_path / "out", "f32", [str(rows)])
    tokenizer, model = Tokenizer.load(folder), load_model(folder)
    nats, count = 0.0, 0
    for text in dict.fromkeys(TEXTS):
        ids = torch.tensor([tokenizer.start_id, *tokenizer.encode(text), tokenizer.end_id])
        with torch.no_grad():
            logps = decoder_logits(model)(ids).double().log_softmax(-1)
        nats -= float(logps[:-1].gather(1, ids[1:, None]).sum())
        count += len(ids) - 1
    assert found["tokens"] == count
    assert found["perplexity"] == pytest.approx(float(torch.tensor(nats / count).exp()), rel=1e-4)
    assert found["perplexity_change"] == 0.0


def test_agreement_counts_places_where_both_choose_alike() -> None:
    from accord.data.packing import Example, Response

    example = Example((0,), (Response((1, 1, 1, 1), (True, True, False, True)),), "a")
    first = torch.eye(5)[[1, 1, 1, 1, 1]]
    second = torch.eye(5)[[1, 2, 3, 1, 1]]
    found = compared(lambda ids: first, lambda ids: second, [example])
    assert (found.tokens, found.max_logit_difference) == (3, 1.0)
    assert found.greedy_agreement == pytest.approx(2 / 3)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a window": ({"sliding_windows": (8, 8)}, "every layer attends to all positions"),
    "scaled rotations": (
        {
            "rope_scaling": {
                "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16,
                "truncate": False,
            },
        },
        "in whole pairs",
    ),
    "biases": ({"attention_bias": True}, "attention has no biases"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_written_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    shape, reason = REFUSED[name]
    tokenizer = trained()
    save_model(decoder(tokenizer, **shape), tmp_path / "tiny", tokenizer)
    with pytest.raises(AccordError, match=reason):
        convert(tmp_path / "tiny", "gguf", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_words_cut_in_a_way_that_llama_cpp_does_not_know_are_refused() -> None:
    with pytest.raises(AccordError, match=r"cuts words by a rule that llama\.cpp has no name for"):
        vocabulary(trained("indic"), 500)


@pytest.mark.parametrize(("pattern", "name"), [("gpt2", "gpt-2"), ("gpt4", "dbrx")])
def test_words_are_named_as_llama_cpp_names_them(pattern: str, name: str) -> None:
    assert vocabulary(trained(pattern), 500)["tokenizer.ggml.pre"] == name


def test_a_template_without_bos_does_not_get_llama_cpps() -> None:
    said = vocabulary(trained(template="tulu"), 500)
    assert said["tokenizer.chat_template"].startswith(NO_BOS)
    assert said["tokenizer.ggml.add_bos_token"] is False
    assert said["tokenizer.ggml.bos_token_id"] == said["tokenizer.ggml.eos_token_id"]


def test_nothing_is_written_over(folder: Path, tmp_path: Path) -> None:
    convert(folder, "gguf", tmp_path)
    with pytest.raises(AccordError, match="such a file already"):
        convert(folder, "gguf", tmp_path)
    with pytest.raises(AccordError, match="holds a model already"):
        convert(folder, "int8", folder)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "gpt2"])
def test_transformers_reads_the_file_with_equal_logits(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tokenizer = trained()
    made = decoder(tokenizer, **SHAPES[name])
    save_model(made, tmp_path / "tiny", tokenizer)
    path = Path(convert(tmp_path / "tiny", "gguf", tmp_path, "f32")["path"])
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32
    )
    ids = torch.randint(300, (20,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = decoder_logits(made)(ids)
        torch.testing.assert_close(theirs(ids[None]).logits[0], ours, atol=1e-5, rtol=0)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
@pytest.mark.parametrize("to", ["int8", "int4"])
def test_a_rounded_folder_loads_in_transformers(
    to: Any, folder: Path, tmp_path: Path, capfd: Callable[..., Any]
) -> None:
    from transformers import AutoTokenizer

    found = convert(folder, to, tmp_path / "out")
    assert 0 < found["max_logit_difference"] < 20
    assert found["bytes"] < found["bytes_before"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("a fox").input_ids == Tokenizer.load(folder).encode("a fox")
    assert (tmp_path / "out" / "README.md").is_file()
    with pytest.raises(AccordError, match="quantised"):
        load_model(tmp_path / "out")


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepieces_merges_go_as_scores_and_come_back(prefix: bool, tmp_path: Path) -> None:
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        minloglevel=2,
    )
    tokenizer = Tokenizer.load(tmp_path)
    said = vocabulary(tokenizer, len(tokenizer) + 3)
    assert said["tokenizer.ggml.model"] == "llama"
    back = read_tokenizer(said, "here")
    for text in [*TEXTS, "  two blanks", "aaaa ééé 日本", "\n\tx "]:
        assert back.encode(text) == tokenizer.encode(text)
        assert back.decode(back.encode(text)) == text
    assert (len(back), back.end_id) == (len(tokenizer), tokenizer.end_id)
