"""The real DPOTrainer of TRL, on a tiny model, gives the same loss, gradient and metrics."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.logprobs import token_logps
from accord.objectives.loss import Loss
from accord.objectives.preference import (
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),  # the peer's own warnings are not ours to mend
]

WORDS = ["<pad>", "<eos>", "<unk>", *"abcdefghijklmnop"]
ROWS = {
    "prompt": ["a b c ", "d e ", "f ", "g h i j "],
    "chosen": ["d e f g", "a", "k l m", "n o p a b c"],
    "rejected": ["h i", "b c d e f", "k l n", "n o"],
}
BETA = 0.7


def word_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    split = pre_tokenizers.Split("<eos>", "isolated")
    words.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.WhitespaceSplit()])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def tiny_model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.5,
        pad_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).double()


def peer(folder: Path, loss_type: str, label_smoothing: float, rows: int) -> Any:
    """A DPOTrainer whose reference differs from its policy."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    config = DPOConfig(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        disable_dropout=True,
        per_device_train_batch_size=rows,
        loss_type=[loss_type],
        label_smoothing=label_smoothing,
        beta=BETA,
    )
    return DPOTrainer(
        model=tiny_model(1),
        ref_model=tiny_model(2),
        args=config,
        train_dataset=Dataset.from_dict({key: value[:rows] for key, value in ROWS.items()}),
        processing_class=word_tokenizer(),
    )


def scored(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Hidden states that predict a response token, their targets and sequence numbers."""
    hidden_BTD = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).last_hidden_state
    row, column = batch["completion_mask"][:, 1:].nonzero(as_tuple=True)
    pairs = len(batch["input_ids"]) // 2
    # TRL stacks all chosen above all rejected; here they alternate.
    sequence = torch.where(row < pairs, 2 * row, 2 * (row - pairs) + 1)
    return hidden_BTD[row, column], batch["input_ids"][row, column + 1], sequence


def ours(model: Any, ref_model: Any, batch: dict[str, Tensor], name: str, eps: float) -> Loss:
    sequences = len(batch["input_ids"])
    with torch.no_grad():
        hidden, target, sequence = scored(ref_model, batch)
        logps, _ = token_logps(hidden, ref_model.lm_head.weight, target)
        reference, _ = sequence_logps(logps, sequence, sequences)
    hidden, target, sequence = scored(model, batch)
    logps, stats = token_logps(hidden, model.lm_head.weight, target, chunk=4)
    pairs = paired(*sequence_logps(logps, sequence, sequences), reference)
    loss = preference_loss(name, pairs, beta=BETA, label_smoothing=eps)
    metrics = {**loss.metrics, **pair_token_metrics(stats, sequence)}
    return Loss(loss.total, loss.weight, metrics)


def grads(model: Any) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "loss_type", "label_smoothing", "rows"),
    [
        ("sigmoid", "sigmoid", 0.0, 4),
        ("sigmoid_norm", "sigmoid_norm", 0.0, 4),
        # TRL's `sigmoid` ignores label_smoothing; its `aot` on one pair is the smoothed sigmoid.
        ("sigmoid", "aot", 0.2, 1),
    ],
)
def test_loss_gradient_and_metrics_agree_with_trl(
    tmp_path: Path, name: str, loss_type: str, label_smoothing: float, rows: int
) -> None:
    trainer = peer(tmp_path, loss_type, label_smoothing, rows)
    batch = next(iter(trainer.get_train_dataloader()))
    assert len(batch["input_ids"]) == 2 * rows
    twin = tiny_model(1)

    trainer.model.train()
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    loss = ours(twin, tiny_model(2), batch, name, label_smoothing)
    mean = loss.total / loss.weight
    mean.backward()

    assert mean.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert theirs.item() != pytest.approx(0.693147, abs=1e-3)
    expected = grads(trainer.model)
    assert grads(twin).keys() == expected.keys()
    for key, grad in grads(twin).items():
        # TRL's kernel sums in float32 whatever the model's dtype.
        torch.testing.assert_close(grad, expected[key], atol=1e-6, rtol=1e-6)

    logged = {key: values[-1] for key, values in trainer._metrics["train"].items()}
    shared = loss.metrics.keys() & logged.keys()
    assert shared == {
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "entropy",
        "mean_token_accuracy",
    }
    for key in shared:
        value, by = loss.metrics[key]
        assert (value / by).item() == pytest.approx(logged[key], abs=1e-5), key
