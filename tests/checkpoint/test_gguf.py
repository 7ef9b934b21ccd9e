"""GGUF files: the numbers they hold, the model transformers makes of them, and what is refused."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from accord.checkpoint.folder import load_model
from accord.checkpoint.gguf import read_gguf
from accord.checkpoint.gguf_import import import_gguf
from accord.checkpoint.gguf_rules import Paired
from accord.errors import AccordError
from accord.model import Decoder, Plan
from accord.text import Message, Tokenizer
from accord.text.chat import prompt_ids, stop_ids

Q8, Q4 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1
WIDTH, INNER, LAYERS, HEADS, KV, HEAD = 32, 64, 2, 4, 2, 8
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "Ġ 1", "1 2"]
TOKENS = [*CONTROL, *sorted(ByteLevel.alphabet()), *("".join(m.split()) for m in MERGES), "<tool>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Change = Callable[[dict[str, Any], dict[str, Any]], object]


def metadata() -> dict[str, Any]:
    return {
        "llama.block_count": LAYERS,
        "llama.context_length": 64,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV,
        "llama.rope.freq_base": 500.0,
        "llama.rope.dimension_count": HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(TOKENS) - 4) + [4],
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }


def tensors(tied: bool = True) -> dict[str, tuple[np.ndarray, GGMLQuantizationType | None]]:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3).astype(np.float32)

    found = {
        "token_embd.weight": (drawn(len(TOKENS), WIDTH), Q8),
        "output_norm.weight": (1 + drawn(WIDTH), None),
    }
    if not tied:
        found["output.weight"] = (drawn(len(TOKENS), WIDTH), None)
    for i in range(LAYERS):
        found |= {
            f"blk.{i}.attn_norm.weight": (1 + drawn(WIDTH), None),
            f"blk.{i}.attn_q.weight": (drawn(HEADS * HEAD, WIDTH), Q4),
            f"blk.{i}.attn_k.weight": (drawn(KV * HEAD, WIDTH), Q8),
            f"blk.{i}.attn_v.weight": (drawn(KV * HEAD, WIDTH), Q4),
            f"blk.{i}.attn_output.weight": (drawn(WIDTH, HEADS * HEAD), None),
            f"blk.{i}.ffn_norm.weight": (1 + drawn(WIDTH), None),
            f"blk.{i}.ffn_gate.weight": (drawn(INNER, WIDTH), Q4),
            f"blk.{i}.ffn_up.weight": (drawn(INNER, WIDTH), Q4),
            f"blk.{i}.ffn_down.weight": (drawn(WIDTH, INNER), Q8),
        }
    return found


def write(path: Path, said: dict[str, Any], held: dict[str, Any], name: str = "llama") -> Path:
    writer = GGUFWriter(path, name)
    for key, value in said.items():
        kind: Any = {bool: "bool", int: "uint32", float: "float32", str: "string", list: "array"}
        getattr(writer, f"add_{kind[type(value)]}")(key, value)
    for tensor, (values, storage) in held.items():
        stored = values if storage is None else quants.quantize(values, storage)
        writer.add_tensor(tensor, stored, raw_dtype=storage)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.gguf", metadata(), tensors())


@torch.no_grad()
def logits(decoder: Decoder, ids: torch.Tensor) -> torch.Tensor:
    rows, time = ids.shape
    hidden = decoder(ids.flatten(), torch.arange(time).repeat(rows), Plan.dense(rows, time))
    return decoder.logits(hidden).view(rows, time, -1)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # a peer's own
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_reads_the_same_model_from_file_and_folder(tied: bool, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = write(tmp_path / "tiny.gguf", metadata(), tensors(tied))
    folder = tmp_path / "out"
    import_gguf(str(path), folder, tmp_path)
    ids = torch.randint(len(TOKENS), (2, 11), generator=torch.Generator().manual_seed(0))
    theirs = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32
    )
    ours = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        want = theirs(ids).logits
        assert torch.equal(ours(ids).logits, want)
    assert want.std() > 0.1
    torch.testing.assert_close(logits(load_model(folder), ids), want, atol=1e-5, rtol=0)
    assert ours.generation_config.eos_token_id == 2
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turn = [{"role": "user", "content": "hell 12"}]
    shown = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)
    own = prompt_ids([Message("user", "hell 12")], Tokenizer.load(folder))
    assert shown["input_ids"] == own


def test_numbers_that_a_block_can_hold_come_back_exactly(tmp_path: Path) -> None:
    held = tensors()
    # blocks of 32: Q4_1 stores m + d q with q in 0 … 15, Q8_0 d q with q in -127 … 127
    nibbles = -1.0 + 0.25 * (np.arange(INNER * WIDTH, dtype=np.float32) % 16)
    octets = 0.5 * (np.arange(WIDTH * INNER, dtype=np.float32) % 32 * 8 - 127)
    held["blk.1.ffn_up.weight"] = nibbles.reshape(INNER, WIDTH), Q4
    held["blk.1.ffn_down.weight"] = octets.reshape(WIDTH, INNER), Q8
    model = read_gguf(write(tmp_path / "a.gguf", metadata(), held))
    weights = model.weights
    assert torch.equal(
        weights["layers.1.mlp.up.weight"].flatten(), -1 + 0.25 * (torch.arange(INNER * WIDTH) % 16)
    )
    assert torch.equal(
        weights["layers.1.mlp.down.weight"], torch.from_numpy(octets.reshape(WIDTH, INNER))
    )
    norm = held["blk.0.attn_norm.weight"][0]
    assert torch.equal(weights["layers.0.attention_norm.weight"], torch.from_numpy(norm))
    assert model.stored == {"Q8_0": 5, "F32": 7, "Q4_1": 8}
    assert (model.config.norm_eps, model.config.rope_theta) == (1e-5, 500.0)


@settings(deadline=None, max_examples=30)
@given(heads=st.integers(1, 5), half=st.integers(1, 6), width=st.integers(1, 4))
def test_rows_of_a_head_are_brought_from_pairs_to_halves(heads: int, half: int, width: int) -> None:
    halves = torch.arange(heads * 2 * half * width).reshape(heads * 2 * half, width)
    # what llama.cpp's converter writes: channel i of the first half, then i of the second
    rows = [
        halves[head * 2 * half + side * half + i]
        for head in range(heads)
        for i in range(half)
        for side in range(2)
    ]
    rule, shapes = Paired("q", ("ours",), heads=heads), {"ours": halves.shape}
    assert torch.equal(rule.unpack(torch.stack(rows), shapes)["ours"], halves)
    assert torch.equal(rule.pack({"ours": halves}), torch.stack(rows))


def test_tokenizer_cuts_digits_and_keeps_control_tokens_out_of_text(file: Path) -> None:
    tokenizer = read_gguf(file).tokenizer
    text = "hell 12, नमस्ते"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    shown = [tokenizer.decode([i]) for i in ids[:5]]
    assert shown == ["he", "ll", " ", "1", "2"]  # no digit joins its neighbour, nor the blank
    assert not {0, 1, 2} & set(tokenizer.encode("<|im_end|><|im_start|>"))
    assert tokenizer.encode("<tool>") == [TOKENS.index("<tool>")]  # a user's own token is text
    assert tokenizer.control_ids == {0, 1, 2}
    assert (tokenizer.end_id, tokenizer.pad_id, tokenizer.bos_id) == (2, 2, 1)
    assert stop_ids(tokenizer) == {2}


@pytest.mark.parametrize(
    ("cut", "first"), [("gpt-2", [" 1", "2"]), ("smollm", [" ", "1"]), ("llama-bpe", [" ", "12"])]
)
def test_words_are_cut_as_the_file_says(cut: str, first: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", metadata() | {"tokenizer.ggml.pre": cut}, tensors())
    tokenizer = read_gguf(path).tokenizer
    assert [tokenizer.decode([i]) for i in tokenizer.encode(" 12")][:2] == first


@pytest.mark.peer
@pytest.mark.parametrize(("said", "ids"), [(True, [1]), (False, [])])
def test_transformers_begins_a_text_where_the_file_says_so(
    said: bool, ids: list[int], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    path = write(
        tmp_path / "a.gguf", metadata() | {"tokenizer.ggml.add_bos_token": said}, tensors()
    )
    import_gguf(str(path), tmp_path / "out", tmp_path)
    own = Tokenizer.load(tmp_path / "out").encode("hell")
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("hell").input_ids == [*ids, *own]


def drop(key: str) -> Change:
    return lambda said, held: (said if key in said else held).pop(key)


def say(key: str, value: Any) -> Change:
    return lambda said, held: said.update({key: value})


def hold(name: str, *shape: int) -> Change:
    return lambda said, held: held.update({name: (np.ones(shape, np.float32), None)})


REFUSED: dict[str, tuple[Change, str]] = {
    "a rope scaled in an unknown way": (
        say("llama.rope.scaling.type", "longrope"),
        "does not say 'rope.scaling.factor'",
    ),
    "bounds of a yarn": (say("llama.rope.scaling.yarn_beta_fast", 8.0), "yarn_beta_fast = 8.0"),
    "experts": (say("llama.expert_count", 8), "does not say 'expert_used_count'"),
    "a window": (say("llama.attention.sliding_window", 16), "sliding_window = 16"),
    "half a rope": (say("llama.rope.dimension_count", 4), "is 4 where a head is 8 wide"),
    "values of another width": (say("llama.attention.value_length", 4), "value_length is 4"),
    "one file of three": (say("split.count", 3), "spread over 3 files"),
    "no width": (drop("llama.embedding_length"), "does not say 'embedding_length'"),
    "heads that do not group": (say("llama.attention.head_count_kv", 3), "not a multiple"),
    "heads by layer": (say("llama.attention.head_count", [4, 2]), "no model that Accord reads"),
    "a tensor too few": (drop("blk.1.ffn_up.weight"), "missing: blk.1.ffn_up.weight"),
    "a tensor too many": (hold("blk.0.attn_q.bias", 32), "not part of a llama: blk.0.attn_q.bias"),
    "rotation by table": (hold("rope_freqs.weight", 4), "otherwise than Llama 3 does"),
    "another shape": (
        hold("blk.0.attn_k.weight", 32, 32),
        "blk.0.attn_k.weight (32, 32) instead of (16, 32)",
    ),
    "SentencePiece": (say("tokenizer.ggml.model", "llama"), "lacks 'tokenizer.ggml.scores'"),
    "a unigram": (say("tokenizer.ggml.model", "t5"), "of kind 't5'"),
    "other words": (say("tokenizer.ggml.pre", "smolm"), "did you mean 'smollm'?"),
    "no merges": (drop("tokenizer.ggml.merges"), "lacks 'tokenizer.ggml.merges'"),
    "merges of no token": (say("tokenizer.ggml.merges", ["q q"]), "do not fit its tokens"),
    "no end": (drop("tokenizer.ggml.eos_token_id"), "names no end token"),
    "more tokens than rows": (hold("token_embd.weight", 32, WIDTH), "the embedding 32 rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_the_model_is_refused(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    said, held = metadata(), tensors()
    change(said, held)
    path = write(tmp_path / "a.gguf", said, held)
    with pytest.raises(AccordError) as caught:
        read_gguf(path)
    assert message in str(caught.value)
    assert path.name in caught.value.where


def test_another_architecture_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", metadata(), tensors(), name="falcon")
    with pytest.raises(AccordError, match=r"'falcon'; only 'llama', 'qwen2', .* GGUF, since"):
        read_gguf(path)


def test_a_storage_type_that_the_library_cannot_read_is_named(tmp_path: Path) -> None:
    held = tensors()
    held["output_norm.weight"] = held["output_norm.weight"][0].astype(np.int8), None
    with pytest.raises(AccordError, match=r"output_norm\.weight is stored as I8"):
        read_gguf(write(tmp_path / "a.gguf", metadata(), held))


@pytest.mark.parametrize("kept", [0, 3, 30, 0.05, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_told_so(kept: float, file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(AccordError, match="no whole GGUF file"):
        read_gguf(file)


def test_a_file_of_another_kind_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("these are my notes, not a model" * 9)
    with pytest.raises(AccordError, match="no whole GGUF file: GGUF magic invalid"):
        read_gguf(path)
    with pytest.raises(AccordError, match="no such file"):
        read_gguf(tmp_path / "absent.gguf")


def test_without_the_library_the_extra_is_named(file: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(AccordError, match=r"accord\[gguf\]"):
        read_gguf(file)


def test_a_package_is_read_from_the_cache_by_its_hash(file: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, "tiny/model.gguf")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    kept = tmp_path / "cache" / "pypi" / sha256
    kept.mkdir(parents=True)
    wheel.replace(kept / wheel.name)
    source = "pypi:tiny==1!tiny/model.gguf"
    import_gguf(source, tmp_path / "a", tmp_path / "cache", sha256, torch.bfloat16)
    import_gguf(str(file), tmp_path / "b", tmp_path, dtype=torch.bfloat16)
    card, other = ((tmp_path / name / "README.md").read_text() for name in "ab")
    assert source in card
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    assert str(tmp_path) not in other
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert load_model(tmp_path / "a").embedding.weight.dtype == torch.bfloat16


def test_a_wrong_hash_and_a_folder_in_use_are_refused(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(AccordError, match=r"has SHA-256 .*, expected " + "0" * 64):
        import_gguf(str(file), out, tmp_path, "0" * 64)
    assert not out.exists()
    import_gguf(str(file), out, tmp_path, hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(AccordError, match="holds a model already"):
        import_gguf(str(file), out, tmp_path)


def test_the_command_says_what_it_read(file: Path, tmp_path: Path, capsys: Any) -> None:
    from accord.cli.main import main

    out = tmp_path / "out"
    for code, words in ((0, []), (2, ["--sha256", "0" * 64])):
        with pytest.raises(SystemExit) as left:
            main(["import", str(file), "--out", str(out), "--dtype", "float16", *words])
        assert left.value.code == code
    told = capsys.readouterr()
    assert "(7 F32, 8 Q4_1, 5 Q8_0 tensors) as float16, 264 tokens" in told.out
    assert "holds a model already" in told.err
    assert load_model(out).embedding.weight.dtype == torch.float16
