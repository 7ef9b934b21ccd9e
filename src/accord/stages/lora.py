"""Adapters in a stage: what is trained instead of the weights, and the folder that is left."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from accord.checkpoint.adapter import adapted, save_adapter, take_over
from accord.checkpoint.adapter_folder import (
    is_adapter,
    read_adapter,
    tokenizer_folder,
    whole_folder,
)
from accord.checkpoint.folder import load_config, load_model
from accord.config.lora import LoRAConfig
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.stages.models import leave_model
from accord.text.tokenizer import Tokenizer
from accord.train import Trainer, current_ranks


def for_training(
    start: Path, model: Decoder, tokenizer: Tokenizer, lora: LoRAConfig | None, seed: int
) -> Decoder:
    """What a stage trains: the model itself or, with `lora`, a frozen base and its adapters.

    New adapters leave the model as it is. An adapter folder to start from is trained on: the same
    factors on its own base. Either way the model before the first step is `load_model(start)`,
    which is thereby the reference.

    Args:
        start: Folder of the starting model.
        model: As it was opened from there, in float32; not to be used any more.
        tokenizer: What the stage renders with.
        lora: The stage's setting.
        seed: Of new adapters.

    Raises:
        AccordError: The stage adds tokens, whose embedding an adapter cannot train; the settings
            are not those of the starting adapter; peft is missing.
    """
    if lora is None:
        return model
    _refuse_new_tokens(start, model, tokenizer)
    if not is_adapter(start):
        return adapted(model, lora, seed)
    # in the merged weights' stead, so that they are not held beside it
    base = load_model(whole_folder(start), torch.float32).state_dict()
    model.load_state_dict(base, assign=True)
    take_over(adapted(model, lora, seed), lora, read_adapter(start, model.config), start)
    return model


def _refuse_new_tokens(start: Path, model: Decoder, tokenizer: Tokenizer) -> None:
    known = len(Tokenizer.load(tokenizer_folder(start)))
    # a pad token in a spare row is never read and never predicted
    added = [i for i in range(known, len(tokenizer)) if i != tokenizer.pad_id]
    if added or model.config.vocab_size != load_config(start).vocab_size:
        names = tokenizer.decode(range(known, len(tokenizer)))
        raise AccordError(
            f"The stage adds tokens ({names}), and adapters leave the embedding as it is: the "
            "model could not learn them.",
            str(start),
            "run sft with that chat_template and pad_token but without lora first, and start here "
            "from its folder; or leave them out",
        )


def leave(
    trainer: Trainer,
    config: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    also: Callable[[Decoder], None],
    lora: LoRAConfig | None,
    start: Path,
) -> None:
    """Write what was trained: the whole model or, with `lora`, the adapter as a peft folder.

    Args:
        trainer: Done.
        config: Shape of the model.
        tokenizer: Its files are written too.
        folder: The stage's folder.
        also: Looks at the trained model (of an adapter: merged).
        lora: The stage's setting.
        start: Folder of the starting model.
    """
    if lora is None:
        leave_model(trainer, config, tokenizer, folder, also)
        return

    def save(weights: dict[str, Tensor]) -> None:
        save_adapter(weights, config, lora, whole_folder(start), folder, tokenizer)
        also(load_model(folder, torch.float32, current_ranks().device).eval())

    trainer.write(save)
