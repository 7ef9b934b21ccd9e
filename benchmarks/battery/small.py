"""A small model folder, whole, that the battery damages or plants things in."""

from pathlib import Path

TEXTS = ("The film was a delight.\n", "### Instruction:\nSay it.\n\n### Response:\n", "नमस्ते\n")


def small_folder(folder: Path, chat_template: str = "chatml") -> Path:
    """A llama of a few thousand weights with a byte-level tokenizer, written as any model is."""
    from accord.checkpoint.folder import save_model
    from accord.config.model import ModelConfig
    from accord.model.decoder import Decoder
    from accord.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(TEXTS, 280, chat_template=chat_template)
    config = ModelConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
    )
    save_model(Decoder.init(config, seed=1), folder, tokenizer)
    return folder
