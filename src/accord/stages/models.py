"""Opening the model a stage starts from, and leaving the one it trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from accord.checkpoint.adapter_folder import tokenizer_folder
from accord.checkpoint.folder import load_model, save_model
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.resize import resized
from accord.text.templates import named_template
from accord.text.tokenizer import Tokenizer
from accord.train import Trainer, current_ranks


def fresh_model(settings: dict[str, Any], tokenizer: Tokenizer, seed: int) -> Decoder:
    """A new model of a preset and what the recipe changes in it; one embedding row a token."""
    rest = {key: value for key, value in settings.items() if key != "preset"}
    preset = PRESETS[str(settings.get("preset", "llama"))]
    config = ModelConfig.model_validate({**preset, **rest, "vocab_size": len(tokenizer)})
    return Decoder.init(config, seed)


def check_length(config: ModelConfig, max_length: int, where: str) -> None:
    """Refuse sequences longer than the model has positions for."""
    if max_length > config.max_position_embeddings:
        raise AccordError(
            f"max_length {max_length} is more than the model's "
            f"{config.max_position_embeddings} positions.",
            f"{where}.max_length",
            f"set max_length to at most {config.max_position_embeddings}",
        )


def check_tokenizer(config: ModelConfig, tokenizer: Tokenizer, folder: Path) -> None:
    """Refuse a tokenizer whose ids the model has no embedding for."""
    if len(tokenizer) > config.vocab_size:
        raise AccordError(
            f"The tokenizer has {len(tokenizer)} tokens, the model embeds {config.vocab_size}: "
            "it is another model's.",
            str(folder),
            "give the tokenizer that the model was trained with",
        )


def check_same_tokens(tokenizer: Tokenizer, folder: Path) -> None:
    """Refuse a model for which ids mean other tokens than they do for `tokenizer`.

    Chat template and the choice of the end token may differ.
    """
    if not Tokenizer.load(tokenizer_folder(folder)).same_ids(tokenizer):
        raise AccordError(
            "The model was trained with another tokenizer: the same ids are other tokens.",
            str(folder),
            "use models and a tokenizer of the same origin",
        )


def leave_model(
    trainer: Trainer,
    config: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    also: Callable[[Decoder], None],
) -> None:
    """Write the trained model as a Hugging Face folder; `also` looks at it first."""

    def save(weights: dict[str, Tensor]) -> None:
        write_model(weights, config, tokenizer, folder, also)

    trainer.write(save)


def write_model(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    also: Callable[[Decoder], None] = lambda model: None,
) -> None:
    """Write whole weights as a Hugging Face folder; `also` looks at the model first."""
    model = Decoder.empty(config)
    model.load_state_dict(dict(weights))
    also(model.eval().to(current_ranks().device))
    save_model(model.cpu(), folder, tokenizer)


def open_model(folder: Path) -> tuple[Decoder, Tokenizer]:
    """A stage folder's model, in float32 for training, and its tokenizer."""
    import torch  # noqa: PLC0415

    tokenizer = Tokenizer.load(tokenizer_folder(folder))
    model = load_model(folder, torch.float32)
    check_tokenizer(model.config, tokenizer, folder)
    return model, tokenizer


ROWS_OF = 8  # an embedding that grows does so to a multiple of this


@dataclass(frozen=True)
class Opened:
    """A model to train, as the stage's settings want it.

    Args:
        model: In float32.
        tokenizer: With the stage's chat template and pad token.
        notes: What was changed, a sentence each.
    """

    model: Decoder
    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()


def open_for_training(
    folder: Path,
    chat_template: str | None = None,
    pad_token: str | None = None,
    system_prompt: str | None = None,
) -> Opened:
    """A stage folder's model and tokenizer, with the tokens that the settings ask for.

    The control tokens of the chat template that the tokenizer lacks are added, and so is the pad
    token where the tokenizer has none or pads with a token that begins or ends a text. They take
    spare rows of the embedding, which grows to a multiple of 8 only where they don't fit. The same
    folder and settings give the same model: a reference opened so is the policy before training.

    Args:
        folder: The model.
        chat_template: A format's name; none: the folder's own.
        pad_token: Text of the pad token; none: padding stays as it is.
        system_prompt: The chat template's default system turn; none: its own.

    Raises:
        AccordError: As `open_model` and the tokenizer's `with_…`.
    """
    model, found = open_model(folder)
    tokenizer, notes = found, []
    if chat_template is not None:
        tokenizer = tokenizer.with_tokens(named_template(chat_template).control_tokens)
        tokenizer = tokenizer.with_chat_template(chat_template)
    if system_prompt is not None:
        tokenizer = tokenizer.with_system_prompt(system_prompt)
    if pad_token is not None:
        if tokenizer.pad_id in (None, tokenizer.end_id, tokenizer.start_id):
            tokenizer = tokenizer.with_pad(pad_token)
        elif tokenizer.pad_token != pad_token:
            notes.append(f"pad_token is not used: the tokenizer pads with {tokenizer.pad_token}")
    if len(tokenizer) > len(found):
        added = tokenizer.decode(range(len(found), len(tokenizer)))
        notes.append(f"control tokens added from id {len(found)} on: {added}")
    rows = model.config.vocab_size
    if len(tokenizer) > rows:
        model = resized(model, -(-len(tokenizer) // ROWS_OF) * ROWS_OF)
        notes.append(f"embedding grown from {rows} to {model.config.vocab_size} rows")
    return Opened(model, tokenizer, tuple(notes))
