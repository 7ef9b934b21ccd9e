"""The tokenizer stage: trained on what is not held out, measured on what is."""

from pathlib import Path

from left import record

from accord.text.tokenizer import Tokenizer


def test_a_tokenizer_its_report_and_its_rows(run, tiny_data: Path) -> None:
    data = [{"source": "stories.jsonl", "name": "stories"}]
    wanted = {"kind": "tokenizer", "data": data, "vocab_size": 300, "heldout": {"fraction": 0.2}}
    out = run(wanted)
    tokenizer = Tokenizer.load(out)
    assert len(tokenizer) == 300
    text = "Zoë läuft\u00a0— 東京\n 🦊\x00"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert record(out, "rows.json")["stories"]["kept"] == 160
    assert record(out, "tokenizer_report.json")
    again = run(wanted, "again")
    assert (again / "tokenizer.json").read_bytes() == (out / "tokenizer.json").read_bytes()


def test_held_out_texts_do_not_shape_the_merges(run, tiny_data: Path, tmp_path: Path) -> None:
    """A word that only held-out texts say is not learnt."""
    from accord.config.data import HeldoutConfig
    from accord.data.rows import TextRow
    from accord.data.split import is_heldout

    texts = [f"{'the fox and the crow ' * 3}{i}" for i in range(60)]
    fraction = {"fraction": 0.3}
    rare = [
        f"{text} zzyzzy zzyzzy zzyzzy"
        if is_heldout(TextRow(text=f"{text} zzyzzy zzyzzy zzyzzy"), HeldoutConfig(**fraction))
        else text
        for text in texts
    ]
    assert 0 < sum("zzyzzy" in text for text in rare) < len(rare)
    file = tmp_path / "rare.txt"
    file.write_text("\n\n".join(rare))
    out = run(
        {
            "kind": "tokenizer",
            "data": [{"source": str(file)}],
            "vocab_size": 300,
            "heldout": fraction,
        }
    )
    tokenizer = Tokenizer.load(out)
    assert len(tokenizer.encode(" zzyzzy")) == len(" zzyzzy")
    assert len(tokenizer.encode(" the")) == 1
