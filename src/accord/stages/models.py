"""Opening the model a stage starts from, and leaving the one it trained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from accord.checkpoint.folder import load_model, save_model
from accord.config.model import PRESETS, ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
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
    if not Tokenizer.load(folder).same_ids(tokenizer):
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

    model, tokenizer = load_model(folder, torch.float32), Tokenizer.load(folder)
    check_tokenizer(model.config, tokenizer, folder)
    return model, tokenizer
