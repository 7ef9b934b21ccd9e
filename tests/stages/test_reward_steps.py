"""The reward step's sums: against loops written out from the definition."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config.reward import RatedGroups, RewardStage
from accord.data.packing import Example, Response
from accord.data.scoring import Rated, Scale, ScoreBatch, collate_groups, collate_scored
from accord.stages.reward_steps import reward_step

EDGES = (2, 4)


def config(**more: Any) -> RewardStage:
    given: dict[str, Any] = {"from": "m", "data": ({"source": "x"},), "steps": 1}
    return RewardStage.model_validate({**given, **more})


class Fixed(torch.nn.Module):
    """Scores that depend on the last token alone: token t is worth t / 4."""

    def forward(self, batch: ScoreBatch) -> torch.Tensor:
        return self.token_values(batch)[batch.last_R]

    def token_values(self, batch: ScoreBatch) -> torch.Tensor:
        return batch.ids_N.double() / 4


def text(score: int, length: int = 1) -> Example:
    ids = (*([0] * (length - 1)), score)
    return Example((1,), (Response(ids, (True,) * length),))


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def test_pairs_with_margin_and_centering_by_hand() -> None:
    pairs = [(8, 2, 1.0), (3, 5, 0.5)]
    batch = collate_scored(
        [
            Example((1,), (Response((w,), (True,)), Response((r,), (True,))), margin=m)
            for w, r, m in pairs
        ],
        "last",
    )
    plain = reward_step(config(), EDGES)(Fixed(), batch)
    assert plain.weight == 2
    assert float(plain.total) == pytest.approx(sum(softplus((r - w) / 4) for w, r, _ in pairs))
    assert float(plain.metrics["accuracy"][0]) == 1
    full = reward_step(config(use_margin=True, centering=0.1), EDGES)(Fixed(), batch)
    want = sum(softplus((r - w) / 4 + m) + 0.1 * ((w + r) / 4) ** 2 for w, r, m in pairs)
    assert float(full.total) == pytest.approx(want)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(-8, 8)), min_size=3, max_size=3),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0.0, 0.7]),
    st.integers(1, 4),
)
def test_a_group_weighs_as_much_as_any_other(
    groups: list[list[tuple[int, int]]], regression: float, size: int
) -> None:
    made = RatedGroups(gap=1.5, size=3, regression=regression)
    step = reward_step(config(pairs=made.model_dump()), EDGES)
    scale = Scale.of([rating / 2 for group in groups for _, rating in group])
    total, weight = 0.0, 0
    for group in groups:
        losses = [
            softplus((worse - better) / 4)
            for better, high in group
            for worse, low in group
            if (high - low) / 2 >= 1.5
        ]
        errors = [(score / 4 - scale(rating / 2)) ** 2 for score, rating in group]
        total += sum(losses) / max(len(losses), 1) + regression * sum(errors) / 3
        weight += 1 if losses or regression else 0
    rows = [[Rated(text(score), rating / 2) for score, rating in group] for group in groups]
    found = [
        step(Fixed(), collate_groups(rows[at : at + size], "last", made.gap, scale))
        for at in range(0, len(rows), size)
    ]
    # however groups fall into micro-batches, the sums are the same
    assert sum(float(loss.total) for loss in found) == pytest.approx(total, abs=1e-5)
    assert sum(float(loss.weight) for loss in found) == weight
    assert len({tuple(sorted(loss.metrics)) for loss in found}) == 1


def test_accuracy_by_length_goes_by_the_longer_response() -> None:
    responses = (text(8, 1).responses[0], text(2, 5).responses[0])
    loss = reward_step(config(), EDGES)(Fixed(), collate_scored([Example((1,), responses)], "last"))
    found = {
        name: [float(x) for x in loss.metrics[f"accuracy/{name}"]] for name in ("short", "long")
    }
    assert found == {"short": [0.0, 0.0], "long": [1.0, 1.0]}


def test_every_token_is_to_foretell_the_rating() -> None:
    """Mean over a text's tokens, the one that opens it included, then over texts."""
    rated = [Rated(text(8, 3), 2.0), Rated(text(4, 1), -1.0)]
    batch = collate_groups([rated], "last", 1.5, Scale(0.0, 1.0))
    pairs = {"kind": "groups", "size": 2, "every_token": 0.5}
    plain = reward_step(config(pairs=pairs | {"every_token": 0.0}), EDGES)(Fixed(), batch)
    found = reward_step(config(pairs=pairs), EDGES)(Fixed(), batch)
    # values 1/4, 0, 0, 2 against 2; and 1/4, 1 against -1
    mean = ((1.75**2 + 4 + 4 + 0) / 4 + (1.25**2 + 4) / 2) / 2
    assert float(found.total - plain.total) == pytest.approx(0.5 * mean)
    total, weight = found.metrics["prefix_mse"]
    assert float(total / weight) == pytest.approx(mean)
    assert float(found.weight) == float(plain.weight) == 1


def test_a_bidirectional_scorer_has_no_beginnings() -> None:
    pairs = {"kind": "groups", "every_token": 1.0}
    with pytest.raises(ValueError, match="sees the whole text"):
        config(pairs=pairs, architecture="bidirectional")
