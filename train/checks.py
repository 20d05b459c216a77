"""What is checked of a student before it is trained, and of its training while it lasts."""

import math
from typing import Any

import torch

from potstill.errors import BadInput, StageFailed

from .metrics import MetricsRow

DIVERGED = 3.0
"""A loss so many times that of the beginning means that training has failed."""


def require_separate_rows(model: Any) -> None:
    """Raise BadInput unless a model keeps texts apart that stand in one row and begin anew in `position_ids`."""
    ids = torch.arange(12, device=model.device) % model.config.vocab_size
    positions = torch.cat([torch.arange(5), torch.arange(7)])[None].to(model.device)
    with torch.no_grad():
        alone = torch.cat([model(input_ids=part[None], use_cache=False).logits for part in ids.split([5, 7])], dim=1)
        packed = model(input_ids=ids[None], position_ids=positions, use_cache=False).logits
    if (packed - alone).norm() > 1e-2 * alone.norm():
        raise BadInput(
            f"the attention of this {model.config.model_type} student does not keep answers apart that stand in one "
            "row: set `train.packing` to false."
        )


def require_progress(row: MetricsRow, first_loss: float | None, learning_rate: float) -> None:
    """Raise StageFailed when a loss or gradient is no number, or training has made things far worse."""
    if not math.isfinite(row.loss) or not math.isfinite(row.grad_norm):
        said = f"the training loss is {row.loss:.4g} and the gradient's norm {row.grad_norm:.4g}"
    elif first_loss is not None and row.loss > DIVERGED * first_loss + 1:
        said = f"the training loss has risen from {first_loss:.3g} to {row.loss:.3g}"
    else:
        return
    raise StageFailed(
        f"{said} at step {row.step}. Most often the learning rate is too high ({learning_rate:g}): lower "
        "`train.learning_rate` or raise `train.warmup_ratio`. Otherwise look for answers that are cut to a few tokens "
        "by `train.max_length`, or a divergence that is infinite where the teacher has no probability. The last "
        "checkpoint from before is kept."
    )
