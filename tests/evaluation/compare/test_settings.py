"""What differs between two runs, and what it reaches."""

from accord.evaluation.compare.settings import circumstances, differences, seeds, settings_of
from accord.evaluation.compare.side import Side, pair, spread


def test_each_setting_that_differs_says_what_it_reaches(run):
    a, b = run(), run(dpo__beta=1.0, eval__sampling__temperature=0.3, eval__shown=9)
    rows = {row["key"]: row for row in differences(settings_of(a, b), ["sft", "dpo"])}
    assert set(rows) == {"beta", "sampling.temperature", "shown"}
    assert rows["beta"]["reaches"] == ["training"]
    assert rows["beta"]["policies"] == ["dpo"]
    assert (rows["beta"]["a"], rows["beta"]["b"]) == (0.1, 1.0)
    assert rows["sampling.temperature"]["reaches"] == ["evaluation"]
    assert rows["shown"]["reaches"] == []


def test_a_setting_upstream_reaches_every_policy_made_from_it(run):
    rows = differences(settings_of(run(), run(sft__lr=0.2)), ["sft", "dpo"])
    assert [row["policies"] for row in rows] == [["sft", "dpo"]]


def test_the_settings_of_a_reward_model_reach_training_and_judging(run):
    (row,) = differences(settings_of(run(), run(rm__lr=0.2)), ["sft", "dpo"])
    whole = settings_of(run(), run(rm__lr=0.2))
    assert row["policies"] == []  # no policy is trained on it here
    assert "stages.rm.lr" in whole.contrast("dpo", "learned").evaluation
    assert not whole.contrast("dpo", "vader").keys


def test_lists_of_parts_go_by_their_names():
    sources = [{"name": "b", "source": "x"}, {"name": "a", "source": "y"}]
    assert spread({"data": sources, "betas": (1, 2)}, "s.") == {
        "s.data.b.source": "x",
        "s.data.a.source": "y",
        "s.betas": [1, 2],
    }
    assert spread({"reward": [{"model": "rm"}, {"model": "rm"}]}, "") == {
        "reward.0.model": "rm",
        "reward.1.model": "rm",
    }


def test_a_stage_that_one_run_has_is_named_once(run):
    b = run()
    b.document["stages"]["extra"] = {"kind": "sft", "config": {"kind": "sft", "lr": 1, "wd": 2}}
    settings = settings_of(run(), b)
    assert settings.only == {"extra": "B"}
    assert differences(settings, ["dpo"]) == []
    assert settings_of(b, run()).only == {"extra": "A"}


def test_files_count_where_both_runs_know_their_content(run):
    def read(mark: str) -> dict:
        return {"sft": {"data": {"x.jsonl": mark * 20}}}

    one, other = Side("a", run().document, read("1")), Side("b", run().document, read("2"))
    (row,) = differences(settings_of(one, other), ["dpo"])
    assert row["key"] == "files.x.jsonl"
    assert row["reaches"] == ["training"]
    assert differences(settings_of(one, run()), ["dpo"]) == []


def test_seeds_and_circumstances(run):
    a, b = run(), run(seed=2)
    assert seeds(a, a) == []
    (row,) = seeds(a, b)
    assert (row["a"], row["b"], row["stages"][:2]) == (1, 2, ["tokenizer", "sft"])
    b.document["environment"]["versions"]["torch"] = "2.14"
    assert circumstances(a, b) == [{"what": "torch", "a": "2.13", "b": "2.14"}]


def test_a_figure_that_one_run_lacks_has_no_difference():
    assert pair(1.0, 3.5)["difference"] == 2.5
    assert pair(None, 3.5)["difference"] is None
    assert pair(0.0, 0.0)["difference"] == 0.0


def test_a_model_that_was_only_evaluated_is_not_of_the_evaluations_seed(run):
    side = run()
    side.document["recipe"] = {"seed": 1, "stages": {"eval": {}}}
    assert side.seeds == {"eval": 1}
    known = Side("a", side.document, {"sft": {"seed": 4}})
    assert known.seeds == {"sft": 4, "eval": 1}
