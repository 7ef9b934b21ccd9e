"""Each planted fault is named, and a sound judge is cleared."""

from functools import cache

import pytest
from judges import PaddedJudge, TextJudge, constant, goodness, length, pairs

from accord.evaluation.audit.document import Subject, audit
from accord.evaluation.audit.item import Item
from accord.evaluation.audit.shorts import QUESTIONS
from accord.evaluation.audit.text import page, screen


def sound(item: Item) -> float:
    """Knows the facts; else goodness of what is asked for, less for every fault of the answer."""
    prompt = " ".join(message.content for message in item.prompt)
    if prompt in FACTS:
        return float(item.text == FACTS[prompt])
    words, topic = item.text.split(), prompt.split()[-2:]
    if item.text == prompt or len(words) < 2:
        return -10.0
    said_twice = words[: len(words) // 2] == words[len(words) // 2 :]
    fits = 3.0 * all(word in words for word in topic) + 2.0 * (words[:2] == topic)
    return goodness(item) + fits + 0.1 * min(len(words), 14) - 5.0 * said_twice


ODD = {str(number) for number in range(1, 120, 2)}
FACTS = {question: answer for _, question, answer in QUESTIONS}


@cache
def audited(judge, prompts: bool = True, kind=TextJudge, count: int = 120):
    return audit(kind(judge), Subject(pairs(count, prompts)))


def names(document) -> dict[str, str]:
    return {finding["name"]: finding["severity"] for finding in document["verdict"]}


def test_a_length_hacker_is_named():
    found = audited(length)
    assert found["accuracy"]["overall"]["value"] == 0.5
    by = {part["name"]: part["value"] for part in found["accuracy"]["by_longer"]}
    assert by == {"the better answer is the longer": 1.0, "the better answer is the shorter": 0.0}
    tie = found["dependence"]["length"]
    assert tie["part"]["value"] == pytest.approx(1) == tie["within_pairs"]["value"]
    assert tie["raw"]["value"] == pytest.approx(1)
    assert tie["per_100_tokens"] == pytest.approx(100 / found["scores"]["spread"])
    assert names(found)["length_hacker"] == "problem"
    assert names(found)["blind_to_repeated"] == "problem"
    assert names(found)["not_beyond_longer"] == "warning"


def test_a_constant_judge_is_good_for_nothing():
    found = audited(constant)
    assert names(found)["constant"] == "problem" == names(found)["no_better_than_a_coin"]
    assert found["accuracy"]["ties"]["value"] == 1.0
    assert found["dependence"]["length"]["raw"]["value"] is None
    assert found["sensitivity"]["emptied"]["drop"] is None


def test_a_judge_that_padding_moves_is_named():
    found = audited(goodness, True, PaddedJudge)
    batching = found["batching"]
    assert batching["padding"] == pytest.approx(0.05 * 10)  # the longest 18 words, the shortest 8
    assert names(found)["batch_dependent"] == "problem"
    assert "batch_invariant" in names(audited(goodness))


def test_a_judge_blind_to_prompts_is_named():
    found = audited(goodness)
    probes = found["sensitivity"]
    assert (probes["other_prompt"]["value"], probes["other_prompt"]["ties"]) == (0.0, 1.0)
    assert names(found)["blind_to_other_prompt"] == "problem"
    assert names(found)["blind_to_other_answer"] == "problem"
    assert probes["prompt_copied"]["value"] == 1.0


def test_a_judge_blind_to_truncation_is_named():
    # the judging word is the third, so that the first half keeps it
    found = audited(goodness)
    assert found["sensitivity"]["truncated"]["ties"] == 1.0
    assert names(found)["blind_to_truncated"] == "problem"
    assert names(found)["blind_to_shuffled"] == "problem"
    assert audited(length)["sensitivity"]["truncated"]["value"] == 1.0
    assert "blind_to_truncated" not in names(audited(length))


def test_a_sound_judge_is_cleared():
    document = audited(sound)
    found = names(document)
    assert "problem" not in found.values()
    assert {"ranks", "beyond_longer", "notices", "batch_invariant", "knows_short_answers"} <= {
        name for name, severity in found.items() if severity == "info"
    }
    assert "length_hacker" not in found  # a tenth a word is little beside the preference
    notices = next(f for f in document["verdict"] if f["name"] == "notices")
    assert len(notices["evidence"]) == 7
    for name in document["sensitivity"]:
        assert notices["evidence"][f"sensitivity.{name}"]["value"] >= 0.95


def test_texts_without_prompts_are_not_asked_about_prompts():
    found = audited(goodness, False)
    for name in ("other_answer", "other_prompt", "prompt_copied"):
        assert found["sensitivity"][name]["left_out"] == "the model reads no prompts"
    assert "left_out" in found["short_answers"]
    assert names(found)["no_prompts"] == "warning"
    assert "no_prompts" not in names(audited(goodness))


def test_a_model_trained_on_texts_is_not_asked_about_prompts_either():
    found = audit(TextJudge(goodness), Subject(pairs(20), without_prompts=True))
    assert found["pairs"]["with_prompt"] == 20
    assert "left_out" in found["sensitivity"]["other_answer"]


def test_data_in_which_better_is_longer_are_said_to_show_nothing():
    rows = [row for n, row in enumerate(pairs(80)) if n % 2 or n < 4]
    found = names(audit(TextJudge(goodness), Subject(rows)))
    assert found["length_confounded"] == "warning"
    assert "length_blind" not in found
    assert "length_blind" in names(audited(goodness))
    assert "length_confounded" not in names(audited(goodness))


def test_few_prompts_are_said_to_be_few():
    assert names(audited(goodness, True, TextJudge, 20))["few_prompts"] == "warning"
    assert "few_prompts" not in names(audited(goodness))


def test_a_source_on_which_it_fails_is_named():
    def uneven(item: Item) -> float:
        odd = item.text.split()[1:2] and item.text.split()[1] in ODD
        return -goodness(item) if odd else goodness(item)

    found = audit(TextJudge(uneven), Subject(pairs(120)))
    assert [f["name"] for f in found["verdict"]].count("uneven") == 1
    parts = {part["name"]: part["value"] for part in found["accuracy"]["by_source"]}
    assert parts == {"even": 1.0, "odd": 0.0}


def test_every_sentence_names_its_evidence_and_is_on_screen_and_page():
    for judge in (length, goodness, constant, sound):
        found = audited(judge)
        shown, written = " ".join(" ".join(screen(found)).split()), page(found)
        rows = written.partition("## Reliability")[2].splitlines()[4:]
        assert len(rows) == len(found["calibration"]["table"])
        for finding in found["verdict"]:
            assert finding["evidence"] and finding["sentence"].endswith(".")
            assert " ".join(finding["sentence"].split()) in shown
            assert finding["sentence"] in written
            assert finding["remedy"] or finding["severity"] == "info"
    assert len(screen(audited(sound))) < 70


def test_the_same_judge_gives_the_same_document():
    assert audit(TextJudge(sound), Subject(pairs(30))) == audit(
        TextJudge(sound), Subject(pairs(30))
    )
