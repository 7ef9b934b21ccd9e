"""Loading: what stages get, and an account in which every row that was read appears."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import ASKED, BAD, DUPLICATE, IN_TRAINING, load_rows, weights_of
from accord.data.rows import ChatRow
from accord.data.split import content_key, prompt_key
from accord.errors import AccordError
from accord.text.messages import Message

NONE = HeldoutConfig(fraction=0)
TENTH = HeldoutConfig(fraction=0.1)
HALF = HeldoutConfig(fraction=0.5)


def write(folder: Path, name: str, rows) -> None:
    text = "".join(json.dumps(row) + "\n" if isinstance(row, dict) else row for row in rows)
    (folder / name).write_text(text, encoding="utf-8")


def load(folder: Path, *sources, heldout=NONE, kind="text", seed=1, rejects=None):
    account = Account()
    configs = [s if isinstance(s, SourceConfig) else SourceConfig(source=s) for s in sources]
    loaded = load_rows(configs, heldout, kind, seed, account, folder / "c", folder, rejects)
    return loaded, account.to_json()


def texts(count, start=0):
    return [{"text": f"text number {n}"} for n in range(start, start + count)]


def test_sources_follow_each_other_and_each_has_its_account(tmp_path) -> None:
    write(tmp_path, "a.jsonl", texts(3))
    write(tmp_path, "b.jsonl", texts(3, start=2))
    loaded, account = load(tmp_path, "a.jsonl", SourceConfig(source="b.jsonl", name="b"))
    assert [row.where for row in loaded.train] == [
        *(f"a.jsonl:{n}" for n in (1, 2, 3)),
        *(f"b.jsonl:{n}" for n in (2, 3)),
    ]
    assert account == {
        "a.jsonl": {"kept": 3, "dropped": {}, "truncated": {}},
        "b": {"kept": 2, "dropped": {DUPLICATE: 1}, "truncated": {}},
    }


def test_the_same_rows_are_held_out_of_every_stage(tmp_path) -> None:
    write(tmp_path, "a.jsonl", texts(200))
    text = load(tmp_path, "a.jsonl", heldout=TENTH)[0]
    for kind in ("chat", "prompt"):
        other = load(tmp_path, "a.jsonl", heldout=TENTH, kind=kind)[0]
        assert [row.where for row in other.heldout] == [row.where for row in text.heldout]
    assert 5 < len(text.heldout) < 40


def test_prompts_are_held_out_with_their_answers(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [{"prompt": f"q {n}", "completion": f"a {n}"} for n in range(100)])
    chats = load(tmp_path, "a.jsonl", heldout=HALF, kind="chat")[0]
    prompts = load(tmp_path, "a.jsonl", heldout=HALF, kind="prompt")[0]
    assert [row.where for row in prompts.heldout] == [row.where for row in chats.heldout]
    asked = {prompt_key(row) for row in prompts.heldout}
    assert asked and asked.isdisjoint(map(prompt_key, chats.train))


def test_rows_with_an_evaluation_prompt_are_held_out_and_counted(tmp_path) -> None:
    rows = [{"instruction": f"q {n}", "input": "", "output": f"a {n}"} for n in range(20)]
    write(tmp_path, "a.jsonl", [*rows, {"instruction": "Q  7", "input": "x", "output": "b"}])
    asked = HeldoutConfig(fraction=0, prompts=("q 3", " Q 7", "q 99"))
    for kind in ("chat", "prompt"):
        loaded, account = load(tmp_path, "a.jsonl", heldout=asked, kind=kind)
        assert [row.where for row in loaded.heldout] == ["a.jsonl:4", "a.jsonl:8"]
        assert account["a.jsonl"]["kept"] == 21
        assert account["a.jsonl"]["notes"][ASKED] == 2


def test_groups_stay_together_and_repeats_across_them_are_dropped(tmp_path) -> None:
    rows = [{"text": f"text {n % 30}" + " " * (n // 30), "review": n} for n in range(90)]
    write(tmp_path, "a.jsonl", rows)
    source = SourceConfig(source="a.jsonl", group="review")
    loaded, account = load(tmp_path, source, heldout=HALF)
    assert not {*map(content_key, loaded.train)} & {*map(content_key, loaded.heldout)}
    dropped = account["a.jsonl"]["dropped"][IN_TRAINING]
    assert dropped > 0
    assert len(loaded.train) + len(loaded.heldout) + dropped == 90


def test_fraction_is_a_share_not_a_count_and_moves_with_the_seed_only(tmp_path) -> None:
    rows = texts(105)
    write(tmp_path, "a.jsonl", rows)
    write(tmp_path, "b.jsonl", rows[::-1])
    tenth = SourceConfig(source="a.jsonl", fraction=0.1)
    loaded, account = load(tmp_path, tenth)
    assert len(loaded.train) == 10
    assert account["a.jsonl"] == {
        "kept": 10,
        "dropped": {"not drawn (fraction)": 95},
        "truncated": {},
    }
    assert len(load(tmp_path, SourceConfig(source="a.jsonl", fraction=1))[0].train) == 105
    turned = load(tmp_path, SourceConfig(source="b.jsonl", fraction=0.1))[0]
    assert {r.text for r in turned.train} == {r.text for r in loaded.train}
    assert {r.text for r in load(tmp_path, tenth, seed=2)[0].train} != {
        r.text for r in loaded.train
    }


def test_short_texts_and_filtered_rows_are_counted(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [{"text": "one two three"}, {"text": "one"}, {"text": "x y z w"}])
    source = SourceConfig(source="a.jsonl", min_words=3, match={"text": "one"})
    loaded, account = load(tmp_path, source)
    assert [row.text for row in loaded.train] == ["one two three"]
    assert account["a.jsonl"]["dropped"] == {
        "match.text does not match": 1,
        "shorter than 3 words": 1,
    }


def test_min_words_counts_the_response_and_the_shorter_side(tmp_path) -> None:
    write(
        tmp_path,
        "a.jsonl",
        [{"prompt": "a b c", "completion": "d"}, {"prompt": "", "completion": "d e"}],
    )
    loaded, _ = load(tmp_path, SourceConfig(source="a.jsonl", min_words=2), kind="chat")
    assert [row.where for row in loaded.train] == ["a.jsonl:2"]
    write(
        tmp_path,
        "p.jsonl",
        [{"chosen": "a b", "rejected": "c"}, {"chosen": "a b", "rejected": "c d"}],
    )
    loaded, _ = load(tmp_path, SourceConfig(source="p.jsonl", min_words=2), kind="pair")
    assert [row.where for row in loaded.train] == ["p.jsonl:2"]


def test_strict_by_default_and_a_bad_row_names_its_place(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [*texts(2), '{"text": null}\n'])
    with pytest.raises(AccordError) as caught:
        load(tmp_path, "a.jsonl")
    assert caught.value.where == "a.jsonl:3"
    assert "'text' is null" in caught.value.what
    assert '{"text": null}' in caught.value.what


def test_skipping_counts_and_writes_what_it_skipped(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [*texts(150), "{oops\n", *texts(50, start=150)])
    source = SourceConfig(source="a.jsonl", on_bad_row="skip")
    loaded, account = load(tmp_path, source, rejects=tmp_path / "out" / "rejects.jsonl")
    assert len(loaded.train) == 200
    assert account["a.jsonl"] == {"kept": 200, "dropped": {BAD: 1}, "truncated": {}}
    (reject,) = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(reject)["where"] == "a.jsonl:151"
    assert json.loads(reject)["sample"] == "{oops"


def test_skipping_stops_at_one_per_cent(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [*texts(98), "{oops\n", '{"txt": 1}\n'])
    with pytest.raises(
        AccordError, match=r"2 of 100 rows are bad, more than 1%\. The first: "
    ) as e:
        load(tmp_path, SourceConfig(source="a.jsonl", on_bad_row="skip"))
    assert e.value.where == "a.jsonl:99"


def test_identical_pairs_are_dropped_and_counted_never_an_error(tmp_path) -> None:
    pairs = [{"chosen": "a", "rejected": "b"}, {"chosen": "a", "rejected": "a"}]
    write(tmp_path, "a.jsonl", pairs)
    loaded, account = load(tmp_path, "a.jsonl", kind="pair")
    assert len(loaded.train) == 1
    assert account["a.jsonl"]["dropped"] == {"chosen and rejected are identical": 1}


KINDS = {
    "text": {"text": "x"},
    "chat": {"prompt": "q", "completion": "x"},
    "prompt": {"prompt": "q"},
    "pair": {"prompt": "q", "chosen": "x", "rejected": "y"},
    "label": {"prompt": "q", "completion": "x", "label": True},
}
CONVERTIBLE = {
    ("text", "text"), ("text", "chat"), ("text", "prompt"), ("chat", "chat"), ("chat", "prompt"),
    ("prompt", "prompt"), ("pair", "pair"), ("pair", "chat"), ("pair", "prompt"),
    ("label", "label"), ("label", "prompt"), ("pair", "label"),
}  # fmt: skip


@pytest.mark.parametrize("given_kind", KINDS)
@pytest.mark.parametrize("wanted", KINDS)
def test_a_kind_is_converted_where_nothing_is_guessed_else_refused(
    tmp_path, given_kind, wanted
) -> None:
    write(tmp_path, "a.jsonl", [KINDS[given_kind]])
    if (given_kind, wanted) in CONVERTIBLE:
        assert len(load(tmp_path, "a.jsonl", kind=wanted)[0].train) == 1
        return
    with pytest.raises(AccordError, match=rf"where {wanted} rows are wanted") as caught:
        load(tmp_path, "a.jsonl", kind=wanted)
    assert caught.value.where == "a.jsonl:1"
    assert caught.value.fix


def test_a_text_answers_an_empty_prompt_and_keeps_what_it_carries(tmp_path) -> None:
    write(tmp_path, "a.jsonl", [{"text": "x", "rating": 2, "id": "7"}])
    source = SourceConfig(source="a.jsonl", group="id")
    (row,) = load(tmp_path, source, kind="chat")[0].train
    assert row == ChatRow(
        (), (Message("text", "x"),), where="a.jsonl:1", source="a.jsonl", group="7"
    )
    assert row.extra == {"rating": 2, "id": "7"}


def test_nothing_left_is_an_error_with_the_account(tmp_path) -> None:
    write(tmp_path, "a.jsonl", texts(3))
    with pytest.raises(AccordError, match=r"No row is left(.|\n)*shorter than 9 words"):
        load(tmp_path, SourceConfig(source="a.jsonl", min_words=9))


def test_weights_by_name() -> None:
    sources = [SourceConfig(source="a", weight=2), SourceConfig(source="b", name="c")]
    assert weights_of(sources) == {"a": 2.0, "c": None}


LINES = st.lists(
    st.sampled_from(["good", "short", "bad", "same", "pair"]), min_size=1, max_size=20
).filter(lambda kinds: "good" in kinds)


@settings(deadline=None, max_examples=20)
@given(LINES, st.floats(0.1, 1))
def test_every_row_read_is_kept_or_counted(tmp_path_factory, kinds, fraction) -> None:
    folder = tmp_path_factory.mktemp("load")
    lines = {
        "short": {"chosen": "x", "rejected": "y"},
        "bad": "{\n",
        "same": {"chosen": "a b", "rejected": "c d"},
        "pair": {"chosen": "a b", "rejected": "a b"},
    }
    good = [{"chosen": f"word {n}", "rejected": "more words"} for n in range(len(kinds))]
    rows = [good[n] if kind == "good" else lines[kind] for n, kind in enumerate(kinds)]
    write(folder, "a.jsonl", [*texts(0), *rows, *([{"chosen": "p q", "rejected": "r s"}] * 2000)])
    source = SourceConfig(source="a.jsonl", min_words=2, fraction=fraction, on_bad_row="skip")
    try:
        loaded, account = load(folder, source, heldout=HALF, kind="pair")
    except AccordError as error:
        assert "No row is left to train on." in error.what or "is no row at all" in error.what
        return
    entry = account["a.jsonl"]
    assert entry["kept"] == len(loaded.train) + len(loaded.heldout)
    assert entry["kept"] + sum(entry["dropped"].values()) == len(kinds) + 2000
