"""Reading a peft folder: which folders are one, the model beneath it, and its low-rank factors.

Nothing here needs peft. What an adapter may say beside plain LoRA is refused by name: an adapter
that loads with part of it left out is another model.
"""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from accord.checkpoint.adapter_names import Target, linear_layers
from accord.checkpoint.hub import fetched
from accord.checkpoint.weights import INDEX, WEIGHTS, Stored, read_json
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.text.confined import inside

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What peft puts before the name of a module of the model."""
BASES_KEYS = ("base_model_name_or_path", "revision")
"""Where the model beneath an adapter lies."""
BASE_MARK = "base_fingerprint"
"""In the header of the factors' file: fingerprint of the model that they were trained on."""

_READ = frozenset(
    {"r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type",
     "init_lora_weights", *BASES_KEYS}
)  # fmt: skip
_NO_EFFECT = frozenset(
    {"auto_mapping", "peft_version", "inference_mode", "target_modules", "exclude_modules",
     "lora_dropout", "fan_in_fan_out", "layers_to_transform", "layers_pattern", "megatron_core",
     "megatron_config", "task_type", "qalora_group_size", "eva_config", "loftq_config",
     "ensure_weight_tying", "runtime_config"}
)  # fmt: skip
"""Settings of training, and such as the names of the factors say already."""
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Initialisations of the factors that leave the model beneath them as it is."""


@dataclass(frozen=True)
class LowRank:
    """The adapter of one layer: scale * B A is added to its [out, in] matrix.

    Args:
        a_RI: [rank, in].
        b_OR: [out, rank].
        alpha: `lora_alpha` of this layer.
        scale: alpha / rank, or alpha / sqrt(rank) (rsLoRA).
    """

    a_RI: Tensor
    b_OR: Tensor
    alpha: float
    scale: float

    @property
    def rank(self) -> int:
        """Rows of A."""
        return self.a_RI.shape[0]

    def product(self) -> Tensor:
        """What is added to the matrix, float32 [out, in]."""
        return (self.b_OR.float() @ self.a_RI.float()) * self.scale


def is_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter's.

    Raises:
        AccordError: It holds an adapter and a whole model: which of them is meant?
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        return False
    whole = [name for name in (WEIGHTS, INDEX) if (folder / name).is_file()]
    if whole:
        raise AccordError(
            f"The folder holds a whole model ({whole[0]}) and an adapter ({ADAPTER_CONFIG}).",
            str(folder),
            "Move one of them to a folder of its own.",
        )
    return True


def whole_folder(folder: Path) -> Path:
    """The folder of the whole model: an adapter's base, or the folder itself.

    Raises:
        AccordError: The base is not there, or is an adapter itself.
    """
    return base_folder(folder) if is_adapter(folder) else folder


def base_folder(folder: Path) -> Path:
    """Folder of the model beneath an adapter.

    A path is looked for beside the adapter, then from the working directory; a name of the hub is
    fetched. Where a run was moved as a whole, the base is the adapter's neighbour of its old name.

    Raises:
        AccordError: It is not there, or is an adapter itself.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    name, where = config.get("base_model_name_or_path"), str(folder / ADAPTER_CONFIG)
    if not isinstance(name, str) or not name:
        raise AccordError(
            "The adapter names no base model.", where, "Set base_model_name_or_path to its folder."
        )
    path = Path(name).expanduser()
    places = [folder / path, path]
    if recorded_base(folder) is not None:  # a neighbour that isn't the base will be found out
        places.append(folder.resolve().parent / path.name)
    for place in places:
        if place.is_dir():
            return _no_adapter(place, where)
    if path.is_absolute() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name[0] == ".":
        raise AccordError(
            f"The adapter's base model '{name}' is not there.",
            where,
            "Set base_model_name_or_path to the folder of the model it was trained on.",
        )
    return _no_adapter(fetched(name, config.get("revision")), where)


def tokenizer_folder(folder: Path) -> Path:
    """Where a model's tokenizer is: in its folder or, for an adapter saved without, in its base."""
    here = (folder / "tokenizer.json").is_file() or not is_adapter(folder)
    return folder if here else base_folder(folder)


def _no_adapter(base: Path, where: str) -> Path:
    if is_adapter(base):
        raise AccordError(
            f"The adapter's base '{base}' is an adapter itself.",
            where,
            "Merge that one first: accord merge FOLDER --out MERGED, and name MERGED as the base.",
        )
    return base


def recorded_base(folder: Path) -> str | None:
    """Fingerprint of the base that an adapter was trained on; none where it doesn't say."""
    with ExitStack() as stack:
        return (_open(folder, stack).metadata() or {}).get(BASE_MARK)


def read_adapter(folder: Path, config: ModelConfig) -> dict[str, LowRank]:
    """The factors of an adapter by the names of Hugging Face's modules.

    Args:
        folder: A peft folder.
        config: Shape of the model beneath it.

    Raises:
        AccordError: It is more than plain LoRA on linear layers of the blocks, or does not fit.
    """
    settings = read_json(folder / ADAPTER_CONFIG)
    _refuse_more(settings, str(folder / ADAPTER_CONFIG))
    with ExitStack() as stack:
        file = _open(folder, stack)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    where = str(folder / ADAPTER_WEIGHTS)
    layers = {layer.theirs: layer for layer in linear_layers(config)}
    pairs = _paired(tensors, layers, where)
    return {name: _low_rank(layers[name], *pair, settings, where) for name, pair in pairs.items()}


def _open(folder: Path, stack: ExitStack) -> Any:
    path = folder / ADAPTER_WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise AccordError(
            "The adapter is pickled (adapter_model.bin), and unpickling can run any code."
            if pickled
            else f"The folder holds no {ADAPTER_WEIGHTS}.",
            str(folder),
            "Save it as safetensors: model.save_pretrained(folder)."
            if pickled
            else "Fetch the adapter again; without its weights there is nothing to add.",
        )
    try:
        return stack.enter_context(safe_open(inside(path), framework="pt"))
    except SafetensorError as error:
        raise AccordError(
            f"The file is no whole safetensors file: {error}", str(path), "Fetch it again."
        ) from error


def _refuse_more(settings: Mapping[str, Any], where: str) -> None:
    """Refuse every setting that makes an adapter more than scale * B A."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise AccordError(
            f"The adapter is of type {kind}; Accord reads LORA.",
            where,
            "Merge it with peft: PeftModel.from_pretrained(…).merge_and_unload().",
        )
    start = settings.get("init_lora_weights")
    told = [f"init_lora_weights = {start!r}"] if start not in _PLAIN_STARTS else []
    neutral = {"bias": "none"}
    told += [
        f"{key} = {value!r}"
        for key, value in settings.items()
        if key not in _READ | _NO_EFFECT and value and value != neutral.get(key)
    ]
    if told:
        raise AccordError(
            f"The adapter is more than plain LoRA ({'; '.join(told)}), which is not supported.",
            where,
            "Merge it with peft: PeftModel.from_pretrained(…).merge_and_unload().",
        )


def _paired(
    tensors: Mapping[str, Tensor], layers: Mapping[str, Target], where: str
) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of each layer that has them; every tensor is used."""
    halves: dict[str, dict[str, Tensor]] = {}
    strange: list[str] = []
    for name, tensor in tensors.items():
        found = re.fullmatch(re.escape(PREFIX) + r"(.+)\.lora_([AB])\.weight", name)
        if found is None or found[1] not in layers:
            strange.append(name)
        else:
            halves.setdefault(found[1], {})[found[2]] = tensor
    strange += [f"{name} (no {'AB'['A' in h]})" for name, h in halves.items() if len(h) < 2]
    if strange:
        shown = ", ".join(sorted(strange)[:8])
        raise AccordError(
            f"Not an adapter of a linear layer inside this model's blocks: {shown}.",
            where,
            "Is it another model's? If not, merge it with peft: merge_and_unload().",
        )
    return {name: (h["A"], h["B"]) for name, h in halves.items()}


def _low_rank(
    layer: Target, a_RI: Tensor, b_OR: Tensor, settings: Mapping[str, Any], where: str
) -> LowRank:
    rank = int(_pattern(settings, "rank_pattern", layer.theirs, settings.get("r", 8)))
    alpha = float(_pattern(settings, "alpha_pattern", layer.theirs, settings.get("lora_alpha", 8)))
    expected = ((rank, layer.width), (sum(layer.rows), rank))
    found = (tuple(a_RI.shape), tuple(b_OR.shape))
    if found != expected:
        raise AccordError(
            f"The adapter of {layer.theirs} has the shapes {found} instead of {expected}.",
            where,
            "Is it another model's, or adapter_config.json another adapter's?",
        )
    divisor = rank**0.5 if settings.get("use_rslora") else rank
    return LowRank(a_RI, b_OR, alpha, alpha / divisor)


def _pattern(settings: Mapping[str, Any], key: str, name: str, otherwise: Any) -> Any:
    """A layer's own value where a pattern names it, as peft matches them."""
    for pattern, value in (settings.get(key) or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return otherwise


class Merged(Stored):
    """A stored tensor with its adapter's product added, in float32."""

    def __init__(self, stored: Stored, low_rank: LowRank, transposed: bool) -> None:
        self._stored, self._low_rank, self._transposed = stored, low_rank, transposed

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self._stored.shape

    def get(self) -> Tensor:
        """Its values."""
        product = self._low_rank.product()
        return self._stored.get().to(torch.float32) + (product.T if self._transposed else product)


def merged(
    stored: Mapping[str, Stored], adapter: Mapping[str, LowRank], config: ModelConfig
) -> dict[str, Stored]:
    """A model's stored tensors, those with an adapter merged when they are read."""
    return dict(stored) | {
        f"{layer.theirs}.weight": Merged(
            stored[f"{layer.theirs}.weight"], adapter[layer.theirs], layer.transposed
        )
        for layer in linear_layers(config)
        if layer.theirs in adapter
    }
