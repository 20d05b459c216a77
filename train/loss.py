"""The training loss and its gradient in one pass over the output layer.

The student's logits exist only for a few rows at a time: each chunk of rows is multiplied with the output
layer, compared with the teacher, turned into its own gradient in place and multiplied back. `dense_loss.py`
says the same in plain autograd, with all logits at once.

A divergence compares teacher p and student q on k + 1 buckets: the k tokens of the teacher's signal, and one
for all others. With P_t and Q_t the probability of that last bucket, r_j the derivative of the divergence with
respect to log q_j, r_t that with respect to log Q_t, and R = sum_j r_j + r_t, its derivative with respect to
the student's logit z_j is r_j - q_j R inside the k tokens and q_j (r_t / Q_t - R) outside.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .divergences import DIVERGENCES


class Targets(NamedTuple):
    """What the student is compared with at N response tokens."""

    token_ids_N: Tensor
    """The token that the teacher produced."""
    topk_ids_NK: Tensor
    topk_logprobs_NK: Tensor
    """Natural logarithms of the teacher's probabilities; minus infinity is allowed. A row with fewer ranks is filled
    up with repetitions of rank 1 that have this probability."""
    log_tail_N: Tensor
    """Logarithm of the teacher's probability outside the K ids; minus infinity is allowed."""


class LossTerms(NamedTuple):
    """The loss, and what it consists of, summed over tokens; only `loss` has a gradient."""

    loss: Tensor
    kl_sum: Tensor
    ce_sum: Tensor
    student_tail_sum: Tensor
    """Probability that the student gives to tokens outside the K ids."""


@dataclass(frozen=True)
class LossSettings:
    """`kd_weight` * divergence + `sft_weight` * cross-entropy on the produced token."""

    kd_weight: float
    sft_weight: float
    divergence: str = "forward_kl"
    """A name in `DIVERGENCES`; `beta` is that of the JSD, `alpha` that of the skewed ones."""
    beta: float = 0.5
    alpha: float = 0.1
    matmul_dtype: torch.dtype | None = None
    """Number format of the matrix products; None for that of the output layer."""
    chunk_bytes: int = 64 * 2**20
    """Logits in memory at a time; at least one row."""


def distillation_loss(
    hidden_ND: Tensor, weight_VD: Tensor, targets: Targets, settings: LossSettings, normaliser: float
) -> LossTerms:
    """Loss of N response tokens: hidden states that predict them, times an output layer without bias.

    The sum over tokens is divided by `normaliser`, the response tokens of the whole effective batch, so that
    losses and gradients of its parts add up. Gradients are computed along with the loss, that of the output
    layer in its own number format, and only where they are needed.
    """
    return LossTerms(*_FusedLoss.apply(hidden_ND, weight_VD, targets, settings, normaliser))


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets: Targets,
        settings: LossSettings,
        normaliser: float,
    ) -> tuple[Tensor, ...]:
        hidden_needed, weight_needed, *_ = ctx.needs_input_grad
        grad_hidden_ND = torch.empty_like(hidden_ND) if hidden_needed else None
        grad_weight_VD = torch.zeros_like(weight_VD) if weight_needed else None
        factor_VD = weight_VD.to(settings.matmul_dtype or weight_VD.dtype)
        sums = torch.zeros(3, dtype=_statistics_dtype(hidden_ND), device=hidden_ND.device)
        rows = max(1, settings.chunk_bytes // (weight_VD.shape[0] * sums.element_size()))
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            hidden_CD = hidden_ND[part].to(factor_VD.dtype)
            logits_CV = (hidden_CD @ factor_VD.T).to(sums.dtype)
            chunk = Targets(*(target[part] for target in targets))
            # In place: from here on logits_CV holds d loss / d logits.
            sums += _chunk_loss(logits_CV, chunk, settings, normaliser)
            grad_CV = logits_CV.to(factor_VD.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[part] = grad_CV @ factor_VD
            if grad_weight_VD is not None:
                _add_product(grad_weight_VD, grad_CV.T, hidden_CD)
        ctx.gradients = (grad_hidden_ND, grad_weight_VD)
        kl_sum, ce_sum, tail_sum = sums.unbind()
        loss = (settings.kd_weight * kl_sum + settings.sft_weight * ce_sum) / normaliser
        ctx.mark_non_differentiable(kl_sum, ce_sum, tail_sum)
        return loss, kl_sum, ce_sum, tail_sum

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = (
            ctx.gradients,
            None,
        )  # a second backward pass fails instead of adding nothing
        return (*(None if g is None else g.mul_(grad_loss.to(g.dtype)) for g in gradients), None, None, None)


def _chunk_loss(logits_CV: Tensor, targets: Targets, settings: LossSettings, normaliser: float) -> Tensor:
    """Sums of divergence, cross-entropy and student tail; `logits_CV` becomes the gradient of the loss."""
    ids_CK, token_C1 = targets.topk_ids_NK, targets.token_ids_N[:, None]
    logits_CV -= logits_CV.amax(1, keepdim=True)
    empty_CK = ids_CK == ids_CK[:, :1]
    empty_CK[:, :1] = False
    logits_CK, token_logit_C1 = logits_CV.gather(1, ids_CK), logits_CV.gather(1, token_C1)
    logits_CK.masked_fill_(empty_CK, -torch.inf)
    # The tail is summed from its own terms: 1 - sum(q) would lose a small one to rounding.
    exp_CV = logits_CV.exp_().scatter_(1, ids_CK, 0.0)
    exp_tail_C1 = exp_CV.sum(1, keepdim=True).clamp_min_(torch.finfo(exp_CV.dtype).tiny)
    total_C1 = exp_tail_C1 + logits_CK.exp().sum(1, keepdim=True)
    log_total_C1 = total_C1.log()
    log_q_CK, log_q_tail_C1 = logits_CK - log_total_C1, exp_tail_C1.log() - log_total_C1
    q_CK = log_q_CK.exp()
    ce_C1 = log_total_C1 - token_logit_C1
    log_p_CB = torch.cat([targets.topk_logprobs_NK, targets.log_tail_N[:, None]], dim=1).to(exp_CV.dtype)
    divergence = DIVERGENCES[settings.divergence](settings.beta, settings.alpha)
    value_C, r_CB = divergence(log_p_CB, torch.cat([log_q_CK, log_q_tail_C1], dim=1))
    r_CK, r_tail_C1 = r_CB[:, :-1], r_CB[:, -1:]
    kd, sft = settings.kd_weight / normaliser, settings.sft_weight / normaliser
    r_sum_C1 = r_CB.sum(1, keepdim=True)
    # exp_j / exp_tail is q_j / Q_t and exp_j / total is q_j: one factor a row makes the gradient of the tail.
    exp_CV *= kd * (r_tail_C1 / exp_tail_C1 - r_sum_C1 / total_C1) + sft / total_C1
    # Added to zeros, because an empty rank repeats an id.
    exp_CV.scatter_add_(1, ids_CK, kd * r_CK + q_CK * (sft - kd * r_sum_C1))
    exp_CV.scatter_add_(1, token_C1, torch.full_like(ce_C1, -sft))
    return torch.stack([value_C.sum(), ce_C1.sum(), log_q_tail_C1.exp().sum()])


def _add_product(sum_VD: Tensor, left_VC: Tensor, right_CD: Tensor) -> None:
    if sum_VD.dtype == left_VC.dtype:
        sum_VD.addmm_(left_VC, right_CD)
    else:
        # Products of chunks are added up in the output layer's format, which is the wider one.
        sum_VD += left_VC @ right_CD


def _statistics_dtype(hidden_ND: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_ND.dtype, torch.float32)
