"""Adapters in stages: started, trained on, merged on reading, and left as a peft folder."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from left import log, make_model, record
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.checkpoint.adapter import scale_of
from accord.checkpoint.folder import load_model, save_model
from accord.config.lora import LoRAConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder
from accord.model.resize import resized
from accord.stages.lora import for_training
from accord.stages.models import open_model
from accord.text.tokenizer import Tokenizer

LORA = {"r": 4, "lora_alpha": 8}
COMMON = {"heldout": {"fraction": 0.2}, "batch_size": 8, "max_length": 128, "lr": 3e-2}
KINDS = {"sft": "chat.jsonl", "preference": "preferences.jsonl"}
FACTORS = "adapter_model.safetensors"


def settings(kind: str, start: Path, **others: Any) -> dict[str, Any]:
    data = [{"source": KINDS[kind], "name": "rows"}]
    return {"kind": kind, "from": str(start), "data": data, "steps": 3, **COMMON, **others}


@pytest.fixture
def adapter_folder(run, model_folder: Path) -> Path:
    """An adapter as an SFT stage leaves it."""
    return run(settings("sft", model_folder, lora=LORA), "sft")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_stage_leaves_a_peft_folder_under_hugging_face_names(
    run, model_folder: Path, kind: str
) -> None:
    out = run(settings(kind, model_folder, lora=LORA))
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert {"adapter_config.json", FACTORS, "tokenizer.json", "tokenizer_config.json"} <= files
    assert not files & {"config.json", "model.safetensors"}
    found = json.loads((out / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(model_folder)
    assert (found["r"], found["lora_alpha"]) == (4, 8)
    kinds = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert found["target_modules"] == kinds
    stored = load_file(out / FACTORS)
    assert len(stored) == 2 * 7 * 2
    # B was zero at first
    assert all(tensor.abs().max() > 1e-3 for tensor in stored.values())
    small = sum(tensor.numel() for tensor in stored.values())
    assert (out / FACTORS).stat().st_size < 4 * small + 5000


def test_what_is_left_is_what_was_trained(run, model_folder: Path, adapter_folder: Path) -> None:
    """The held-out loss that the loop logged is that of the folder, read back."""
    found = record(adapter_folder, "heldout.json")["overall"]
    merged, base = load_model(adapter_folder), load_model(model_folder)
    assert differs(merged, base) > 0.01
    again = run(settings("sft", adapter_folder, lr=1e-9, steps=1), "again")
    assert record(again, "heldout.json")["overall"]["bits_per_byte"] == pytest.approx(
        found["bits_per_byte"], rel=1e-5
    )
    assert log(again)[-1]["eval_loss"] == pytest.approx(
        log(adapter_folder)[-1]["eval_loss"], rel=1e-5
    )


def differs(one: Decoder, other: Decoder) -> float:
    theirs = other.state_dict()
    return max(float((w - theirs[name]).abs().max()) for name, w in one.state_dict().items())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_seed_gives_the_same_bytes(run, model_folder: Path, kind: str) -> None:
    one = run(settings(kind, model_folder, lora=LORA), "one")
    two = run(settings(kind, model_folder, lora=LORA), "two")
    other = run(settings(kind, model_folder, lora=LORA), "other", seed=2)
    assert (one / FACTORS).read_bytes() == (two / FACTORS).read_bytes()
    assert (one / FACTORS).read_bytes() != (other / FACTORS).read_bytes()


@pytest.mark.parametrize("lora", [None, LORA])
def test_the_reference_is_the_starting_adapter_not_its_base(
    run, adapter_folder: Path, model_folder: Path, lora: dict[str, Any] | None
) -> None:
    """At step 0 policy and reference are equal: log 2. Against the base it is far from that."""
    given = settings("preference", adapter_folder, lr=1e-12, steps=1, beta=1.0, lora=lora)
    assert log(run(given, "dpo"))[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    # the same rows, the same policy, another reference: what would be wrong shows
    from accord.stages import preference

    plain = preference.load_model

    def base_instead(folder: Path, *rest: Any) -> Decoder:
        return plain(model_folder if folder == adapter_folder else folder, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preference, "load_model", base_instead)
        wrong = log(run(given, "wrong"))[0]["loss"]
    assert abs(wrong - math.log(2)) > 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_new_adapter_starts_as_its_reference(run, model_folder: Path, precision: str) -> None:
    given = settings("preference", model_folder, lora=LORA, steps=1, precision=precision, beta=1.0)
    assert log(run(given))[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_in_bf16_a_continued_adapter_starts_within_its_rounding(run, adapter_folder: Path) -> None:
    """The reference rounds base plus adapter to bf16, the policy each of them."""
    given = settings("preference", adapter_folder, lora=LORA, steps=1, precision="bf16")
    assert log(run(given, "dpo"))[0]["loss"] == pytest.approx(math.log(2), abs=5e-3)


def test_a_continued_adapter_goes_on_from_its_own_factors(
    run, adapter_folder: Path, model_folder: Path
) -> None:
    still = run(settings("sft", adapter_folder, lora=LORA, lr=1e-12), "still")
    before, after = load_file(adapter_folder / FACTORS), load_file(still / FACTORS)
    for name, factor in before.items():
        torch.testing.assert_close(after[name], factor, rtol=0, atol=1e-9)
    found = json.loads((still / "adapter_config.json").read_text())
    assert found["base_model_name_or_path"] == str(model_folder)
    moved = load_file(run(settings("sft", adapter_folder, lora=LORA), "moved") / FACTORS)
    assert all((moved[name] - factor).abs().max() > 1e-3 for name, factor in before.items())


def test_without_lora_the_merged_weights_are_trained_in_full(run, adapter_folder: Path) -> None:
    out = run(settings("preference", adapter_folder, lr=1e-2))
    files = {path.name for path in out.iterdir() if path.is_file()}
    assert {"config.json", "model.safetensors"} <= files
    assert not files & {"adapter_config.json", FACTORS}
    trained, start = load_model(out).state_dict(), load_model(adapter_folder).state_dict()
    assert all((trained[name] - start[name]).abs().max() > 1e-4 for name in start)


@pytest.mark.parametrize(
    ("lora", "told"),
    [({"r": 8, "lora_alpha": 16}, "it has r 4, the settings 8"), ({"r": 4}, "scaled by 2")],
)
def test_another_rank_or_scale_than_the_starting_adapter_s_is_refused(
    run, adapter_folder: Path, lora: dict[str, Any], told: str
) -> None:
    with pytest.raises(AccordError, match=told):
        run(settings("preference", adapter_folder, lora=lora), "dpo")


def test_for_training_gives_the_model_itself_or_one_that_computes_the_same(
    model_folder: Path, adapter_folder: Path
) -> None:
    model, tokenizer = open_model(model_folder)
    assert for_training(model_folder, model, tokenizer, None, 1) is model
    config = LoRAConfig.model_validate(LORA)
    merged, tokenizer = open_model(adapter_folder)
    expected = merged.layers[0].mlp.down.weight.detach().clone()
    split = for_training(adapter_folder, merged, tokenizer, config, 1)
    base = load_model(model_folder).state_dict()
    down: Any = split.layers[0].mlp.down
    assert torch.equal(down.base_layer.weight, base["layers.0.mlp.down.weight"])
    product = down.lora_B["default"].weight @ down.lora_A["default"].weight * scale_of(config)
    torch.testing.assert_close(down.base_layer.weight + product, expected, rtol=0, atol=1e-6)
    trained = {name for name, p in split.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 7 * 2 and all(".lora_" in name for name in trained)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_new_tokens_are_no_work_for_adapters(
    run, tmp_path: Path, tiny_data: Path, kind: str
) -> None:
    plain = make_model(tmp_path / "start", (tiny_data / "stories.jsonl").read_text().splitlines())
    wanted = settings(kind, plain, lora=LORA, chat_template="llama3")
    with pytest.raises(AccordError, match=r"adds tokens \(.*eot_id.*adapters leave the embedding"):
        run(wanted)
    run({**wanted, "lora": None})


def test_spare_rows_take_a_pad_token_but_no_token_that_is_predicted(
    tmp_path: Path, model_folder: Path
) -> None:
    model, tokenizer = open_model(model_folder)
    roomy = tmp_path / "roomy"
    save_model(resized(model, model.config.vocab_size + 8), roomy, tokenizer)
    config = LoRAConfig.model_validate(LORA)

    def start(wanted: Tokenizer) -> Decoder:
        return for_training(roomy, load_model(roomy), wanted, config, 1)

    start(tokenizer.with_pad("<|padding|>"))
    with pytest.raises(AccordError, match=r"adds tokens \(<\|new\|>\)"):
        start(tokenizer.with_tokens(["<|new|>"]))


def test_a_checkpoint_of_the_stage_holds_no_base(adapter_folder: Path) -> None:
    size = sum(f.stat().st_size for f in (adapter_folder / "accord" / "checkpoints").rglob("*"))
    factors = sum(t.numel() for t in load_file(adapter_folder / FACTORS).values())
    assert 3 * 4 * factors < size < 3 * 4 * factors + 40_000


def test_an_interrupted_stage_goes_on_to_the_same_bytes(
    run, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accord.stages import sft

    given = settings("sft", model_folder, lora=LORA, save_every=1)
    whole, step, calls = run(given, "whole"), sft.language_step, 0

    def dying(model: Any, batch: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return step(model, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sft, "language_step", dying)
        run(given, "part")
    part = run(given, "part")
    assert (part / FACTORS).read_bytes() == (whole / FACTORS).read_bytes()
    assert [line["loss"] for line in log(part)] == [line["loss"] for line in log(whole)]


def test_a_checkpoint_on_another_base_is_refused(run, model_folder: Path, tmp_path: Path) -> None:
    given = settings("sft", model_folder, lora=LORA)
    run(given, "out")
    other = tmp_path / "other"
    tokenizer = Tokenizer.load(model_folder)
    weights: dict[str, Tensor] = load_file(model_folder / "model.safetensors")
    other.mkdir()
    tokenizer.save(other)
    (other / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    save_file(
        {name: weight * 1.01 for name, weight in weights.items()}, other / "model.safetensors"
    )
    with pytest.raises(AccordError, match="made with other settings: fingerprint"):
        run({**given, "from": str(other)}, "out")
