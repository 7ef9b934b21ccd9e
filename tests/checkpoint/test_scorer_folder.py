"""Reward-model folders: transformers gives their scores, or refuses them, and so does Accord."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import OURS, SHAPE

from accord.checkpoint.folder import load_config, load_model, model_fingerprint, save_model
from accord.checkpoint.scorer_folder import load_scorer, save_scorer
from accord.config.model import ModelConfig
from accord.data.packing import Example, Response
from accord.data.scoring import Pooling, collate_scored
from accord.errors import AccordError
from accord.model import Decoder
from accord.model.scorer import Scorer
from accord.text.tokenizer import Tokenizer

POOLINGS: tuple[Pooling, ...] = ("last", "mean")
TEXTS = [[5, 3, 8, 1], [7, 2, 9, 9, 4, 11, 1], [6, 1]]
END, PAD = 1, 0


def scorer_of(name: str, pooling: Pooling = "last") -> Scorer:
    return Scorer.from_decoder(Decoder.init(OURS[name], 0), pooling, seed=2)


@torch.no_grad()
def scores(scorer: Scorer, texts: list[list[int]]) -> torch.Tensor:
    examples = [
        Example((ids[0],), (Response(tuple(ids[1:]), (True,) * (len(ids) - 1)),)) for ids in texts
    ]
    return scorer(collate_scored(examples, scorer.pooling))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["words and more words"] * 3, 270)


@pytest.mark.peer
@pytest.mark.parametrize("name", OURS)
def test_transformers_gives_our_scores_for_a_right_padded_batch(
    name: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = OURS[name].model_copy(update={"vocab_size": len(tokenizer)})
    scorer = Scorer.from_decoder(Decoder.init(config, 0), "last", seed=2)
    save_scorer(scorer, tmp_path, tokenizer)
    texts = ["words", "more words and more", "and words more"]
    ends = [text + tokenizer.decode([tokenizer.end_id]) for text in texts]
    inputs = AutoTokenizer.from_pretrained(tmp_path)(
        ends, return_tensors="pt", padding=True, padding_side="right"
    )
    assert (inputs["attention_mask"] == 0).any()
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(model).__name__.endswith("ForSequenceClassification")
    with torch.no_grad():
        theirs = model(**inputs).logits
    ours = scores(scorer, [[*tokenizer.encode(text), tokenizer.end_id] for text in texts])
    torch.testing.assert_close(theirs[:, 0], ours, atol=1e-5, rtol=0)


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["Llama", "GPT2"])
def test_their_reward_model_gives_its_scores_here(kind: str, tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(3)
    keys = {"vocab_size": 19, "num_labels": 1, "pad_token_id": PAD, "initializer_range": 0.3}
    if kind == "Llama":
        keys |= {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
        keys |= {"num_attention_heads": 4, "max_position_embeddings": 48}
    else:
        keys |= {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 48}
    config = getattr(transformers, f"{kind}Config")(**keys, bos_token_id=None, eos_token_id=END)
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        want = torch.cat([model(torch.tensor([ids])).logits[:, 0] for ids in TEXTS])
    torch.testing.assert_close(scores(load_scorer(tmp_path), TEXTS), want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", OURS)
def test_save_load_save_gives_the_same_bytes_and_scores(
    name: str, pooling: Pooling, tmp_path: Path
) -> None:
    scorer = scorer_of(name, pooling)
    save_scorer(scorer, tmp_path / "a")
    loaded = load_scorer(tmp_path / "a")
    assert loaded.pooling == pooling
    assert torch.equal(scores(loaded, TEXTS), scores(scorer, TEXTS))
    save_scorer(loaded, tmp_path / "b")
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert model_fingerprint(tmp_path / "a") == model_fingerprint(tmp_path / "b")
    half = load_scorer(tmp_path / "a", torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}


def test_weights_given_stand_in_for_the_scorers_own(tmp_path: Path) -> None:
    scorer, other = scorer_of("llama"), scorer_of("llama")
    torch.nn.init.ones_(other.score.weight)
    save_scorer(scorer, tmp_path, weights=other.state_dict())
    assert torch.equal(scores(load_scorer(tmp_path), TEXTS), scores(other, TEXTS))


@pytest.mark.peer
def test_a_pad_token_that_is_the_end_token_is_not_named(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    # transformers would take the end token for padding and read the score before it
    from transformers import AutoModelForSequenceClassification

    tokenizer.save(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    named = json.loads(settings.read_text())
    settings.write_text(json.dumps({**named, "pad_token": named["eos_token"]}))
    own = Tokenizer.load(tmp_path)
    assert own.pad_id == own.end_id
    config = ModelConfig(**{**SHAPE, "vocab_size": len(own)})
    scorer = Scorer.from_decoder(Decoder.init(config, 0), "last", seed=2)
    save_scorer(scorer, tmp_path, own)
    assert json.loads((tmp_path / "config.json").read_text())["pad_token_id"] is None
    texts = [[*own.encode(text), own.end_id] for text in ("words", "more words and more")]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        theirs = torch.cat([model(torch.tensor([ids])).logits[:, 0] for ids in texts])
        torch.testing.assert_close(theirs, scores(scorer, texts), atol=1e-5, rtol=0)
        with pytest.raises(ValueError, match="no padding token"):
            model(torch.tensor([[1, 2], [3, 4]]))


@pytest.mark.peer
def test_transformers_refuses_a_bidirectional_scorer(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    save_scorer(scorer_of("llama", "mean"), tmp_path)
    with pytest.raises(ValueError, match="accord-bidirectional"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("load", [load_model, load_config])
def test_a_reward_model_is_no_language_model(load: object, tmp_path: Path) -> None:
    assert callable(load)
    save_scorer(scorer_of("gpt2"), tmp_path)
    with pytest.raises(AccordError, match=r"holds a reward model \(GPT2ForSequenceClass") as caught:
        load(tmp_path)
    assert "cannot be exported" not in caught.value.what
    save_scorer(scorer_of("gpt2", "mean"), tmp_path)
    with pytest.raises(AccordError, match=r"reads in both directions .* cannot be exported"):
        load(tmp_path)


def test_a_language_model_is_no_reward_model(tmp_path: Path) -> None:
    save_model(Decoder.init(OURS["llama"], 0), tmp_path)
    with pytest.raises(AccordError, match="holds no reward model but a language model") as caught:
        load_scorer(tmp_path)
    assert "accord reward" in caught.value.fix


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, "classifier with 2 labels"),
        ({"architectures": ["BertModel"]}, "no reward model but BertModel"),
        ({"model_type": "mamba"}, "Unknown trunk_model_type 'mamba'"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "needs code of its own"),
    ],
)
def test_what_is_no_single_score_is_refused(
    changed: dict[str, object], told: str, tmp_path: Path
) -> None:
    save_scorer(scorer_of("llama"), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(AccordError, match=told):
        load_scorer(tmp_path)
