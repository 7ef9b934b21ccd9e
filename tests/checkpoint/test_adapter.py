"""Adapters in our decoder, in peft's folders, and in transformers with peft: one model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import OURS, theirs
from torch import Tensor

from accord.checkpoint.adapter import adapted, save_adapter, scale_of, take_over
from accord.checkpoint.adapter_folder import read_adapter
from accord.checkpoint.folder import load_config, load_model, model_fingerprint, save_model
from accord.config.lora import LoRAConfig
from accord.data.packing import Example, Response, collate
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.plan import Plan

IDS = (3, 7, 1, 12, 5, 0, 18, 9)
SHAPES = sorted(OURS)
# peft asks transformers in its old words
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
NAMES = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "mlp.c_proj"]}


def logits(decoder: Decoder) -> Tensor:
    batch = collate([Example(IDS[:1], (Response(IDS[1:], (True,) * 7),), "row")])
    with torch.no_grad():
        hidden_ND = decoder(batch.ids_N, batch.position_N, Plan.of(batch.layout))
        return decoder.logits(hidden_ND)


def their_logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([IDS[:-1]])).logits[0]


def trained(decoder: Decoder, seed: int = 9) -> dict[str, Tensor]:
    """The adapters' factors, B no longer zero, as a training run would leave them."""
    generator = torch.Generator().manual_seed(seed)
    factors = {n: p for n, p in decoder.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for factor in factors.values():
            factor.add_(torch.randn(factor.shape, generator=generator) * 0.3)
    return {name: factor.detach().clone() for name, factor in factors.items()}


def start(folder: Path, name: str, dtype: torch.dtype | None = None) -> Decoder:
    decoder = Decoder.init(OURS[name], 1)
    save_model(decoder, folder, dtype=dtype)
    return decoder


@pytest.mark.parametrize("name", SHAPES)
def test_new_adapters_leave_the_model_as_it_is_to_the_bit(name: str) -> None:
    plain, with_lora = Decoder.init(OURS[name], 1), Decoder.init(OURS[name], 1)
    before = torch.get_rng_state()
    adapted(with_lora, LoRAConfig(r=3), 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(logits(with_lora), logits(plain))
    trained(with_lora)
    assert (logits(with_lora) - logits(plain)).abs().max() > 0.1


def test_the_first_factor_is_drawn_from_the_seed_alone() -> None:
    def factors(seed: int) -> dict[str, Tensor]:
        decoder = adapted(Decoder.init(OURS["llama"], 1), LoRAConfig(r=64), seed)
        return {n: p.detach() for n, p in decoder.named_parameters() if p.requires_grad}

    one = factors(1)
    torch.manual_seed(77)
    same, other = factors(1), factors(2)
    for name, factor in one.items():
        assert torch.equal(factor, same[name])
        if "lora_B" in name:
            assert not factor.any()
            continue
        assert not torch.equal(factor, other[name])
        bound = factor.shape[1] ** -0.5  # uniform: variance bound²/3
        assert factor.abs().max() <= bound
        assert float(factor.square().mean()) == pytest.approx(bound**2 / 3, rel=0.15)


@pytest.mark.parametrize("name", SHAPES)
def test_only_adapters_are_trained(name: str) -> None:
    decoder = adapted(Decoder.init(OURS[name], 1), LoRAConfig(r=2), 5)
    names = {n for n, p in decoder.named_parameters() if p.requires_grad}
    assert {n.rpartition(".lora_")[2] for n in names} == {"A.default.weight", "B.default.weight"}
    linear = 7 if name.startswith("llama") else 6
    # GPT-2's query, key and value are one layer of theirs: one A, three B
    assert sum("lora_A" in n for n in names) == 2 * (linear if linear == 7 else 4)
    assert sum("lora_B" in n for n in names) == 2 * linear


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_target_modules_are_named_as_in_hugging_face(name: str) -> None:
    config = LoRAConfig(r=2, target_modules=tuple(NAMES[name]))
    decoder = adapted(Decoder.init(OURS[name], 1), config, 5)
    found = {n.partition(".lora_B")[0] for n, _ in decoder.named_parameters() if "lora_B" in n}
    inside = {
        "llama": {"attention.query", "mlp.down"},
        "gpt2": {"attention.query", "attention.key", "attention.value", "mlp.down"},
    }[name]
    assert found == {f"layers.{i}.{part}" for i in range(2) for part in inside}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (("q_prj",), "did you mean 'q_proj'"),
        (("lm_head",), "no linear layer inside the model's blocks"),
        (("embed_tokens",), "no linear layer inside the model's blocks"),
        (("input_layernorm",), "no linear layer inside the model's blocks"),
        ((), "names no layer"),
    ],
)
def test_a_target_that_is_none_is_refused(wanted: tuple[str, ...], told: str) -> None:
    with pytest.raises(AccordError, match=told):
        adapted(Decoder.init(OURS["llama"], 1), LoRAConfig(target_modules=wanted), 5)


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(AccordError, match=r"pip install 'accord\[lora\]'"):
        adapted(Decoder.init(OURS["llama"], 1), LoRAConfig(), 5)


CONFIGS = {
    "all": LoRAConfig(r=3, lora_alpha=7),
    "rslora": LoRAConfig(r=5, lora_alpha=2.5, use_rslora=True),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("settings", sorted(CONFIGS))
def test_transformers_with_peft_computes_the_saved_adapter(
    tmp_path: Path, name: str, settings: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = CONFIGS[settings]
    decoder = adapted(start(tmp_path / "base", name), config, 5)
    save_adapter(trained(decoder), OURS[name], config, tmp_path / "base", tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = their_logits(base.eval())
    model = PeftModel.from_pretrained(base, str(tmp_path / "out")).eval()
    ours = logits(decoder)
    assert (their_logits(model) - ours).abs().max() < 1e-5 * ours.abs().max()
    assert (plain - ours).abs().max() > 0.1
    assert (logits(load_model(tmp_path / "out")) - ours).abs().max() < 1e-5 * ours.abs().max()
    # the base is found from wherever transformers is started
    straight = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert (their_logits(straight) - ours).abs().max() < 1e-5 * ours.abs().max()


@pytest.mark.peer
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_of_peft_is_read_and_trained_on(tmp_path: Path, name: str, rslora: bool) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoRAConfig(r=4, lora_alpha=6, use_rslora=rslora, target_modules=tuple(targets(name)))
    model = peft_saved(
        tmp_path,
        name,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=4,
            lora_alpha=6,
            use_rslora=rslora,
            target_modules=targets(name),
            fan_in_fan_out=name.startswith("gpt2"),
        ),
        get_peft_model,
    )
    expected = their_logits(model)
    largest = expected.abs().max()
    merged = load_model(tmp_path / "adapter")
    assert (logits(merged) - expected).abs().max() < 1e-5 * largest
    base = adapted(load_model(tmp_path / "base"), config, 5)
    assert (logits(base) - expected).abs().max() > 0.1
    saved = read_adapter(tmp_path / "adapter", base.config)
    take_over(base, config, saved, tmp_path / "adapter")
    assert (logits(base) - expected).abs().max() < 1e-5 * largest


def targets(name: str) -> list[str]:
    return ["c_attn", "c_fc"] if name.startswith("gpt2") else ["q_proj", "v_proj", "up_proj"]


def peft_saved(folder: Path, name: str, config: Any, get_peft_model: Any) -> Any:
    """A model of transformers under peft with random factors, base and adapter saved by them."""
    base = theirs(name)
    base.save_pretrained(folder / "base")
    base.name_or_path = str(folder / "base")
    torch.manual_seed(11)
    model = get_peft_model(base, config).eval()
    for parameter_name, parameter in model.named_parameters():
        if "lora_" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "adapter")
    return model


@pytest.mark.peer
def test_ranks_and_alphas_by_layer_are_read(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"v_proj": 2, r"layers.1.mlp.up_proj": 3},
        alpha_pattern={"q_proj": 9},
    )
    model = peft_saved(tmp_path, "llama", config, get_peft_model)
    expected = their_logits(model)
    ours = logits(load_model(tmp_path / "adapter"))
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_the_folder_is_peft_s(tmp_path: Path) -> None:
    config = LoRAConfig(r=3, lora_alpha=7, target_modules=("c_attn",))
    decoder = adapted(start(tmp_path / "base", "gpt2"), config, 5)
    save_adapter(trained(decoder), OURS["gpt2"], config, tmp_path / "base", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    expected = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(tmp_path / "base"),
        "r": 3,
        "lora_alpha": 7,
        "use_rslora": False,
        "target_modules": ["c_attn"],
        "fan_in_fan_out": True,
        "bias": "none",
        "modules_to_save": None,
    }
    assert expected.items() <= settings.items()
    stored = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        f"base_model.model.transformer.h.{i}.attn.c_attn.lora_{half}.weight": shape
        for i in range(2)
        for half, shape in {"A": (3, 16), "B": (48, 3)}.items()
    }


def test_the_same_adapter_is_the_same_bytes(tmp_path: Path) -> None:
    config = LoRAConfig(r=3)
    decoder = adapted(start(tmp_path / "base", "llama"), config, 5)
    factors = trained(decoder)
    for out in ("one", "two"):
        save_adapter(factors, OURS["llama"], config, tmp_path / "base", tmp_path / out)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_reading_adds_in_float32_and_then_casts(
    tmp_path: Path, name: str, stored: torch.dtype
) -> None:
    config = LoRAConfig(r=3, lora_alpha=1.5)
    start(tmp_path / "base", name, stored)
    base = load_model(tmp_path / "base", torch.float32)
    factors = trained(adapted(base, config, 5))
    save_adapter(factors, OURS[name], config, tmp_path / "base", tmp_path / "out")
    merged = load_model(tmp_path / "out")
    assert load_config(tmp_path / "out") == load_config(tmp_path / "base") == merged.config
    plain = load_model(tmp_path / "base", torch.float32).state_dict()
    expected = by_hand(plain, factors, scale_of(config))
    assert expected.keys() == merged.state_dict().keys()
    for weight_name, weight in merged.state_dict().items():
        assert weight.dtype is stored
        assert torch.equal(weight, expected[weight_name].to(stored)), weight_name


def by_hand(
    plain: Mapping[str, Tensor], factors: Mapping[str, Tensor], scale: float
) -> dict[str, Tensor]:
    """W + scale * B A of each adapted matrix; GPT-2's key and value share the query's A."""
    found = dict(plain)
    for name, b_oR in factors.items():
        module, found_it, _ = name.partition(".lora_B")
        if found_it:
            own = f"{module}.lora_A.default.weight"
            first = own.replace(".key.", ".query.").replace(".value.", ".query.")
            a_RI = factors[own if own in factors else first]
            found[f"{module}.weight"] = plain[f"{module}.weight"] + b_oR @ a_RI * scale
    return found


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"r": 4}, r"it has r 3, the settings 4"),
        ({"r": 3, "lora_alpha": 8}, r"it is scaled by 2, the settings' by 2\.66667"),
        ({"r": 3, "target_modules": ("q_proj",)}, r"it has one on .*, the settings none"),
    ],
)
def test_another_adapter_is_not_trained_on(
    tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    config = LoRAConfig(r=3, lora_alpha=6)
    decoder = adapted(start(tmp_path / "base", "llama"), config, 5)
    save_adapter(trained(decoder), OURS["llama"], config, tmp_path / "base", tmp_path / "out")
    wanted = LoRAConfig.model_validate({"lora_alpha": 6, **settings})
    other = adapted(load_model(tmp_path / "base"), wanted, 5)
    with pytest.raises(AccordError, match=told) as caught:
        take_over(other, wanted, read_adapter(tmp_path / "out", OURS["llama"]), tmp_path / "out")
    assert "Set r: 3, lora_alpha: 6, target_modules: [down_proj, gate_proj" in str(caught.value)


def test_the_fingerprint_covers_base_and_adapter_and_not_where_they_lie(tmp_path: Path) -> None:
    config = LoRAConfig(r=3)
    decoder = adapted(start(tmp_path / "run" / "base", "llama"), config, 5)
    factors, base = trained(decoder), tmp_path / "run" / "base"
    save_adapter(factors, OURS["llama"], config, base, tmp_path / "run" / "one")
    mark = model_fingerprint(tmp_path / "run" / "one")
    assert mark != model_fingerprint(base)
    other = {name: factor * 1.0001 for name, factor in factors.items()}
    save_adapter(other, OURS["llama"], config, base, tmp_path / "run" / "two")
    assert model_fingerprint(tmp_path / "run" / "two") != mark
    doubled = LoRAConfig(r=3, lora_alpha=64)
    save_adapter(factors, OURS["llama"], doubled, base, tmp_path / "run" / "three")
    assert model_fingerprint(tmp_path / "run" / "three") != mark
    (tmp_path / "run").rename(tmp_path / "moved")
    assert model_fingerprint(tmp_path / "moved" / "one") == mark


def test_a_whole_model_written_over_an_adapter_replaces_it_and_back(tmp_path: Path) -> None:
    config, out = LoRAConfig(r=3), tmp_path / "out"
    plain = start(out, "llama")
    adapted(start(tmp_path / "base", "llama"), config, 5)
    decoder = adapted(load_model(tmp_path / "base"), config, 5)
    save_adapter(trained(decoder), OURS["llama"], config, tmp_path / "base", out)
    ours = logits(decoder)
    assert (logits(load_model(out)) - ours).abs().max() < 1e-5 * ours.abs().max()
    save_model(plain, out)
    assert torch.equal(logits(load_model(out)), logits(plain))
    assert not (out / "adapter_model.safetensors").exists()


def test_the_header_names_the_base_by_its_content(tmp_path: Path) -> None:
    config = LoRAConfig(r=3)
    decoder = adapted(start(tmp_path / "base", "llama"), config, 5)
    save_adapter(trained(decoder), OURS["llama"], config, tmp_path / "base", tmp_path / "out")
    with safe_open(tmp_path / "out" / "adapter_model.safetensors", framework="pt") as file:
        found = file.metadata()
    assert found == {"base_fingerprint": model_fingerprint(tmp_path / "base")}
