"""`accord audit` as it is typed, on a tiny reward model."""

import json
import sys
from pathlib import Path

import pytest
import torch

import accord
from accord.checkpoint.scorer_folder import load_scorer, save_scorer
from accord.cli import main as entry
from accord.config.model import ModelConfig
from accord.data.account import Account
from accord.data.rows import PairRow
from accord.data.scoring import collate_scored
from accord.evaluation.audit.item import sides
from accord.model.decoder import Decoder
from accord.model.scorer import Scorer
from accord.pipeline.audit import ModelJudge
from accord.stages.comparisons import pair_examples
from accord.text.messages import Message
from accord.text.tokenizer import Tokenizer

TEXT = "the film has a good cast and a dull plot but we like the music of it"
WORDS = TEXT.split()
MEASURES = {
    *("model", "data", "pairs", "scores", "accuracy", "calibration", "dependence", "batching"),
    *("white_space", "sensitivity", "short_answers", "truth", "verdict"),
}


def said(number: int, words: int) -> str:
    return " ".join(WORDS[(number * 5 + at * (1 + number % 3)) % len(WORDS)] for at in range(words))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    trained = Tokenizer.train([TEXT] * 5, vocab_size=280, chat_template="chatml")
    return trained.with_chat_template("chatml")


@pytest.fixture(scope="module", params=["last", "mean"])
def folder(request, tokenizer, tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("rm"), tokenizer, request.param)


def written(place: Path, tokenizer: Tokenizer, pooling) -> Path:
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    save_scorer(Scorer.from_decoder(Decoder.init(config, 1), pooling, 2), place, tokenizer)
    return place


@pytest.fixture(scope="module")
def prefs(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "prefs.jsonl"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"what of {said(n, 3)} number {n}?"}],
            "chosen": [{"role": "assistant", "content": said(n, 5 + n % 7)}],
            "rejected": [{"role": "assistant", "content": said(n + 31, 9 - n % 5)}],
            "real": n % 3 != 0,
        }
        for n in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def audit(capsys, monkeypatch):
    """Run `accord audit …`; gives exit code, stdout and stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["accord", "audit", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            entry.main()
        out = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out.out, out.err

    return call


def test_a_model_is_audited_and_the_document_written(audit, folder, prefs, tmp_path):
    code, out, err = audit(folder, "--data", prefs, "--out", tmp_path, "--truth", "real")
    document = json.loads((tmp_path / "audit.json").read_text())
    assert err == ""
    assert set(document) == MEASURES
    assert document["pairs"]["scored"] == 24
    assert document["truth"]["labels"]["value"] == pytest.approx(2 / 3)
    found = {finding["name"]: finding["severity"] for finding in document["verdict"]}
    # weights that nothing has trained: sound in batches, sound in nothing else
    assert found["batch_invariant"] == "info"
    assert found["few_prompts"] == "warning"
    assert code == ("problem" in found.values())
    assert "# Reward-model audit" in (tmp_path / "audit.md").read_text()
    assert "Accuracy" in out and "note:" in out


def test_json_is_the_document_and_the_same_again(audit, folder, prefs, tmp_path):
    _, out, _ = audit(folder, "--data", prefs, "--json", "--pairs", "10")
    assert audit(folder, "--data", prefs, "--json", "--pairs", "10")[1] == out
    document = json.loads(out)
    assert document["pairs"]["scored"] == 10
    assert accord.audit(folder, prefs, tmp_path, max_pairs=10) == document


def test_an_answer_is_read_and_scored_as_a_pair_of_training_is(folder, tokenizer):
    rows = [
        PairRow(
            prompt=(Message("user", f"say {said(n, 4)}"),),
            chosen=(Message("assistant", said(n, 6)),),
            rejected=(Message("assistant", said(n + 2, 9)),),
            cut_off=(False, n % 2 == 0),
        )
        for n in range(6)
    ]
    scorer = load_scorer(folder, torch.float32).eval()
    longest = max(e.length for _, e in pair_examples(rows, tokenizer, 256, Account()))
    for limit in (256, longest - 2):
        judge = ModelJudge(scorer, tokenizer, limit)
        examples = [e for _, e in pair_examples(rows, tokenizer, limit, Account())]
        with torch.no_grad():
            expected = scorer(collate_scored(examples, scorer.pooling)).tolist()
        items = [item for row in rows for item in sides(row)]
        assert judge.together(items) == pytest.approx(expected, abs=1e-5)
        lengths = [len(response.ids) for example in examples for response in example.responses]
        assert [judge.size(item) for item in items] == lengths
        assert all(map(judge.whole, items)) == (limit == 256)


def test_rated_texts_become_pairs(audit, folder, tmp_path):
    rows = [{"text": said(n, 6 + n % 3), "stars": n % 5} for n in range(30)]
    data = tmp_path / "texts.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, out, _ = audit(folder, "--data", data, "--rating", "stars", "--gap", "2", "--json")
    document = json.loads(out)
    assert document["dependence"]["length"]["given_rating"]["rows"] == 30
    assert not document["pairs"]["reads_prompts"]
    assert "no_prompts" in {finding["name"] for finding in document["verdict"]}
    code, _, err = audit(folder, "--data", data, "--rating", "star")
    assert code == 2 and "did you mean 'stars'" in err


def test_rows_that_the_model_was_trained_on_are_left_out(audit, prefs, tokenizer, tmp_path):
    folder = written(tmp_path / "rm", tokenizer, "last")
    config = {
        "data": [{"source": str(prefs)}],
        "heldout": {"fraction": 0.4, "salt": "accord"},
        "max_length": 120,
    }
    record = {"kind": "reward", "seed": 3, "config": config}
    (folder / "accord").mkdir()
    (folder / "accord" / "stage.json").write_text(json.dumps(record))
    document = json.loads(audit(folder, "--data", prefs, "--json")[1])
    assert 0 < document["pairs"]["read"] < 24
    assert document["model"]["max_length"] == 120
    config["heldout"]["fraction"] = 0
    (folder / "accord" / "stage.json").write_text(json.dumps(record))
    code, _, err = audit(folder, "--data", prefs)
    assert code == 2 and "trained on every row" in err


@pytest.mark.parametrize(
    ("kind", "reads"), [("sampled", True), ("judged", True), ("rated", False), ("groups", False)]
)
def test_answers_that_a_model_sampled_have_prompts_and_rated_texts_have_none(
    audit, prefs, tokenizer, tmp_path, kind, reads
):
    folder = written(tmp_path / "rm", tokenizer, "mean")
    (folder / "accord").mkdir()
    record = {"kind": "reward", "config": {"data": [], "pairs": {"kind": kind}}}
    (folder / "accord" / "stage.json").write_text(json.dumps(record))
    document = json.loads(audit(folder, "--data", prefs, "--json")[1])
    assert document["pairs"]["reads_prompts"] == reads
    why = document["short_answers"]["left_out"]  # too long for its words, or not askable at all
    assert ("reads no prompts" in why) != reads


def test_what_is_no_reward_model_is_refused(audit, prefs, tmp_path):
    code, _, err = audit(tmp_path, "--data", prefs)
    assert code == 2 and str(tmp_path) in err
