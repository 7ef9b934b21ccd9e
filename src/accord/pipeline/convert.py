"""A model folder in another format, read back and measured."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from accord.checkpoint.adapter_folder import is_adapter, tokenizer_folder
from accord.checkpoint.folder import CARD, CONFIG, GENERATION, load_model
from accord.checkpoint.gguf import read_gguf
from accord.checkpoint.gguf_export import Storage, write_gguf
from accord.checkpoint.gguf_vocabulary import caveats
from accord.checkpoint.quantised import Bits, quantise, quantised_logits
from accord.checkpoint.weights import weight_files
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.pipeline.execute import local_folder
from accord.pipeline.quality import Logits, compared, decoder_logits, texts_for
from accord.text.tokenizer import Tokenizer

Target = Literal["int8", "int4", "gguf"]
_PLAIN = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
          "chat_template.jinja", GENERATION)  # fmt: skip


def convert(
    model: str | Path,
    to: Target,
    out: str | Path | None = None,
    storage: Storage = "f16",
    data: Sequence[str] = (),
) -> dict[str, Any]:
    """Write a model folder as int8, int4 or GGUF, read it back, and say what it cost.

    Args:
        model: Folder, or `hub:owner/name`; an adapter is merged where `to` is gguf.
        to: The format.
        out: Folder; none: beside the model, the format behind its name.
        storage: How GGUF stores matrices.
        data: Sources to measure on; none: rows held out of its training, else its own texts.

    Returns:
        `path`, `format`, `bytes_before`, `bytes`, `texts`, `notes` and the figures of `Quality`.

    Raises:
        AccordError: No such model, `out` holds one, or the format cannot say this model.
    """
    folder = local_folder(str(model))
    decoder = load_model(folder).float().eval().requires_grad_(False)
    tokenizer = Tokenizer.load(tokenizer_folder(folder))
    name = folder.resolve().name
    target = Path(out) if out is not None else folder.resolve().parent / f"{name}-{to}"
    said: dict[str, Any] = {
        "model": str(model),
        "format": f"gguf {storage}" if to == "gguf" else to,
    }
    if to == "gguf":
        path, after, notes = _gguf(decoder, tokenizer, target, name, storage)
    else:
        path, after, notes = _rounded(folder, target, to)
    texts = texts_for(folder, list(data), decoder, tokenizer)
    quality = compared(decoder_logits(decoder), after, texts.examples)
    return said | {
        "path": str(path),
        "bytes_before": _size(folder) if not is_adapter(folder) else None,
        "bytes": _size(path),
        "texts": texts.said,
        **quality.to_json(),
        "notes": notes,
    }


def _gguf(
    decoder: Decoder, tokenizer: Tokenizer, target: Path, name: str, storage: Storage
) -> tuple[Path, Logits, list[str]]:
    path = target if target.suffix == ".gguf" else target / f"{name}-{storage}.gguf"
    if path.exists():
        raise AccordError("There is such a file already.", str(path), "give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    try:
        stored = write_gguf(decoder, tokenizer, aside, storage, name)
        back = read_gguf(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    read = Decoder.empty(back.config, decoder.embedding.weight.dtype, "meta").to_empty(device="cpu")
    read.load_state_dict(back.weights)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(stored.items()))
    notes = [f"tensors: {kinds}", *caveats(tokenizer)]
    if storage.startswith("q"):
        notes.append("llama.cpp also rounds what is multiplied with them, which is not measured")
    return path, decoder_logits(read.eval()), notes


def _rounded(folder: Path, target: Path, to: Bits) -> tuple[Path, Logits, list[str]]:
    if is_adapter(folder):
        raise AccordError(
            "An adapter has no weights of its own to round.",
            str(folder),
            f"accord merge {folder} --out MERGED, then convert that",
        )
    if (target / CONFIG).exists():
        raise AccordError("The folder holds a model already.", str(target), "give another --out")
    quantise(folder, target, to)
    for name in _PLAIN:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    if (folder / CARD).is_file():
        shutil.copyfile(folder / CARD, target / CARD)
    notes = ["loads in transformers with torchao, not in Accord"]
    if to == "int4":
        notes.append("torchao keeps a byte for each int4 weight: gguf q4_0 is the smaller file")
    return target, quantised_logits(target), notes


def _size(path: Path) -> int:
    """Bytes of a file, or of a folder's weights."""
    files = [path] if path.is_file() else weight_files(path)
    return sum(file.stat().st_size for file in files)
