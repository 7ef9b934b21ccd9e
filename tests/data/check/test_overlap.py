"""Prompts that stand in the data and in the evaluation."""

from accord.data.check.overlap import findings, overlap_with
from accord.data.check.reading import read_source


def pair(prompt, chosen="yes", rejected="no"):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_prompts_in_both_files(write, tmp_path) -> None:
    data = write([pair("One?"), pair("two?"), pair("one? ", "other"), pair("three?")])
    heldout = write([pair("ONE?"), pair("four?"), {**pair("three?"), "chosen": "3"}], "eval.jsonl")
    found = overlap_with(read_source(data, tmp_path).rows, heldout, tmp_path)
    assert (found.rows.count, found.of, found.evaluation, found.of_evaluation) == (3, 4, 2, 3)
    assert found.rows.places[0] == f"{data}:1 asks what {heldout}:1 asks"
    assert found.same_answer == 1
    (finding,) = findings(found)
    assert "3 rows (75.0 %) ask what 2 of 3 rows (66.7 %)" in finding.says


def test_a_system_prompt_hides_nothing(write, tmp_path) -> None:
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "one?"}]
    data = write([{"messages": [*asked, {"role": "assistant", "content": "1"}]}])
    prompts = write([{"prompt": "one?"}, {"prompt": "two?"}], "eval.jsonl")
    found = overlap_with(read_source(data, tmp_path).rows, prompts, tmp_path)
    assert (found.rows.count, found.evaluation) == (1, 1)


def test_rows_without_a_prompt_are_compared_by_what_they_say(write, tmp_path) -> None:
    data = write([{"text": "A warm film."}, {"text": "Dull."}])
    heldout = write([{"chosen": "a warm film.", "rejected": "no"}], "eval.jsonl")
    assert overlap_with(read_source(data, tmp_path).rows, heldout, tmp_path).rows.count == 1


def test_files_apart_give_no_finding(write, tmp_path) -> None:
    rows = read_source(write([pair("one?")]), tmp_path).rows
    assert findings(overlap_with(rows, write([pair("two?")], "eval.jsonl"), tmp_path)) == []
