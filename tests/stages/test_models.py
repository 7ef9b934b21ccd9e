"""What a stage starts from, which tokens that gets, and what is refused."""

import json
import math
from pathlib import Path

import pytest
import torch
from left import SHAPE, log, make_model, write_jsonl
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Core

from accord.checkpoint.folder import load_config, load_model, save_model
from accord.config.generate import SamplingConfig
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.rollout.engine import Engine
from accord.stages.models import check_same_tokens, fresh_model, open_for_training, open_model
from accord.text.chat import prompt_ids, stop_ids
from accord.text.folder import SpecialTokens
from accord.text.messages import Message
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


def base_folder(folder: Path, rows: int = 258, pad: str | None = None, **shape: object) -> Path:
    """A model as base models come: bytes, a begin and an end token, no chat template."""
    core = Core(
        models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True) for t in ("<s>", "</s>")])
    tokenizer = Tokenizer(core, SpecialTokens("</s>", pad, "<s>"))
    config = ModelConfig(vocab_size=rows, **{**SHAPE, **shape})
    save_model(Decoder.init(config, 3), folder, tokenizer)
    return folder


@pytest.mark.parametrize(
    ("template", "pad", "tokens", "rows"),
    [
        (None, None, 258, 258),
        ("tulu", None, 258, 258),
        ("tulu", "<|pad|>", 259, 264),
        ("chatml", None, 260, 264),
        ("chatml", "<|pad|>", 261, 264),
        ("llama3", None, 261, 264),
        ("llama3", "</s>", 261, 264),  # what ended a text may pad once turns end in another token
    ],
)
def test_tokens_are_added_only_where_asked_for(
    tmp_path: Path, template: str | None, pad: str | None, tokens: int, rows: int
) -> None:
    folder = base_folder(tmp_path)
    opened = open_for_training(folder, template, pad)
    assert len(opened.tokenizer) == tokens
    assert opened.model.config.vocab_size == rows
    assert opened.tokenizer.chat_template == template
    assert opened.tokenizer.pad_token == pad
    padded = (template, pad) == ("tulu", "<|pad|>")  # a pad more changes no text
    assert Tokenizer.load(folder).same_ids(opened.tokenizer) == (tokens == 258 or padded)
    assert len(opened.notes) == (tokens > 258) + (rows > 258)
    again = open_for_training(folder, template, pad)
    assert again.tokenizer.fingerprint == opened.tokenizer.fingerprint
    weights = again.model.state_dict()
    assert all(torch.equal(w, weights[name]) for name, w in opened.model.state_dict().items())
    # the reference, loaded as it stands, has the same logits
    old = load_model(folder).embedding.weight
    assert torch.equal(opened.model.embedding.weight[:258], old)


@pytest.mark.parametrize(("rows", "grown"), [(259, 264), (260, 264), (261, 261), (300, 300)])
def test_spare_rows_are_used_before_the_embedding_grows(
    tmp_path: Path, rows: int, grown: int
) -> None:
    folder = base_folder(tmp_path, rows)
    opened = open_for_training(folder, "chatml", "<|pad|>")
    assert (len(opened.tokenizer), opened.model.config.vocab_size) == (261, grown)
    assert torch.equal(opened.model.embedding.weight[:rows], load_model(folder).embedding.weight)


@pytest.mark.parametrize(
    ("own", "asked", "pad"),
    [
        (None, "<|pad|>", "<|pad|>"),
        ("</s>", "<|pad|>", "<|pad|>"),
        ("<s>", "<|pad|>", "<|pad|>"),
        ("</s>", None, "</s>"),
        ("<|mine|>", "<|pad|>", "<|mine|>"),
    ],
)
def test_a_pad_of_its_own_is_added_where_there_is_none(
    tmp_path: Path, own: str | None, asked: str | None, pad: str
) -> None:
    base_folder(tmp_path)
    found = Tokenizer.load(tmp_path)
    if own == "<|mine|>":
        found = found.with_pad(own)
        save_model(Decoder.init(ModelConfig(vocab_size=264, **SHAPE), 3), tmp_path, found)
    elif own:
        path = tmp_path / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": own}))
    opened = open_for_training(tmp_path, None, asked)
    assert opened.tokenizer.pad_token == pad
    told = [note for note in opened.notes if "pad_token is not used" in note]
    assert bool(told) == (own == "<|mine|>")


@pytest.mark.peer
@pytest.mark.parametrize("tied", [True, False])
def test_the_grown_model_is_exported_whole(tmp_path: Path, tied: bool) -> None:
    """Sizes, end, pad and begin in every file; transformers computes the same logits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base_folder(tmp_path / "base", tie_word_embeddings=tied)
    opened = open_for_training(tmp_path / "base", "llama3", "<|pad|>", "Be brief.")
    save_model(opened.model, tmp_path / "out", opened.tokenizer)
    read = {
        name: json.loads((tmp_path / "out" / f"{name}.json").read_text())
        for name in ("config", "generation_config", "tokenizer_config")
    }
    ids = {"bos_token_id": 256, "eos_token_id": 260, "pad_token_id": 261}
    assert (read["config"]["vocab_size"], read["tokenizer_config"]["eos_token"]) == (
        264,
        "<|eot_id|>",
    )
    assert {key: read["config"][key] for key in ids} == ids
    assert {key: read["generation_config"][key] for key in ids} == ids
    assert load_config(tmp_path / "out").vocab_size == 264
    peer = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert peer.get_input_embeddings().num_embeddings == 264
    said = [{"role": "user", "content": "Hi"}]
    asked = theirs.apply_chat_template(said, add_generation_prompt=True, return_tensors="pt")
    ours = prompt_ids((Message("user", "Hi"),), opened.tokenizer)
    assert asked["input_ids"][0].tolist() == ours
    drawn = peer.generate(
        **asked, max_new_tokens=8, do_sample=False, suppress_tokens=[261, 262, 263]
    )
    engine = Engine(opened.model, opened.tokenizer, sorted(stop_ids(opened.tokenizer)))
    sampling = SamplingConfig(temperature=0, max_new_tokens=8)
    assert drawn[0, len(ours) :].tolist() == list(engine.generate([ours], sampling, [0])[0].ids)


def test_ids_past_the_tokenizer_and_its_pad_are_never_drawn(tmp_path: Path) -> None:
    base_folder(tmp_path)
    opened = open_for_training(tmp_path, "chatml", "<|pad|>")
    engine = Engine(opened.model, opened.tokenizer, sorted(stop_ids(opened.tokenizer)))
    sampling = SamplingConfig(temperature=50, max_new_tokens=40)  # as good as uniform
    done = engine.generate([[1, 2, 3]] * 30, sampling, range(30))
    drawn = {token for completion in done for token in completion.ids}
    assert drawn & set(range(256, 260)) and max(drawn) < 260 == opened.tokenizer.pad_id


def test_sft_leaves_a_model_with_the_tokens_that_its_template_needs(run, tmp_path: Path) -> None:
    start = base_folder(tmp_path / "base")
    rows = [{"prompt": f"Say {i}", "completion": f"{i} it is"} for i in range(8)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = {"kind": "sft", "from": str(start), "data": [{"source": str(data)}], "steps": 2}
    chat = {"chat_template": "llama3", "pad_token": "<|pad|>", "system_prompt": "Be brief."}
    out = run({**settings, **chat, "batch_size": 2, "max_length": 128, "lr": 1e-2})
    trained, tokenizer = open_model(out)
    assert (trained.config.vocab_size, len(tokenizer)) == (264, 262)
    assert (tokenizer.end_token, tokenizer.pad_token) == ("<|eot_id|>", "<|pad|>")
    prompt = tokenizer.decode(prompt_ids((Message("user", "Hi"),), tokenizer))
    assert "system<|end_header_id|>\n\nBe brief.<|eot_id|>" in prompt
    old = open_for_training(start, "llama3", "<|pad|>").model.embedding.weight
    moved = (trained.embedding.weight != old).any(1)
    assert moved[tokenizer.end_id] and moved[tokenizer.token_id("<|start_header_id|>")]
    # what the next stage opens is complete
    assert open_for_training(out, "llama3", "<|pad|>").notes == ()


def test_a_reference_has_the_new_tokens_that_its_policy_starts_with(run, tmp_path: Path) -> None:
    start = base_folder(tmp_path / "base")
    sides = [{"prompt": f"Say {i}", "chosen": f"{i} it is", "rejected": "no"} for i in range(8)]
    data = write_jsonl(tmp_path / "pairs.jsonl", sides)
    settings = {"kind": "preference", "from": str(start), "data": [{"source": str(data)}]}
    out = run(
        {**settings, "chat_template": "llama3", "steps": 1, "batch_size": 2, "max_length": 128}
    )
    assert log(out)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert open_model(out)[0].config.vocab_size > 258
