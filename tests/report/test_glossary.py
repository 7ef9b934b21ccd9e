"""Plain words for what the report shows."""

from accord.evaluation.scorers import SCORERS
from accord.report.glossary import GLOSSARY, explain


def test_every_scorer_and_statistic_is_explained(document):
    names = [*SCORERS, *document["policies"]["dpo"]["statistics"]]
    assert all(explain(name) for name in names)


def test_held_out_metrics_are_explained_by_their_own_name():
    assert explain("eval_rewards/margins") == (f"On held-out rows: {GLOSSARY['rewards/margins']}")
    assert explain("no_such_metric") == ""


def test_every_metric_of_every_stage_is_explained(whole):
    metrics = {metric for found in whole["curves"].values() for metric in found}
    assert len(metrics) > 30
    assert [metric for metric in metrics if not explain(metric)] == []


def test_labels_of_rewards_and_judges_are_free():
    assert "judge" in explain("judges/python:own:taste/mean")
    assert "term of the reward" in explain("rewards/rm/mean")
    assert explain("rewards/margins") == GLOSSARY["rewards/margins"]
