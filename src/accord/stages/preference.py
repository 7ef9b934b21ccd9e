"""Preference optimisation against the frozen starting model."""

from collections.abc import Sequence

import torch

from accord.checkpoint.folder import load_model, model_fingerprint
from accord.config.preference import PreferenceStage
from accord.data.account import Account
from accord.data.examples import check_some, fitted, pair_example
from accord.data.order import Order
from accord.data.packing import Example
from accord.data.rows import PairRow
from accord.model.decoder import Decoder
from accord.stages.context import StageContext
from accord.stages.models import check_length, leave_model, open_model
from accord.stages.pairs import load_pairs
from accord.stages.records import write_record
from accord.stages.reference import with_reference
from accord.stages.sources import ExampleSource, steps_of
from accord.stages.steps import preference_step
from accord.stages.training import train
from accord.train import current_ranks

COMPUTED_IN = {"fp32": torch.float32, "bf16": torch.bfloat16}


def run(config: PreferenceStage, context: StageContext) -> None:
    """Make pairs, take the reference's log-probabilities once, train, leave a model folder."""
    account = Account()
    start = context.input(config.from_)
    model, tokenizer = open_model(start)
    check_length(model.config, config.max_length, f"stages.{context.name}")
    if config.chat_template is not None:
        tokenizer = tokenizer.with_chat_template(config.chat_template)
    rows = load_pairs(config, context, tokenizer, account)

    def examples(pairs: Sequence[PairRow], counts: Account) -> list[Example]:
        made = [pair_example(row, tokenizer, None, config.train_on) for row in pairs]
        return fitted(pairs, made, config.max_length, counts)

    training = examples(rows.train, account)
    check_some(rows.train, training, config.max_length, f"stages.{context.name}")
    heldout = examples(rows.heldout[: config.eval_rows], Account())
    reference = load_model(start, COMPUTED_IN[config.precision], current_ranks().device)
    mark, kept = model_fingerprint(start), context.folder / "accord" / "reference"
    order = Order(len(training), config.batch_size, context.seed)
    steps = steps_of(config, order)
    # a run shorter than an epoch pays only for the pairs that it will see
    seen = sorted({row for step in range(steps) for row in order.indices(step)})
    scored = with_reference([training[row] for row in seen], reference, mark, kept)
    for row, example in zip(seen, scored, strict=True):
        training[row] = example
    heldout = with_reference(heldout, reference, mark, kept)
    del reference
    source, mark = ExampleSource(training, order, steps), f"{mark} {tokenizer.fingerprint}"
    step = preference_step(config)
    trainer = train(model, step, source, heldout, config, context, mark, unit="pairs")

    def report(_: Decoder) -> None:
        write_record(context.folder, "rows.json", account.to_json())

    leave_model(trainer, model.config, tokenizer, context.folder, report)
