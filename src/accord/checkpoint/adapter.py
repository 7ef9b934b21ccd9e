"""Low-rank adapters in a decoder (arXiv 2106.09685), and the peft folder they are saved as.

The layers are peft's (the extra `lora`); the names in the folder are Hugging Face's.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from accord.checkpoint.adapter_folder import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE_MARK,
    PREFIX,
    LowRank,
)
from accord.checkpoint.adapter_names import Target, chosen, linear_layers
from accord.checkpoint.folder import model_fingerprint, write_texts, written_aside
from accord.checkpoint.weights import write_json
from accord.config.lora import LoRAConfig
from accord.config.model import ModelConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder

if TYPE_CHECKING:
    from accord.text.tokenizer import Tokenizer

LAYERS, A, B = "layers.", "lora_A.default.weight", "lora_B.default.weight"


def adapted(decoder: Decoder, config: LoRAConfig, seed: int) -> Decoder:
    """The decoder with adapters in its linear layers, and nothing else in it trained.

    B is zero, so that it computes what it did; A is uniform in ±1/sqrt(width), from the seed alone
    (peft's start). The decoder is changed in place.

    Args:
        decoder: On the CPU.
        config: Rank, scale and target modules.
        seed: Of the A matrices.

    Raises:
        AccordError: peft is missing, or a target module is none of the model's.
    """
    targets = chosen(linear_layers(decoder.config), config.target_modules)
    decoder.requires_grad_(False)
    _inject(decoder, config, targets)
    generator = torch.Generator().manual_seed(seed)
    for target in targets:
        bound = 1 / math.sqrt(target.width)
        a_RI = torch.empty(config.r, target.width).uniform_(-bound, bound, generator=generator)
        _place(decoder, target, a_RI, torch.zeros(sum(target.rows), config.r))
    return decoder


def _inject(decoder: Decoder, config: LoRAConfig, targets: list[Target]) -> None:
    """Put peft's layers around the targets; their factors are yet to be filled."""
    try:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise AccordError(
            "LoRA needs the library peft, which is not installed.",
            "lora",
            "pip install 'accord[lora]'",
        ) from error
    names = [name.removeprefix(LAYERS) for target in targets for name in target.ours]
    settings = LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,  # pyright: ignore[reportArgumentType]  (any number)
        use_rslora=config.use_rslora,
        target_modules=names,
    )
    # on the meta device: peft would draw A from torch's global generator
    inject_adapter_in_model(settings, decoder.layers, low_cpu_mem_usage=True)
    decoder.layers.train(decoder.training)


def _place(decoder: Decoder, target: Target, a_RI: Tensor, b_OR: Tensor) -> None:
    """Set a target's factors: ours share one A, and each has its rows of B."""
    modules: list[Any] = [decoder.get_submodule(name) for name in target.ours]
    for module, rows_oR in zip(modules, b_OR.split(target.rows), strict=True):
        module.lora_A = modules[0].lora_A
        module.lora_B["default"].weight = torch.nn.Parameter(rows_oR.float().clone())
    modules[0].lora_A["default"].weight = torch.nn.Parameter(a_RI.float().clone())


def take_over(
    decoder: Decoder, config: LoRAConfig, adapter: Mapping[str, LowRank], where: Path
) -> None:
    """Give a decoder's adapters the factors of a saved one, which is then trained on.

    Raises:
        AccordError: The saved adapter has another rank, scale or other layers than the settings.
    """
    targets = chosen(linear_layers(decoder.config), config.target_modules)
    _check_same(config, targets, adapter, where)
    for target in targets:
        _place(decoder, target, adapter[target.theirs].a_RI, adapter[target.theirs].b_OR)


def _check_same(
    config: LoRAConfig, targets: list[Target], adapter: Mapping[str, LowRank], where: Path
) -> None:
    ranks = sorted({factors.rank for factors in adapter.values()})
    scales = sorted({factors.scale for factors in adapter.values()})
    mine, theirs = {target.theirs for target in targets}, set(adapter)
    told: list[str] = []
    if ranks != [config.r]:
        told.append(f"it has r {_listed(ranks)}, the settings {config.r}")
    if not all(math.isclose(scale, scale_of(config), rel_tol=1e-9) for scale in scales):
        told.append(f"it is scaled by {_listed(scales)}, the settings' by {scale_of(config):g}")
    told += [f"it has none on {name}" for name in sorted(mine - theirs)[:1]]
    told += [f"it has one on {name}, the settings none" for name in sorted(theirs - mine)[:1]]
    if told:
        kinds = sorted({name.rpartition(".")[2] for name in theirs})
        alphas = sorted({factors.alpha for factors in adapter.values()})
        raise AccordError(
            f"The starting model's adapter cannot be trained on as set: {'; '.join(told)}.",
            str(where),
            f"Set r: {_listed(ranks)}, lora_alpha: {_listed(alphas)}, target_modules: "
            f"[{', '.join(kinds)}]; or for another adapter merge this one first: accord merge.",
        )


def _listed(numbers: list[Any]) -> str:
    return " and ".join(f"{number:g}" for number in numbers) or "none"


def scale_of(config: LoRAConfig) -> float:
    """What B A is multiplied by: lora_alpha / r, or lora_alpha / sqrt(r) (arXiv 2312.03732)."""
    return config.lora_alpha / (math.sqrt(config.r) if config.use_rslora else config.r)


def save_adapter(
    weights: Mapping[str, Tensor],
    shape: ModelConfig,
    config: LoRAConfig,
    base: Path,
    folder: str | Path,
    tokenizer: "Tokenizer | None" = None,
    card: str | None = None,
) -> None:
    """Write adapters as a peft folder; the same adapters on the same base give the same factors.

    Args:
        weights: The factors by the adapted decoder's names.
        shape: Of the decoder.
        config: As the adapters were made.
        base: Folder of the whole model beneath.
        folder: Where to; other files in it are left alone.
        tokenizer: Its files are written too.
        card: Text of README.md.
    """
    targets = chosen(linear_layers(shape), config.target_modules)
    factors = {
        f"{PREFIX}{target.theirs}.lora_{half}.weight": tensor.detach().cpu().contiguous()
        for target in targets
        for half, tensor in _factors(weights, target).items()
    }
    # one entry only: safetensors writes several in any order
    header = {BASE_MARK: model_fingerprint(base)}
    with written_aside(Path(folder)) as aside:
        save_file(factors, aside / ADAPTER_WEIGHTS, metadata=header)
        write_texts(aside, tokenizer, shape.max_position_embeddings, card)
        write_json(aside / ADAPTER_CONFIG, _settings(config, targets, base))


def _factors(weights: Mapping[str, Tensor], target: Target) -> dict[str, Tensor]:
    return {
        "A": weights[f"{target.ours[0]}.{A}"],
        "B": torch.cat([weights[f"{name}.{B}"] for name in target.ours]),
    }


def _settings(config: LoRAConfig, targets: list[Target], base: Path) -> dict[str, Any]:
    """The content of adapter_config.json."""
    alpha = config.lora_alpha
    every = isinstance(config.target_modules, str)
    kinds = sorted({target.kind for target in targets}) if every else list(config.target_modules)
    name, revision = _base_name(base)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "revision": revision,
        "r": config.r,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "use_rslora": config.use_rslora,
        "target_modules": kinds,
        "fan_in_fan_out": targets[0].transposed,
        "lora_dropout": 0.0,
        "bias": "none",
        "modules_to_save": None,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _base_name(base: Path) -> tuple[str, str | None]:
    """A base as peft names it: its folder, or owner/name and revision where the hub's cache has it.

    The folder is absolute, since other libraries look for it from wherever they are started.
    """
    place = base.expanduser().absolute()
    cached = place.parent.parent.name.split("--")
    if place.parent.name == "snapshots" and cached[0] == "models" and len(cached) > 1:
        return "/".join(cached[1:]), place.name
    return str(place), None
