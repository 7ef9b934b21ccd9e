"""The real trainers of TRL, on a tiny model, give the same loss, gradient and metrics.

All losses of `DPOTrainer` are in `test_preference_trl`, without the rounding of its kernel.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.labels import (
    LABEL_LOSSES,
    LabelLogps,
    LabelSettings,
    label_loss,
    margins,
)
from accord.objectives.logprobs import TokenStats, token_logps
from accord.objectives.loss import Loss
from accord.objectives.pairs import PairLogps, PairSettings
from accord.objectives.preference import (
    ld_weights,
    pair_token_metrics,
    paired,
    preference_loss,
    sequence_logps,
)
from accord.objectives.weighting import aligned_weights, token_log_squares

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
# One token of prompt, where ORPO's likelihood of prompt and answer is that of the answer; chosen
# answers of one length, where a mean over all tokens is a mean of the answers' means.
EVEN = {
    "prompt": ["a ", "b ", "c "],
    "chosen": ["d e f", "a b m", "k l m"],
    "rejected": ["h i", "b c d e f", "k l n a"],
}
BETA = 0.7
PAIR_METRICS = {
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
}


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


def reference_model() -> Any:
    """Not the policy, but near: TRL sums in float32, and far ratios would drown in its rounding."""
    near, far = tiny_model(1), tiny_model(2)
    with torch.no_grad():
        for one, other in zip(near.parameters(), far.parameters(), strict=True):
            one.lerp_(other, 0.15)
    return near


def arguments(kind: Any, folder: Path, rows: int, **settings: Any) -> Any:
    """A trainer's config of `kind` for one batch on CPU."""
    return kind(
        output_dir=str(folder),
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        disable_dropout=True,
        per_device_train_batch_size=rows,
        beta=BETA,
        **settings,
    )


def peer(trainer: Any, config: Any, rows: dict[str, list[Any]], **more: Any) -> Any:
    """A trainer of TRL's whose reference, if it has one, differs from its policy."""
    from datasets import Dataset

    return trainer(
        model=tiny_model(1),
        args=config,
        train_dataset=Dataset.from_dict(rows),
        processing_class=word_tokenizer(),
        **more,
    )


@dataclass(frozen=True)
class Scored:
    """A model's figures of the response tokens of a padded batch."""

    hidden_SD: Tensor
    head_VD: Tensor
    logps_S: Tensor
    sequence_S: Tensor
    sequences: int
    stats: TokenStats

    def sums(self, weight_S: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return sequence_logps(self.logps_S, self.sequence_S, self.sequences, weight_S)


def scored(model: Any, ids: Tensor, attention: Tensor, mask: Tensor, sequence_R: Tensor) -> Scored:
    """Row r of the batch is called sequence `sequence_R[r]`."""
    hidden_BTD = model.model(input_ids=ids, attention_mask=attention).last_hidden_state
    row, column = mask[:, 1:].nonzero(as_tuple=True)
    head, hidden = model.lm_head.weight, hidden_BTD[row, column]
    logps, stats = token_logps(hidden, head, ids[row, column + 1], chunk=4)
    return Scored(hidden, head, logps, sequence_R[row], len(ids), stats)


def alternating(rows: int) -> Tensor:
    """TRL stacks all chosen above all rejected; here they alternate."""
    return torch.cat([torch.arange(0, rows, 2), torch.arange(1, rows, 2)])


def agree(trainer: Any, twin: Any, batch: Any, loss: Loss, logged: Any) -> set[str]:
    """Compares loss, gradients and the metrics both have; returns these metrics' names."""
    trainer.model.train()
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    mean = loss.total / loss.weight
    mean.backward()
    assert mean.item() == pytest.approx(theirs.item(), rel=1e-6, abs=1e-6)
    expected = grads(trainer.model)
    assert grads(twin).keys() == expected.keys()
    assert max(grad.abs().max() for grad in expected.values()) > 1e-3
    for key, grad in grads(twin).items():
        # TRL's kernel sums in float32 whatever the model's dtype.
        torch.testing.assert_close(grad, expected[key], atol=1e-6, rtol=1e-6)
    values = {key: values[-1] for key, values in logged(trainer)["train"].items()}
    means = {key: (total / by).item() for key, (total, by) in loss.metrics.items()}
    means |= margins(means) if "kl" in means else {}
    shared = means.keys() & values.keys()
    for key in shared:
        assert means[key] == pytest.approx(values[key], abs=1e-5), key
    return shared


def grads(model: Any) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@dataclass(frozen=True)
class Case:
    """Losses and settings that both have."""

    losses: dict[str, float]
    settings: PairSettings = field(default_factory=lambda: PairSettings(BETA))
    ld_alpha: float | None = None
    weighted: bool = False
    rows: int = 4

    def config(self, folder: Path) -> Any:
        from trl import DPOConfig

        return arguments(
            DPOConfig,
            folder,
            self.rows,
            loss_type=list(self.losses),
            loss_weights=list(self.losses.values()),
            label_smoothing=self.settings.label_smoothing,
            f_divergence_type=self.settings.f_divergence_type,
            f_alpha_divergence_coef=self.settings.f_alpha_divergence_coef,
            discopop_tau=self.settings.discopop_tau,
            ld_alpha=self.ld_alpha,
            use_weighting=self.weighted,
        )


def at(**settings: Any) -> PairSettings:
    return replace(PairSettings(BETA), **settings)


CASES = {
    **{name: Case({name: 1.0}) for name in ("sigmoid", "sigmoid_norm", "ipo")},
    "aot": Case({"aot": 1.0}, at(label_smoothing=0.2)),
    "js_divergence": Case({"sigmoid": 1.0}, at(f_divergence_type="js_divergence")),
    # TRL's mean is over all chosen tokens of a micro-batch: for one pair the same as ours.
    "sft": Case({"sft": 1.0}, rows=1),
    "sum": Case({"sigmoid": 0.8, "sft": 0.3, "apo_zero": 0.5}, rows=1),
    "ld_alpha": Case({"sigmoid_norm": 1.0, "discopop": 0.2}, ld_alpha=0.3),
    "weighted": Case({"sigmoid": 1.0, "bco_pair": 0.4}, weighted=True),
}


def pairs_of(policy: Scored, reference: Scored, ld_alpha: float | None) -> PairLogps:
    full_R, lengths_R = policy.sums()
    weight_S = None if ld_alpha is None else ld_weights(policy.sequence_S, lengths_R, ld_alpha)
    sums_R, _ = policy.sums(weight_S)
    return paired(sums_R, lengths_R, reference.sums(weight_S)[0].detach(), full_R=full_R)


@pytest.mark.parametrize("name", CASES)
def test_dpo_trainer(tmp_path: Path, name: str) -> None:
    from trl import DPOTrainer

    case = CASES[name]
    rows = {key: value[: case.rows] for key, value in ROWS.items()}
    trainer = peer(DPOTrainer, case.config(tmp_path), rows, ref_model=reference_model())
    batch = next(iter(trainer.get_train_dataloader()))
    assert len(batch["input_ids"]) == 2 * case.rows
    tensors = (batch["input_ids"], batch["attention_mask"], batch["completion_mask"])
    twin, order = tiny_model(1), alternating(2 * case.rows)
    policy = scored(twin, *tensors, order)
    with torch.no_grad():
        reference = scored(reference_model(), *tensors, order)
    weight_P = None
    if case.weighted:
        squares_S = token_log_squares(policy.hidden_SD, policy.head_VD)
        aligned_S = policy.logps_S.detach() - squares_S
        sums_R, lengths_R = sequence_logps(aligned_S, policy.sequence_S, policy.sequences)
        weight_P = aligned_weights(sums_R / lengths_R)
    pairs = pairs_of(policy, reference, case.ld_alpha)
    loss = preference_loss(case.losses, pairs, case.settings, weight_P)
    if set(case.losses) == {"sft"}:
        # TRL's rewards are against a reference here, too; a stage without one has none.
        loss = replace(loss, metrics={"nll_loss": loss.metrics["nll_loss"]})
    metrics = {**loss.metrics, **pair_token_metrics(policy.stats, policy.sequence_S)}
    shared = agree(trainer, twin, batch, replace(loss, metrics=metrics), lambda t: t._metrics)
    rewards = set() if set(case.losses) == {"sft"} else PAIR_METRICS
    assert shared == {"entropy", "mean_token_accuracy"} | rewards


FREE = {
    "cpo": (PairSettings(BETA, cpo_alpha=0.6), {"cpo_alpha": 0.6}),
    "smoothed cpo": (PairSettings(BETA, 0.2), {"label_smoothing": 0.2}),
    "simpo": (
        PairSettings(BETA, simpo_gamma=0.9),
        {"loss_type": "simpo", "simpo_gamma": 0.9, "cpo_alpha": 0.0},
    ),
    "smoothed simpo": (
        PairSettings(BETA, 0.2),
        {"loss_type": "simpo", "label_smoothing": 0.2, "cpo_alpha": 0.0},
    ),
    "orpo": (PairSettings(BETA), {}),
}


@pytest.mark.parametrize("name", FREE)
def test_trainers_without_a_reference(tmp_path: Path, name: str) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    settings, told = FREE[name]
    loss_name = name.rsplit(maxsplit=1)[-1]
    trainer, config = (CPOTrainer, CPOConfig) if loss_name != "orpo" else (ORPOTrainer, ORPOConfig)
    trainer = peer(trainer, arguments(config, tmp_path, 3, **told), EVEN)
    batch = next(iter(trainer.get_train_dataloader()))
    joined = trainer.concatenated_inputs(batch, padding_value=0)
    twin = tiny_model(1)
    policy = scored(
        twin,
        joined["concatenated_input_ids"],
        joined["concatenated_attention_mask"],
        joined["concatenated_labels"] != -100,
        alternating(6),
    )
    sums_R, lengths_R = policy.sums()
    pairs = paired(sums_R, lengths_R, torch.zeros_like(lengths_R))
    loss = preference_loss({loss_name: 1.0}, pairs, settings)
    shared = agree(trainer, twin, batch, loss, lambda t: t._stored_metrics)
    extra = {
        "cpo": {"nll_loss"},
        "simpo": set(),
        "orpo": {"nll_loss", "log_odds_ratio", "log_odds_chosen"},
    }
    assert shared == PAIR_METRICS | extra[loss_name]


@pytest.mark.parametrize("name", LABEL_LOSSES)
@pytest.mark.parametrize("labels", [[True, False, True, True], [False] * 4, [True] * 4], ids=str)
def test_kto_trainer(tmp_path: Path, name: str, labels: list[bool]) -> None:
    from trl import KTOConfig, KTOTrainer

    config = arguments(
        KTOConfig, tmp_path, 4, loss_type=name, desirable_weight=1.4, undesirable_weight=0.6
    )
    rows = {"prompt": ROWS["prompt"], "completion": ROWS["chosen"], "label": labels}
    trainer = peer(KTOTrainer, config, rows, ref_model=reference_model())
    batch = next(iter(trainer.get_train_dataloader()))
    twin, order = tiny_model(1), torch.arange(4)

    def sums(model: Any, prefix: str = "") -> tuple[Tensor, Tensor]:
        keys = ("input_ids", "attention_mask", "completion_mask")
        return scored(model, *(batch[prefix + key] for key in keys), order).sums()

    kl = 0.0
    with torch.no_grad():
        ref_R, _ = sums(reference_model())
        if name == "kto":
            kl_R = sums(twin, "KL_")[0] - sums(reference_model(), "KL_")[0]
            kl = max(0.0, kl_R.mean().item())
            assert kl > 0.1
    logps_R, lengths_R = sums(twin)
    wanted_R = torch.as_tensor(batch["label"]).bool()
    given = LabelLogps(logps_R, ref_R, wanted_R, lengths_R)
    loss = label_loss(name, given, LabelSettings(BETA, 1.4, 0.6), kl)
    kept = {key: pair for key, pair in loss.metrics.items() if pair[1]}
    shared = agree(trainer, twin, batch, replace(loss, metrics=kept), lambda t: t._metrics)
    sides = {
        True: {"rewards/chosen", "logps/chosen"},
        False: {"rewards/rejected", "logps/rejected"},
    }
    expected = {"kl"}.union(*(sides[label] for label in labels))
    assert shared == expected | ({"rewards/margins"} if len(set(labels)) == 2 else set())
