"""What a policy is updated on: its own completions, and what is known of each of their tokens.

Axes: S scored tokens, R sequences, M tokens of all supports together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.data.batch import TokenBatch, moved
from accord.data.packing import Example, collate

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Support:
    """The tokens that each scored token was drawn from, where top-k, top-p or min-p left out some.

    Args:
        ids_M: int64, the allowed tokens of the first scored token, then of the second, ...
        offsets: int64 [S + 1]; token s was drawn from ids_M[offsets[s]:offsets[s + 1]].
    """

    ids_M: Tensor
    offsets: Tensor

    def to(self, device: torch.device | str) -> "Support":
        """The same support on `device`."""
        return moved(self, device)


@dataclass(frozen=True)
class Experience:
    """A prompt, the policy's k responses to it, and float32 numbers for each scored token.

    The numbers stand in `collate`'s order: the scored tokens of the first response, then of the
    second, and so on.

    Args:
        example: Prompt and responses; every drawn token is scored, or none of a masked response.
        advantages: What the update pushes by.
        old_logps: Log-probability at which the token was drawn, by the training path; none where
            the policy has not moved since.
        ref_logps: The reference's; none where nothing needs it.
        returns: The critic's targets; none without a critic.
        values: The critic's values at the roll-out; none without a critic.
        support: Allowed token ids of each scored token; none where every token was.
    """

    example: Example
    advantages: Floats
    old_logps: Floats | None = None
    ref_logps: Floats | None = None
    returns: Floats | None = None
    values: Floats | None = None
    support: tuple[NDArray[np.int64], ...] | None = None


@dataclass(frozen=True)
class ExperienceBatch(TokenBatch):
    """A batch whose scored tokens carry what a policy update needs; see `Experience`."""

    old_logps_S: Tensor | None = None
    advantages_S: Tensor | None = None
    ref_logps_S: Tensor | None = None
    returns_S: Tensor | None = None
    values_S: Tensor | None = None
    support: Support | None = None


def collate_experience(rows: Sequence[Experience]) -> ExperienceBatch:
    """A padding-free batch in which the responses to a prompt share it."""
    batch = collate([row.example for row in rows])
    plain = {field.name: getattr(batch, field.name) for field in fields(TokenBatch)}
    return ExperienceBatch(
        **plain,
        old_logps_S=_joined([row.old_logps for row in rows]),
        advantages_S=_joined([row.advantages for row in rows]),
        ref_logps_S=_joined([row.ref_logps for row in rows]),
        returns_S=_joined([row.returns for row in rows]),
        values_S=_joined([row.values for row in rows]),
        support=_supports([row.support for row in rows]),
    )


def _joined(columns: Sequence[Floats | None]) -> Tensor | None:
    known = [column for column in columns if column is not None]
    return torch.from_numpy(np.concatenate(known)) if len(known) == len(columns) else None


def _supports(rows: Sequence[tuple[NDArray[np.int64], ...] | None]) -> Support | None:
    if any(row is None for row in rows):
        return None
    tokens = [ids for row in rows for ids in row or ()]
    sizes = np.array([0, *(len(ids) for ids in tokens)], dtype=np.int64)
    ids = np.concatenate(tokens) if tokens else np.zeros(0, dtype=np.int64)
    return Support(torch.from_numpy(ids), torch.from_numpy(sizes.cumsum()))
