"""A mixture of six differently shaped preference sources: one load, every row accounted for."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from accord.config.data import HeldoutConfig, SourceConfig
from accord.data.account import Account
from accord.data.load import load_rows
from accord.data.rows import PairRow
from accord.errors import AccordError

N = 20


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def hh(n: int) -> dict:
    before = f"\n\nHuman: hello {n}\n\nAssistant: hi\n\nHuman: how are you?\n\nAssistant: "
    return {"chosen": f"{before}fine {n}", "rejected": f"{before}go away"}


def aihub(n: int, domain: str) -> dict:
    answers = {"answer_1": f"{domain} 좋은 답 {n}", "answer_2": "나쁜 답"}
    return {"data": {"question": f"{domain} 질문 {n}"}, "domain": domain, **answers}


def multifaceted(n: int) -> dict:
    asked = [turn("user", f"ask {n}")]
    return {
        "main_source": "x",
        "original_source": "y",
        "system": f"You are person {n}.",
        "prompt": f"ask {n}",
        "chosen": [*asked, turn("assistant", "kind")],
        "rejected": [*asked, turn("assistant", "rude")],
    }


def ultrafeedback(n: int) -> dict:
    chosen = [turn("user", f"uf {n}"), turn("assistant", "good")]
    return {
        "prompt": f"uf {n}",
        "prompt_id": str(n),
        "chosen": chosen,
        "rejected": [turn("user", f"uf {n}"), turn("assistant", "bad")],
        "messages": chosen,
        "score_chosen": 8.0,
        "score_rejected": 3.0,
    }


def orca(n: int) -> dict:
    return {"system": "", "question": f"오르카 {n}", "chosen": "네", "rejected": "아니요"}


def written(folder: Path) -> list[SourceConfig]:
    """Each source in its own file type, with one odd row or two among its rows."""

    def as_lines(rows) -> bytes:
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    rows = range(N)
    same = hh(0) | {"rejected": hh(0)["chosen"]}
    (folder / "hh.jsonl.gz").write_bytes(gzip.compress(as_lines([*map(hh, rows), same])))
    for domain in ("법률", "의료"):
        kept = [aihub(n, domain) for n in rows]
        other = [aihub(n, "기타") for n in range(3)]
        (folder / f"{domain}.json").write_text(json.dumps(kept + other, indent=1), "utf-8")
    parquet.write_table(pa.Table.from_pylist([*map(multifaceted, rows)]), folder / "multi.parquet")
    twice = [*map(ultrafeedback, rows), ultrafeedback(3)]
    (folder / "uf.jsonl").write_bytes(as_lines(twice))
    (folder / "orca.jsonl").write_bytes(as_lines(map(orca, rows)))
    pair = {"prompt": "data.question", "chosen": "answer_1", "rejected": "answer_2"}
    return [
        SourceConfig(source="hh.jsonl.gz", name="hh_rlhf", language="en"),
        SourceConfig(
            source="법률.json", name="aihub_1", fields=pair, match={"domain": "법률"}, language="ko"
        ),
        SourceConfig(
            source="의료.json",
            name="aihub_2",
            fields=pair,
            match={"domain": "의료"},
            extract={"chosen": r"좋은 .*"},
            fraction=0.5,
            language="ko",
        ),
        SourceConfig(source="multi.parquet", name="multifaceted", language="detect"),
        SourceConfig(source="uf.jsonl", name="ultrafeedback_binarized", min_words=1),
        SourceConfig(source="orca.jsonl", name="orca_dpo_ko", language="ko", fraction=1),
    ]


READ = {
    "hh_rlhf": N + 1,
    "aihub_1": N + 3,
    "aihub_2": N + 3,
    "multifaceted": N,
    "ultrafeedback_binarized": N + 1,
    "orca_dpo_ko": N,
}


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    account = Account()
    sources = written(folder)
    loaded = load_rows(sources, HeldoutConfig(fraction=0.2), "pair", 1, account, folder, folder)
    return loaded, account


def test_every_row_of_every_source_is_kept_or_counted(mixture) -> None:
    loaded, account = mixture
    assert {name: account.read(name) for name in READ} == READ
    counts = account.to_json()
    kept = {name: counts[name]["kept"] for name in READ}
    assert kept == dict.fromkeys(READ, N) | {"aihub_2": N // 2}
    rows = [*loaded.train, *loaded.heldout]
    assert {name: sum(row.source == name for row in rows) for name in READ} == kept
    assert {name: counts[name]["dropped"] for name in READ} == {
        "hh_rlhf": {"chosen and rejected are identical": 1},
        "aihub_1": {"match.domain does not match": 3},
        "aihub_2": {"match.domain does not match": 3, "not drawn (fraction)": 10},
        "multifaceted": {},
        "ultrafeedback_binarized": {"duplicate": 1},
        "orca_dpo_ko": {},
    }


def test_each_source_tells_its_language_in_its_own_way(mixture) -> None:
    _, account = mixture
    languages = {name: entry.get("languages") for name, entry in account.to_json().items()}
    assert languages["hh_rlhf"] == {"en": N}
    assert languages["aihub_2"] == {"ko": N // 2}
    assert sum(languages["multifaceted"].values()) == N
    assert languages["ultrafeedback_binarized"] is None


def test_each_shape_gives_the_same_kind_of_row(mixture) -> None:
    rows = {row.source: row for row in mixture[0].train}
    assert all(type(row) is PairRow for row in rows.values())
    shapes = {
        name: ([m.role for m in row.prompt], [m.role for m in row.chosen])
        for name, row in rows.items()
    }
    assert shapes == {
        "hh_rlhf": (["user", "assistant", "user"], ["assistant"]),
        "aihub_1": (["text"], ["text"]),
        "aihub_2": (["text"], ["text"]),
        "multifaceted": (["system", "user"], ["assistant"]),
        "ultrafeedback_binarized": (["user"], ["assistant"]),
        "orca_dpo_ko": (["user"], ["assistant"]),
    }
    assert rows["aihub_2"].chosen[0].content.startswith("좋은 답")
    assert rows["ultrafeedback_binarized"].extra["score_chosen"] == 8.0


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 60), percent=st.integers(1, 100))
@example(count=100, percent=29)  # 0.29 * 100 is 28.999999999999996 in floats
def test_a_fraction_is_as_many_rows_as_its_decimal_says(tmp_path_factory, count, percent) -> None:
    folder = tmp_path_factory.mktemp("fraction")
    text = "".join(json.dumps(orca(n)) + "\n" for n in range(count))
    (folder / "a.jsonl").write_text(text, encoding="utf-8")
    wanted = percent * count // 100
    account = Account()
    sources = [SourceConfig(source="a.jsonl", fraction=percent / 100)]
    if wanted:
        rows = load_rows(
            sources, HeldoutConfig(fraction=0), "pair", 1, account, folder, folder
        ).train
        assert len(rows) == wanted
        assert account.read("a.jsonl") == count
    else:
        with pytest.raises(AccordError, match=f"of {count} sound rows is no row at all"):
            load_rows(sources, HeldoutConfig(fraction=0), "pair", 1, account, folder, folder)


@pytest.mark.parametrize("whole", [1, 1.0])
def test_the_whole_is_all_rows_and_never_one_row(tmp_path, whole) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(orca(n)) + "\n" for n in range(7)))
    sources = [SourceConfig(source="a.jsonl", fraction=whole)]
    assert type(sources[0].fraction) is float
    rows = load_rows(
        sources, HeldoutConfig(fraction=0), "pair", 1, Account(), tmp_path, tmp_path
    ).train
    assert [row.where for row in rows] == [f"a.jsonl:{n}" for n in range(1, 8)]
