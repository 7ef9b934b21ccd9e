"""What policies wrote: every finding where it belongs, and its absence where it does not."""

import pytest
from planted import comparison, document, named

from accord.evaluation.findings import findings


def test_a_healthy_run_has_no_warning_and_says_so():
    found = findings(document())
    assert {f["severity"] for f in found} == {"info"}
    assert set(named(found)) == {"policy_moved", "chosen_kept", "ends_kept", "diversity_kept"}
    assert all(f["remedy"] == "" for f in found)


def test_sentences_of_comparisons():
    doc = document()
    doc["comparisons"] = [
        comparison("vader", 0.351, 0.284, 0.407),
        comparison("length", -0.1, -0.9, 0.7),
    ]
    found = named(findings(doc))
    assert found["difference"]["sentence"] == (
        "dpo − sft in vader = +0.35 [0.28, 0.41], 256 prompts."
    )
    assert found["not_distinguishable"]["sentence"] == (
        "dpo − sft in length: not distinguishable (−0.10 [−0.90, 0.70], 256 prompts)."
    )
    assert found["difference"]["evidence"]["difference"] == 0.351


@pytest.mark.parametrize(
    ("changes", "name", "severity"),
    [
        ({"ended": 0.72}, "rambling", "warning"),
        ({"length": 30.0}, "longer_completions", "warning"),
        ({"distinct_2": 0.45}, "diversity_fell", "warning"),
        ({"distinct_2": 0.3}, "diversity_fell", "problem"),
        ({"unique": 0.73}, "collapse", "warning"),
        ({"unique": 0.2}, "collapse", "problem"),
        ({"copies": 0.05}, "copies_rose", "warning"),
    ],
)
def test_statistics_that_went_wrong(changes, name, severity):
    assert name not in named(findings(document()))
    finding = named(findings(document(**changes)))[name]
    assert finding["severity"] == severity
    assert finding["remedy"] and "dpo" in finding["sentence"]
    [changed] = changes.values()
    assert changed in finding["evidence"].values()


@pytest.mark.parametrize(
    "changes",
    [{"ended": 0.91}, {"length": 23.0}, {"distinct_2": 0.55}, {"unique": 0.9}, {"copies": 0.02}],
)
def test_small_changes_are_no_finding(changes):
    assert {f["severity"] for f in findings(document(**changes))} == {"info"}


@pytest.mark.parametrize(("prompts", "fell"), [(16, False), (256, True)])
def test_bigrams_of_few_completions_may_differ_by_chance(prompts, fell):
    """.50 and .60 of 16 × 19 bigrams differ by less than 2.6 standard errors, of 256 × 19 not."""
    doc = document(distinct_2=0.50)
    doc["protocol"] |= {"prompts": prompts, "samples_per_prompt": 1}
    assert ("diversity_fell" in named(findings(doc))) is fell


def test_a_reference_without_variety_is_not_the_policys_fault():
    doc = document(unique=0.7)
    doc["policies"]["sft"]["statistics"]["unique"] = 0.7
    assert "collapse" not in named(findings(doc))


@pytest.mark.parametrize(
    ("change", "name", "severity"),
    [
        (-0.03, "fluency_kept", "info"),
        (-0.4, "fluency_fell", "warning"),
        (-0.9, "fluency_fell", "problem"),
        (0.3, "fluency_kept", "info"),
    ],
)
def test_fluency(change, name, severity):
    doc = document()
    doc["comparisons"] = [comparison("fluency", change, change - 0.1, change + 0.1)]
    assert named(findings(doc))[name]["severity"] == severity


@pytest.mark.parametrize(
    ("drawn", "ended", "said"),
    [
        # of 0.95: fall 0.10, beyond 2.6 · √(2 · 0.9 · 0.1 / n) from n = 122 on
        (122, 0.85, True),
        (121, 0.85, False),
        (10_000, 0.91, False),  # sure, and too small to matter
        (10_000, 0.89, True),
        (20, 0.5, True),
    ],
)
def test_a_fall_of_the_ends_must_be_beyond_chance(drawn, ended, said):
    doc = document(ended=ended)
    doc["protocol"] |= {"prompts": drawn, "samples_per_prompt": 1}
    assert ("rambling" in named(findings(doc))) is said
    half = {**doc, "protocol": {**doc["protocol"], "prompts": drawn / 2, "samples_per_prompt": 2}}
    assert ("rambling" in named(findings(half))) is said
