"""Preference optimisation against the frozen starting model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from accord.checkpoint.folder import load_model, model_fingerprint
from accord.config.preference import PreferenceStage
from accord.data.account import Account
from accord.data.check.warn import warnings_of
from accord.data.examples import check_some, fitted, label_example, pair_example
from accord.data.load import Loaded
from accord.data.order import Order
from accord.data.packing import Example
from accord.data.rows import LabelRow, PairRow
from accord.errors import AccordError
from accord.stages.context import StageContext
from accord.stages.groups import group_names, groups_of
from accord.stages.labels import Baseline, HeldoutLabels, LabelSource, load_labels, mismatched
from accord.stages.lora import for_training, leave
from accord.stages.models import Opened, check_length, open_for_training
from accord.stages.pairs import load_pairs
from accord.stages.records import write_record
from accord.stages.reference import Reference
from accord.stages.sources import ExampleSource, HeldoutExamples, steps_of
from accord.stages.steps import Step, label_step, preference_step
from accord.stages.synced import SyncedReference, Watched
from accord.stages.training import fit
from accord.text.tokenizer import Tokenizer
from accord.train import current_ranks
from accord.train.precision import DTYPES


@dataclass(frozen=True)
class _Examples:
    """Tokens of the rows to train on and of those held out, and what metrics are kept apart by."""

    train: list[Example]
    heldout: list[Example]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """What the loop is given."""

    source: Any
    heldout: Any
    step: Step


def run(config: PreferenceStage, context: StageContext) -> None:
    """Make pairs, take the reference's log-probabilities once, train, leave a model folder."""
    where, account = f"stages.{context.name}", Account()
    if config.whole_steps and current_ranks().world > 1:
        raise AccordError(
            "aot sorts all pairs of a step, and ranks share them.", where, "run it with --ranks 1"
        )
    start = context.input(config.from_)
    open_once = cache(partial(_opened, config, start))
    # a fault in the data is told before a model is opened
    rows = _rows(config, context, lambda: open_once().tokenizer, account)
    opened = open_once()
    tokenizer = opened.tokenizer
    model = for_training(start, opened.model, tokenizer, config.lora, context.seed)
    check_length(model.config, config.max_length, where)
    context.say(opened.notes)
    examples = _examples(rows, config, context, tokenizer, account)
    mark = model_fingerprint(start)

    def reference() -> Reference:
        dtype, device = DTYPES[config.precision], current_ranks().device
        if opened.notes:  # with the same new tokens
            frozen = _opened(config, start).model.to(device, dtype)
        else:
            frozen = load_model(start, dtype, device)
        return Reference(frozen.eval(), mark, config.ld_alpha)

    task = _task(config, context, examples, reference)
    trainer = fit(
        model,
        task.step,
        task.source,
        task.heldout if examples.heldout else None,
        config,
        context,
        f"{mark} {tokenizer.fingerprint}",
        "responses" if config.labelled else "pairs",
    )

    def report(_: object) -> None:
        write_record(context.folder, "rows.json", account.to_json())

    leave(trainer, model.config, tokenizer, context.folder, report, config.lora, start)


def _opened(config: PreferenceStage, start: Path) -> Opened:
    return open_for_training(start, config.chat_template, config.pad_token, config.system_prompt)


def _rows(
    config: PreferenceStage,
    context: StageContext,
    tokenizer: Callable[[], Tokenizer],
    account: Account,
) -> Loaded:
    if config.labelled:
        return load_labels(config, context, account)
    return load_pairs(config, context, tokenizer, account)


def _examples(
    rows: Loaded,
    config: PreferenceStage,
    context: StageContext,
    tokenizer: Tokenizer,
    account: Account,
) -> _Examples:
    make: Callable[..., Example] = label_example if config.labelled else pair_example
    names = group_names([*rows.train, *rows.heldout])

    def tokens(wanted: Sequence[PairRow | LabelRow]) -> list[Example]:
        return [
            replace(make(row, tokenizer, None, config.train_on), groups=groups_of(row, names))
            for row in wanted
        ]

    made, limit = tokens(rows.train), config.max_length
    context.warn(warnings_of(rows.train, made, limit, tokenizer.chat_template))
    training = fitted(rows.train, made, limit, account)
    check_some(rows.train, training, limit, f"stages.{context.name}")
    watched = rows.heldout[: config.eval_rows]
    return _Examples(training, fitted(watched, tokens(watched), limit, Account()), names)


def _task(
    config: PreferenceStage,
    context: StageContext,
    examples: _Examples,
    reference: Callable[[], Reference],
) -> _Task:
    order = Order(len(examples.train), config.batch_size, context.seed)
    source = ExampleSource(examples.train, order, steps_of(config, order))
    if config.labelled:
        return _labels(config, context, source, examples, reference())
    step = preference_step(config, examples.groups)
    if not config.needs_reference:
        return _Task(source, HeldoutExamples(examples.heldout, config.batch_size), step)
    if config.sync_ref_model:
        watched = Watched(examples.heldout, config.batch_size)
        every, alpha = config.ref_model_sync_steps, config.ref_model_mixup_alpha
        return _Task(SyncedReference(source, watched, reference(), every, alpha), watched, step)
    frozen = reference()
    heldout = HeldoutExamples(_kept(examples.heldout, frozen, context), config.batch_size)
    return _Task(_scored(source, frozen, context), heldout, step)


def _labels(
    config: PreferenceStage,
    context: StageContext,
    source: ExampleSource,
    examples: _Examples,
    frozen: Reference,
) -> _Task:
    held = HeldoutLabels(_kept(examples.heldout, frozen, context), config.batch_size)
    baseline = Baseline()
    step = label_step(config, examples.groups, baseline)
    if config.loss != "kto":
        return _Task(_scored(source, frozen, context), held, step)

    def strange(rows: Sequence[Example]) -> list[Example]:
        return mismatched(rows, config.max_length, context.seed)

    before = replace(source, examples=strange(source.examples))
    held_before = replace(held, examples=_kept(strange(examples.heldout), frozen, context))
    return _Task(
        LabelSource(_scored(source, frozen, context), _scored(before, frozen, context), baseline),
        LabelSource(held, held_before, baseline),
        step,
    )


def _scored(source: ExampleSource, frozen: Reference, context: StageContext) -> ExampleSource:
    """The source with reference log-probabilities of all rows that its steps will see."""
    steps = range(source.steps)
    # a run shorter than an epoch pays only for the rows that it will see
    seen = sorted({row for step in steps for row in source.order.indices(step)})
    scored = list(source.examples)
    found = _kept([scored[row] for row in seen], frozen, context)
    for row, example in zip(seen, found, strict=True):
        scored[row] = example
    return replace(source, examples=scored)


def _kept(examples: Sequence[Example], frozen: Reference, context: StageContext) -> list[Example]:
    folder = context.folder / "accord" / "reference"
    return frozen.on_disk(examples, folder, context.console)
