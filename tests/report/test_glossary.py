"""Plain words for what the report shows."""

from accord.evaluation.scorers import SCORERS
from accord.report.glossary import GLOSSARY, explain


def test_every_scorer_and_statistic_is_explained(document):
    names = [*SCORERS, *document["policies"]["dpo"]["statistics"]]
    assert all(explain(name) for name in names)


def test_held_out_metrics_are_explained_by_their_own_name():
    assert explain("eval_rewards/margins") == (f"On held-out rows: {GLOSSARY['rewards/margins']}")
    assert explain("no_such_metric") == ""
