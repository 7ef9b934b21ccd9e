"""Peft folders that are no plain adapter, or whose base is not where it was."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import OURS
from torch import Tensor

from accord.checkpoint.adapter import adapted, save_adapter
from accord.checkpoint.adapter_folder import base_folder, is_adapter, tokenizer_folder
from accord.checkpoint.folder import load_config, load_model, model_fingerprint, save_model
from accord.config.lora import LoRAConfig
from accord.errors import AccordError
from accord.model.decoder import Decoder

LORA = LoRAConfig(r=3)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with `base` and `adapter`."""
    home = tmp_path / "run"
    save_model(Decoder.init(OURS["llama"], 1), home / "base")
    decoder = adapted(load_model(home / "base"), LORA, 5)
    factors = {n: torch.randn_like(p) for n, p in decoder.named_parameters() if p.requires_grad}
    save_adapter(factors, OURS["llama"], LORA, home / "base", home / "adapter")
    return home


def change(folder: Path, **settings: Any) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def change_factors(folder: Path, change: Any) -> Path:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)
    return folder


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save = \['lm_head'\]"),
        ({"trainable_token_indices": [1]}, r"trainable_token_indices = \[1\]"),
        ({"lora_bias": True}, "lora_bias = True"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["w"]}, "target_parameters"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"invented_tomorrow": {"a": 1}}, "invented_tomorrow"),
        ({"peft_type": "IA3"}, "of type IA3; Accord reads LORA"),
    ],
)
def test_more_than_plain_lora_is_refused_by_name(
    run: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(AccordError, match=told) as caught:
        load_model(change(run / "adapter", **settings))
    assert "merge_and_unload" in caught.value.fix


@pytest.mark.parametrize(
    "settings",
    [{"lora_dropout": 0.1}, {"init_lora_weights": "gaussian"}, {"layers_to_transform": [0, 1]}],
)
def test_settings_of_training_do_not_matter(run: Path, settings: dict[str, Any]) -> None:
    before = load_model(run / "adapter").state_dict()
    after = load_model(change(run / "adapter", **settings)).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def _without_a(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in stored.items() if name != FIRST}


def _with_head(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**stored, "base_model.model.lm_head.lora_A.weight": torch.zeros(3, 16)}


def _with_embedding(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**stored, "base_model.model.model.embed_tokens.weight": torch.zeros(19, 16)}


def _other_width(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**stored, FIRST: torch.zeros(3, 8)}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without_a, r"blocks: model\.layers\.0\.self_attn\.q_proj \(no A\)"),
        (_with_head, r"blocks: base_model\.model\.lm_head\.lora_A\.weight"),
        (_with_embedding, r"blocks: base_model\.model\.model\.embed_tokens\.weight"),
        (_other_width, r"q_proj has the shapes \(\(3, 8\), \(16, 3\)\) instead of \(\(3, 16\), "),
    ],
)
def test_factors_that_do_not_fit_are_named(run: Path, spoil: Any, told: str) -> None:
    with pytest.raises(AccordError, match=told):
        load_model(change_factors(run / "adapter", spoil))


def test_a_rank_that_the_factors_do_not_have_is_refused(run: Path) -> None:
    with pytest.raises(
        AccordError, match=r"\(\(3, 24\), \(16, 3\)\) instead of \(\(4, 24\), \(16, 4\)\)"
    ):
        load_model(change(run / "adapter", r=4))


def test_pickled_and_torn_factors_are_refused(run: Path) -> None:
    factors = run / "adapter" / "adapter_model.safetensors"
    whole = factors.read_bytes()
    factors.write_bytes(whole[:-5])
    with pytest.raises(AccordError, match="no whole safetensors file"):
        load_model(run / "adapter")
    factors.rename(run / "adapter" / "adapter_model.bin")
    with pytest.raises(AccordError, match="pickled"):
        load_model(run / "adapter")


def test_whole_model_or_adapter_has_to_be_clear(run: Path) -> None:
    assert is_adapter(run / "adapter") and not is_adapter(run / "base")
    shutil.copy(run / "base" / "model.safetensors", run / "adapter")
    with pytest.raises(AccordError, match=r"a whole model .* and an adapter"):
        load_model(run / "adapter")


def test_a_run_that_was_moved_is_read_where_it_is(run: Path, tmp_path: Path) -> None:
    before = load_model(run / "adapter").state_dict()
    run.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "adapter"
    assert base_folder(moved).resolve() == (tmp_path / "elsewhere" / "base").resolve()
    after = load_model(moved).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["../base", "base"])
def test_a_relative_base_is_looked_for_beside_the_adapter_then_from_here(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run if name == "base" else run.parent)
    change(run / "adapter", base_model_name_or_path=name)
    assert base_folder(run / "adapter").resolve() == (run / "base").resolve()
    assert load_config(run / "adapter") == load_config(run / "base")


def test_a_base_of_the_hub_is_fetched_at_its_revision(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch(name: str, **how: Any) -> str:
        asked.update(how, name=name)
        return str(run / "base")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fetch))
    change(run / "adapter", base_model_name_or_path="owner/model", revision="abc")
    assert base_folder(run / "adapter") == run / "base"
    assert (asked["name"], asked["revision"]) == ("owner/model", "abc")


def test_a_base_in_the_hub_s_cache_is_named_as_the_hub_does(run: Path, tmp_path: Path) -> None:
    cached = tmp_path / "models--owner--model" / "snapshots" / "abc"
    shutil.copytree(run / "base", cached)
    decoder = adapted(load_model(cached), LORA, 5)
    factors = {n: p for n, p in decoder.named_parameters() if p.requires_grad}
    save_adapter(factors, OURS["llama"], LORA, cached, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/model"
    assert settings["revision"] == "abc"


def test_a_base_that_is_gone_or_unnamed_is_said(run: Path) -> None:
    (run / "base").rename(run / "other")
    with pytest.raises(AccordError, match=r"base model '.*base' is not there") as caught:
        load_model(run / "adapter")
    assert "base_model_name_or_path" in caught.value.fix
    with pytest.raises(AccordError, match="names no base model"):
        load_model(change(run / "adapter", base_model_name_or_path=None))


def test_another_base_than_it_was_trained_on_is_refused(run: Path) -> None:
    save_model(Decoder.init(OURS["llama"], 2), run / "base")
    with pytest.raises(AccordError, match="not the one that this adapter was trained on"):
        load_model(run / "adapter")
    # an adapter that does not say is taken at its word
    change_factors(run / "adapter", lambda stored: stored)
    load_model(run / "adapter")


def test_an_adapter_on_an_adapter_is_refused(run: Path) -> None:
    shutil.copytree(run / "adapter", run / "upper")
    change(run / "upper", base_model_name_or_path=str(run / "adapter"))
    with pytest.raises(AccordError, match="is an adapter itself"):
        model_fingerprint(run / "upper")


def test_the_base_s_tokenizer_stands_in_for_a_missing_one(run: Path) -> None:
    assert tokenizer_folder(run / "base") == run / "base"
    assert tokenizer_folder(run / "adapter") == run / "base"
    (run / "adapter" / "tokenizer.json").write_text("{}")
    assert tokenizer_folder(run / "adapter") == run / "adapter"
