"""A reward model scores what the policy wrote, alone or in a batch, by its own tokens."""

from pathlib import Path

import pytest
import torch
from helpers import answer

from accord.checkpoint.scorer_folder import save_scorer
from accord.config.model import ModelConfig
from accord.data.packing import Example, Response
from accord.data.scoring import collate_scored
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.scorer import Scorer
from accord.rewards.answer import Answer
from accord.rewards.model import ANSWERS_AT_ONCE, ModelReward, reencoded
from accord.text.chat import prompt_ids, render
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

TEXTS = ["the film is good and the cast is good", "the film is dull and the plot is weak"]
ASKED = (Message("user", "the film?"),)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    trained = Tokenizer.train(TEXTS * 3, vocab_size=275, chat_template="chatml")
    return trained.with_chat_template("chatml")  # which ends turns at its own end token


@pytest.fixture(scope="module")
def other() -> Tokenizer:
    return Tokenizer.train(["quite another corpus, all of it"] * 3, vocab_size=270)


def save(folder: Path, tokenizer: Tokenizer, pooling, spoil: bool = False) -> Path:
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    scorer = Scorer.from_decoder(Decoder.init(config, 1), pooling, 2)
    if spoil:
        torch.nn.init.constant_(scorer.score.weight, torch.inf)
    save_scorer(scorer, folder, tokenizer)
    return folder


@pytest.fixture(scope="module", params=["last", "mean"])
def folder(request, tokenizer, tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("rm"), tokenizer, request.param)


def written(tokenizer: Tokenizer, count: int) -> list[Answer]:
    """Answers of every length, a third of them cut off."""
    texts = [" ".join((TEXTS[i % 2].split() * 2)[: 1 + i % 13]) for i in range(count)]
    asked = tuple(prompt_ids(ASKED, tokenizer))
    out = []
    for i, text in enumerate(texts):
        ids = tuple(tokenizer.encode(text))
        finished = "length" if i % 3 == 0 else "end"
        ids += () if finished == "length" else (tokenizer.end_id,)
        settings = {"prompt_ids": asked, "ids": ids, "finished": finished, "messages": ASKED}
        out.append(answer(text, "the film?", **settings, name=f"row {i}"))
    return out


def test_the_score_is_that_of_the_ids_with_the_end_token(folder, tokenizer):
    from accord.checkpoint.scorer_folder import load_scorer

    answers = written(tokenizer, 5)
    scorer = load_scorer(folder)
    for given, score in zip(answers, ModelReward(folder, tokenizer)(answers), strict=True):
        response = Response(tuple(given.ids), (True,) * len(given.ids))
        batch = collate_scored([Example(tuple(given.prompt_ids), (response,), "")], scorer.pooling)
        assert score == pytest.approx(scorer(batch).item(), abs=1e-5)
    assert len({round(score, 4) for score in ModelReward(folder, tokenizer)(answers)}) == 5


def test_whatever_else_is_scored_changes_nothing(folder, tokenizer):
    reward = ModelReward(folder, tokenizer)
    answers = written(tokenizer, ANSWERS_AT_ONCE + 9)
    together = reward(answers)
    alone = [reward([given])[0] for given in answers[::7]]
    assert together[::7] == pytest.approx(alone, abs=1e-5)
    assert reward(answers[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert reward([]) == []


def test_no_gradient_is_kept(folder, tokenizer):
    reward = ModelReward(folder, tokenizer)
    reward(written(tokenizer, 2))
    assert not any(p.requires_grad for p in reward.scorer.parameters())
    assert not reward.scorer.training


def test_another_template_is_no_other_tokenizer(folder, tokenizer):
    answers = written(tokenizer, 4)
    plain = tokenizer.with_chat_template("alpaca")
    assert ModelReward(folder, plain)(answers) == ModelReward(folder, tokenizer)(answers)


def test_another_tokenizers_answers_are_encoded_anew(folder, tokenizer, other):
    theirs = [
        answer(
            given.completion,
            given.prompt,
            prompt_ids=other.encode(given.prompt),
            ids=(*other.encode(given.completion), *([other.end_id] * (given.finished == "end"))),
            finished=given.finished,
            messages=ASKED,
        )
        for given in written(tokenizer, 7)
    ]
    same = ModelReward(folder, tokenizer)(written(tokenizer, 7))
    assert ModelReward(folder, other)(theirs) == pytest.approx(same, abs=1e-5)


class TestReencoded:
    def test_a_turn_of_chat_ends_with_its_end_token_unless_cut_off(self, tokenizer):
        turns = (*ASKED, Message("assistant", "good"))
        rendered = render(turns, tokenizer)
        end = max(i for i, scored in enumerate(rendered.mask) if scored)
        given = answer("good", "the film?", messages=ASKED)
        assert reencoded(given, tokenizer) == rendered.ids[: end + 1]
        cut = answer("good", "the film?", messages=ASKED, finished="length")
        assert reencoded(cut, tokenizer) == rendered.ids[:end]
        # without its messages the prompt is a user's turn
        assert reencoded(answer("good", "the film?"), tokenizer) == reencoded(given, tokenizer)

    def test_plain_text_goes_on_without_a_template(self, tokenizer, other):
        for model in (tokenizer, other):
            whole = [model.start_id, *model.encode("the film is good"), model.end_id]
            begun = answer(" is good", "the film", continues=True)
            assert reencoded(begun, model) == whole
            known = answer(" is good", "the film", continues=True, messages=())
            assert reencoded(known, model) == whole

    def test_plain_strings_keep_the_boundary_between_prompt_and_answer(self, tokenizer):
        asked = (Message("text", "1+2="),)
        given = answer(" 3", "1+2=", messages=asked)
        ids = [*prompt_ids(asked, tokenizer), *tokenizer.encode(" 3"), tokenizer.end_id]
        assert reencoded(given, tokenizer) == ids

    def test_an_answer_that_has_begun_in_a_chat_stays_one_turn(self, tokenizer):
        begun = answer(" good", "it is", continues=True, messages=ASKED)
        whole = answer("it is good", "the film?", messages=ASKED)
        assert reencoded(begun, tokenizer) == reencoded(whole, tokenizer)

    def test_without_a_template_a_prompt_is_plain_text(self, other):
        bare = Tokenizer(other._core, other._special)
        ids = [bare.start_id, *bare.encode("1+2="), *bare.encode(" 3"), bare.end_id]
        assert reencoded(answer(" 3", "1+2="), bare) == ids


def test_too_long_an_answer_names_the_sample(folder, tokenizer):
    long = answer("x", prompt_ids=(1,) * 100, ids=(2,) * 29)
    with pytest.raises(
        AccordError, match="has 129 tokens with its prompt, the reward model reads 128"
    ):
        ModelReward(folder, tokenizer)([*written(tokenizer, 2), long])


def test_a_score_that_is_no_number_names_the_sample(tmp_path, tokenizer):
    broken = save(tmp_path, tokenizer, "last", spoil=True)
    with pytest.raises(AccordError, match="no finite number") as error:
        ModelReward(broken, tokenizer)(written(tokenizer, 2))
    assert error.value.where.startswith("row ")
