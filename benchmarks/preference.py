"""One optimiser step of DPO: TRL's DPOTrainer, a plain loop, Accord's Trainer."""

import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

import work
from harness import Contender, Gate, Row
from pretraining import GatedSource, settings

BATCHES, BETA = 4, 0.1
TUNED = {"precompute_ref_log_probs": True, "gradient_checkpointing": False}
"""TRL's settings with the reference computed once and no activation computed twice."""


def word_tokenizer(vocabulary: int = work.VOCABULARY) -> Any:
    """Token n is the word `n`, so that TRL's tokenizing gives back the ids the others get."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": 1} | {f"{n}": n for n in range(2, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")


def trl(
    gate: Gate,
    folder: str,
    sizes: work.PairSizes = work.STUDY_PAIRS,
    batches: int = BATCHES,
    **chosen: Any,
) -> None:
    """DPOTrainer itself: its collator, its loop, its metrics; nothing is saved or reported."""
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    disable_progress_bars()

    class AtGate(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            gate.step()

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                gate.note("first_loss", logs["loss"])
                gate.note("first_grad_norm", logs["grad_norm"])

    class Timed(DPOTrainer):
        def _precompute_ref_logps(self, *args: Any, **named: Any) -> Any:
            gate.note("reference_pairs", len(pairs))
            with gate.phase("reference"):
                return super()._precompute_ref_logps(*args, **named)

    def text(ids: list[int]) -> str:
        return " ".join(map(str, ids))

    pairs = [pair for batch in work.pair_batches(batches, sizes) for pair in batch]
    rows = {
        "prompt": [text(p.prompt) for p in pairs],
        "chosen": [f" {text(p.chosen[:-1])} <end>" for p in pairs],
        "rejected": [f" {text(p.rejected[:-1])} <end>" for p in pairs],
    }
    with tempfile.TemporaryDirectory() as kept:
        config = DPOConfig(
            output_dir=kept,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            max_steps=GatedSource.steps,
            logging_first_step=True,
            per_device_train_batch_size=sizes.batch,
            train_sampling_strategy="sequential",
            beta=BETA,
            **chosen,
        )
        trainer = Timed(
            folder,
            args=config,
            train_dataset=Dataset.from_dict(rows),
            processing_class=word_tokenizer(sizes.vocabulary),
            callbacks=[AtGate()],
        )
        trainer.remove_callback(PrinterCallback)
        made = trainer.train_dataset[0]
        first = pairs[0]
        assert (made["prompt_ids"], made["chosen_ids"]) == (first.prompt, first.chosen)
        trainer.train()


def plain(
    gate: Gate,
    folder: str,
    sizes: work.PairSizes = work.STUDY_PAIRS,
    batches: int = BATCHES,
) -> None:
    """Pad, run policy and frozen reference on all sequences, log_softmax, gather, sum."""
    import torch
    import torch.nn.functional as F

    from plain import Llama

    policy, reference = Llama(folder), Llama(folder)

    def padded(batch: list[work.Pair]) -> Any:
        sequences = [p.prompt + r for p in batch for r in (p.chosen, p.rejected)]
        longest = max(map(len, sequences))
        ids = torch.tensor([s + [0] * (longest - len(s)) for s in sequences])
        scored = torch.tensor(
            [[sizes.prompt <= i < len(s) for i in range(1, longest)] for s in sequences]
        )
        return ids, scored

    def summed(model: Llama, ids: Any, scored: Any) -> Any:
        logps = F.log_softmax(model(ids)[:, :-1], -1)
        return (logps.gather(-1, ids[:, 1:, None]).squeeze(-1) * scored).sum(-1)

    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True)
    for batch in cycle(work.pair_batches(batches, sizes)):
        gate.step()
        ids, scored = padded(batch)
        with torch.no_grad():
            at_reference = summed(reference, ids, scored)
        ratio = summed(policy, ids, scored) - at_reference
        loss = -F.logsigmoid(BETA * (ratio[0::2] - ratio[1::2])).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        gate.note("first_loss", loss.item())
        gate.note("first_grad_norm", norm.item())


def accord(
    gate: Gate,
    folder: str,
    precision: str,
    sizes: work.PairSizes = work.STUDY_PAIRS,
    batches: int = BATCHES,
    compile: bool = False,
) -> None:
    """The preference stage's own step and reference, in the real Trainer."""
    from rich.console import Console

    from accord.checkpoint.folder import load_model, model_fingerprint
    from accord.config.stages import PreferenceStage
    from accord.data.packing import Example, Response, collate
    from accord.stages.reference import Reference
    from accord.stages.steps import preference_step
    from accord.train import Trainer
    from accord.train.precision import DTYPES

    def response(ids: list[int]) -> Response:
        return Response(tuple(ids), (True,) * len(ids))

    examples = [
        Example(tuple(p.prompt), (response(p.chosen), response(p.rejected)))
        for batch in work.pair_batches(batches, sizes)
        for p in batch
    ]
    size = sizes.batch
    config = PreferenceStage(**{"from": folder}, beta=BETA, **settings(precision, compile, size))
    with tempfile.TemporaryDirectory() as kept:
        model = load_model(folder, DTYPES[precision]).eval()
        reference = Reference(model, model_fingerprint(folder))
        gate.note("reference_pairs", len(examples))
        with gate.phase("reference"):
            examples = reference.on_disk(examples, Path(kept))
        del model, reference
        rows = [examples[i : i + size] for i in range(0, len(examples), size)]
        Trainer(
            load_model(folder),
            preference_step(config),
            GatedSource(gate, rows, collate, Path(kept)),
            config,
            Path(kept),
            console=Console(quiet=True),
            unit="pairs",
        ).fit()


def row(folder: Path, quick: bool, compile: bool = False) -> Row:
    """The study model, 8 pairs a step."""
    here = {"folder": work.write_model(folder / "study", work.STUDY)}
    tuned = {**here, **TUNED}
    contenders = [
        Contender("TRL default", trl, work.BATCH, here),
        Contender("TRL tuned fp32", trl, work.BATCH, {**tuned, "bf16": False}),
        Contender("TRL tuned bf16", trl, work.BATCH, tuned),
        Contender("plain loop fp32", plain, work.BATCH, here),
        Contender("accord fp32", accord, work.BATCH, {**here, "precision": "fp32"}),
        Contender("accord bf16", accord, work.BATCH, {**here, "precision": "bf16"}),
    ]
    if compile:
        compiled = {**here, "precision": "bf16", "compile": True}
        contenders.append(Contender("accord bf16 compiled", accord, work.BATCH, compiled))
    return Row(
        "dpo",
        "DPO step, 1.5 M study model, prompt 64, responses 64 to 128, 8 pairs",
        "pairs",
        contenders,
        steps=1 if quick else BATCHES,
        rounds=2 if quick else 4,
        targets=[
            ("accord bf16", "TRL default", 20.0),
            ("accord bf16", "TRL tuned fp32", 12.0),
            ("accord bf16", "TRL tuned bf16", 12.0),
            ("accord bf16", "plain loop fp32", 8.0),
        ],
    )
