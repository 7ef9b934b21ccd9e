"""Reference log-probabilities: right, kept on disk, never those of another model or other data."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from accord.checkpoint.folder import load_model
from accord.data.packing import Example, Response
from accord.model.decoder import Decoder
from accord.model.plan import Plan
from accord.stages import reference
from accord.stages.reference import Reference


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Decoder:
    return load_model(model_folder)


@pytest.fixture
def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(250, (count,), generator=generator).tolist())

    def response(count: int) -> Response:
        return Response(ids(count), (False,) * (count % 3) + (True,) * (count - count % 3))

    return [Example(ids(2 + i % 5), (response(4 + i % 7), response(9 - i % 4))) for i in range(70)]


def with_reference(
    examples: list[Example], model: Decoder, fingerprint: str, folder: Path
) -> list[Example]:
    return Reference(model, fingerprint).on_disk(examples, folder)


def alone(model: Decoder, example: Example, side: int) -> float:
    response = example.responses[side]
    ids = torch.tensor([*example.prompt, *response.ids])
    plan = Plan.dense(1, len(ids) - 1)
    with torch.no_grad():
        hidden = model(ids[:-1], torch.arange(len(ids) - 1), plan)
        logps = F.log_softmax(model.logits(hidden), -1)[torch.arange(len(ids) - 1), ids[1:]]
    return float(logps[len(example.prompt) - 1 :][torch.tensor(response.mask)].sum())


def test_values_are_those_of_each_sequence_alone(
    model: Decoder, examples: list[Example], tmp_path: Path
) -> None:
    for example in with_reference(examples, model, "m", tmp_path):
        assert example.reference == pytest.approx(
            [alone(model, example, side) for side in (0, 1)], rel=1e-5
        )


def test_a_second_run_reads_the_file(
    model: Decoder, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = with_reference(examples, model, "m", tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".safetensors"

    def never(*_: object) -> torch.Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr(reference, "scored", never)
    assert with_reference(examples, model, "m", tmp_path) == first


def changes(examples: list[Example]) -> dict[str, list[Example]]:
    first, *rest = examples
    chosen, rejected = first.responses
    return {
        "a token of a prompt": [replace(first, prompt=(7, *first.prompt[1:])), *rest],
        "a token moved over the edge of a prompt": [
            replace(
                first,
                prompt=first.prompt[:-1],
                responses=tuple(
                    Response((first.prompt[-1], *r.ids), (False, *r.mask)) for r in first.responses
                ),
            ),
            *rest,
        ],
        "a token of a response": [
            replace(first, responses=(replace(chosen, ids=(7, *chosen.ids[1:])), rejected)),
            *rest,
        ],
        "a mask": [
            replace(
                first,
                responses=(replace(chosen, mask=(not chosen.mask[0], *chosen.mask[1:])), rejected),
            ),
            *rest,
        ],
        "sides": [replace(first, responses=(rejected, chosen)), *rest],
        "an order": examples[::-1],
        "a row less": rest,
    }


def test_another_model_precision_or_data_is_another_file(
    model: Decoder, examples: list[Example], tmp_path: Path
) -> None:
    with_reference(examples, model, "m", tmp_path)
    with_reference(examples, model, "another", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    half = load_model_as(model, torch.bfloat16)
    with_reference(examples, half, "m", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for number, changed in enumerate(changes(examples).values(), 4):
        with_reference(changed, model, "m", tmp_path)
        assert len(list(tmp_path.iterdir())) == number


def load_model_as(model: Decoder, dtype: torch.dtype) -> Decoder:
    changed = Decoder.empty(model.config)
    changed.load_state_dict(model.state_dict())
    return changed.to(dtype)


def test_no_random_number_is_drawn(model: Decoder, examples: list[Example], tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    with_reference(examples, model, "m", tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_a_cut_run_left_is_not_computed_again(
    model: Decoder, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "SHARD", 20)
    whole = with_reference(examples, model, "m", tmp_path)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 4
    kept[1].unlink()
    asked: list[int] = []
    honest = reference.scored

    def counted(some: list[Example], by: Decoder) -> torch.Tensor:
        asked.append(len(some))
        return honest(some, by)

    monkeypatch.setattr(reference, "scored", counted)
    assert with_reference(examples, model, "m", tmp_path) == whole
    assert len(asked) == 1 and asked[0] in (10, 20)
    assert sorted(tmp_path.iterdir()) == kept
    assert Reference(model, "m").in_memory(examples) == whole


def test_few_tokens_at_once_give_the_same(
    model: Decoder, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = with_reference(examples, model, "m", tmp_path / "a")
    monkeypatch.setattr(reference, "TOKENS_AT_ONCE", 50)
    for one, other in zip(with_reference(examples, model, "m", tmp_path / "b"), whole, strict=True):
        assert one.reference == pytest.approx(other.reference, abs=1e-5)


def test_tokens_past_the_shorter_answer_weigh_less(
    model: Decoder, examples: list[Example], tmp_path: Path
) -> None:
    whole = with_reference(examples, model, "m", tmp_path)
    # the cache holds each token's: another weight is no other file
    none = Reference(model, "m", ld_alpha=0.0).on_disk(examples, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    for example, full, shared in zip(examples, whole, none, strict=True):
        counts = [sum(response.mask) for response in example.responses]
        assert full.reference is not None and shared.reference is not None
        for side in (0, 1):
            if counts[side] == min(counts):
                assert shared.reference[side] == full.reference[side]
                continue
            response = example.responses[side]
            end = [i for i, scored in enumerate(response.mask) if scored][min(counts) - 1] + 1
            cut = Response(response.ids[:end], response.mask[:end])
            sides = [cut if i == side else r for i, r in enumerate(example.responses)]
            short = replace(example, responses=tuple(sides))
            assert shared.reference[side] == pytest.approx(alone(model, short, side), rel=1e-5)
