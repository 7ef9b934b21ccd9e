"""Ranks, hub names and the threads that torch is given."""

import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from accord.errors import AccordError
from accord.pipeline import execute
from accord.pipeline.run import run


@pytest.mark.slow
def test_training_runs_on_every_rank_and_the_rest_on_one(setting, recipe, calls, home):
    run(recipe(), stage="base", setting=replace(setting, ranks=2))
    assert calls() == ["tokenizer", "base", "base"]
    assert (home / "runs/toy/base/accord/stage.json").read_text().count('"ranks": 2') == 1


def test_ranks_are_started_once(setting, recipe, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(AccordError, match="torchrun has started the ranks"):
        run(recipe(), setting=replace(setting, ranks=2))


def test_later_ranks_are_silent(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert not execute.first_console().quiet
    monkeypatch.setenv("RANK", "1")
    assert execute.first_console().quiet


def test_a_hub_model_is_fetched_without_pickles_or_code(monkeypatch, tmp_path):
    asked = {}

    def fetch(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fetch))
    assert execute.local_folder("hub:a/b") == tmp_path
    assert asked["name"] == "a/b"
    assert not [p for p in asked["patterns"] if p.endswith((".bin", ".pt", ".py", "*"))]


def test_a_hub_that_does_not_answer_is_a_plain_error(monkeypatch):
    def fetch(name, allow_patterns):
        raise OSError("no route\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fetch))
    with pytest.raises(AccordError, match="could not be fetched: no route"):
        execute.local_folder("hub:a/b")


def test_torch_gets_a_share_of_the_cores_unless_told_otherwise(monkeypatch):
    given = []
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=given.append))
    monkeypatch.setattr(execute.machine, "usable_cores", lambda: 3)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    execute.machine_threads()
    assert given == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    execute.machine_threads()
    monkeypatch.setenv("WORLD_SIZE", "2")
    execute.machine_threads()
    monkeypatch.setenv("WORLD_SIZE", "8")
    execute.machine_threads()
    assert given == [3, 1, 1]
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
