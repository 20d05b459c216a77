"""The training loss and its gradient in one pass over the output layer.

The student's logits exist only for a few rows at a time: each chunk of rows is multiplied with the output
layer, compared with the teacher, turned into its own gradient and multiplied back. `dense_loss.py` says the same
in plain autograd, with all logits at once.

A divergence compares teacher p and student q on k + 1 buckets: the k tokens of the teacher's signal, and one
for all others. With P_t and Q_t the probability of that last bucket, r_j the derivative of the divergence with
respect to log q_j, r_t that with respect to log Q_t, and R = sum_j r_j + r_t, its derivative with respect to
the student's logit z_j is r_j - q_j R inside the k tokens and q_j (r_t / Q_t - R) outside.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .divergences import Term, compare, forward_kl
from .tail import TAILS
from .temperature import Student, soften_student, soften_teacher, student_buckets


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
    token_logprobs_N: Tensor
    """Logarithm of the teacher's probability of the token that it produced; only the tail policy `sampled` reads it."""


class LossTerms(NamedTuple):
    """The loss, and what it consists of, summed over tokens; only `loss` has a gradient."""

    loss: Tensor
    term_sums: Tensor
    """The divergences [terms] that are optimised, without shares and weights, T^2 included."""
    ce_sum: Tensor
    kl_sum: Tensor
    """Forward KL on the k + 1 buckets at temperature 1, whatever is optimised."""
    student_tail_sum: Tensor
    """Probability that the student gives to tokens outside the K ids."""


@dataclass(frozen=True)
class LossSettings:
    """`kd_weight` * T^2 * (sum of shares * divergences) + `sft_weight` * cross-entropy on the produced token."""

    kd_weight: float
    sft_weight: float
    terms: tuple[Term, ...] = (Term(),)
    tail: str = "bucket"
    """A name in `TAILS`; `sampled` is for the forward KL at temperature 1."""
    temperature: float = 1.0
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
        sums = torch.zeros(len(settings.terms) + 3, dtype=_statistics_dtype(hidden_ND), device=hidden_ND.device)
        rows = max(1, settings.chunk_bytes // (weight_VD.shape[0] * sums.element_size()))
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            hidden_CD = hidden_ND[part].to(factor_VD.dtype)
            logits_CV = (hidden_CD @ factor_VD.T).to(sums.dtype)
            chunk = Targets(*(target[part] for target in targets))
            grad_CV, chunk_sums = _chunk_loss(logits_CV, chunk, settings, normaliser)
            sums += chunk_sums
            grad_CV = grad_CV.to(factor_VD.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[part] = grad_CV @ factor_VD
            if grad_weight_VD is not None:
                _add_product(grad_weight_VD, grad_CV.T, hidden_CD)
        ctx.gradients = (grad_hidden_ND, grad_weight_VD)
        term_sums, others = sums[:-3], sums[-3:].unbind()
        shares = torch.tensor([term.share for term in settings.terms], dtype=sums.dtype, device=sums.device)
        loss = (settings.kd_weight * (shares @ term_sums) + settings.sft_weight * others[0]) / normaliser
        ctx.mark_non_differentiable(term_sums, *others)
        return loss, term_sums, *others

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = (
            ctx.gradients,
            None,
        )  # a second backward pass fails instead of adding nothing
        return (*(None if g is None else g.mul_(grad_loss.to(g.dtype)) for g in gradients), None, None, None)


def _chunk_loss(
    logits_CV: Tensor, targets: Targets, settings: LossSettings, normaliser: float
) -> tuple[Tensor, Tensor]:
    """Gradient of the loss by the logits [C, V], and the sums of its terms; `logits_CV` is used up."""
    ids_CK, token_C1 = targets.topk_ids_NK, targets.token_ids_N[:, None]
    logits_CV -= logits_CV.amax(1, keepdim=True)
    token_logit_C1 = logits_CV.gather(1, token_C1)
    temperature = settings.temperature
    softened = None if temperature == 1 else soften_student(logits_CV, ids_CK, temperature)
    plain = student_buckets(logits_CV, ids_CK)
    ce_C1 = plain.log_total_C1 - token_logit_C1
    log_p_CB = torch.cat([targets.topk_logprobs_NK, targets.log_tail_N[:, None]], dim=1).to(logits_CV.dtype)
    kl = forward_kl(log_p_CB, plain.log_q_CB).values_NB.sum()
    student = plain
    if softened is not None:
        student, log_p_CB = softened, soften_teacher(log_p_CB, plain, softened, temperature)
    term_sums, r_CB = _divergences(log_p_CB, student.log_q_CB, settings)
    kd, sft_C1 = settings.kd_weight * temperature / normaliser, settings.sft_weight / normaliser + 0 * ce_C1
    if settings.tail == "sampled":
        outside_C1 = (ids_CK != token_C1).all(1, keepdim=True).to(ce_C1.dtype)
        term_sums = term_sums + (outside_C1 * (targets.token_logprobs_N[:, None].to(ce_C1.dtype) + ce_C1)).sum()
        sft_C1 += kd * outside_C1
    grad_CV = _logit_gradient(student, plain, ids_CK, kd * r_CB, sft_C1)
    grad_CV.scatter_add_(1, token_C1, -sft_C1)
    others = torch.stack([ce_C1.sum(), kl, plain.log_q_CB[:, -1].exp().sum()])
    return grad_CV, torch.cat([term_sums * temperature**2, others])


def _divergences(log_p_CB: Tensor, log_q_CB: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor]:
    """Sums of the terms [terms], and the derivatives [C, B] of all of them together."""
    sums, r_CB = [], torch.zeros_like(log_q_CB)
    for term in settings.terms:
        found = TAILS[settings.tail](partial(compare, term), log_p_CB, log_q_CB)
        sums.append(found.values_NB.sum())
        r_CB += term.share * found.r_NB
    return torch.stack(sums), r_CB


def _logit_gradient(student: Student, plain: Student, ids_CK: Tensor, r_CB: Tensor, sft_C1: Tensor) -> Tensor:
    """Gradient [C, V] of the divergence and of the cross-entropy's log-sum-exp; uses up the students' exponentials."""
    r_sum_C1 = r_CB.sum(1, keepdim=True)
    # exp_j / exp_tail is q_j / Q_t and exp_j / total is q_j: one factor a row makes the gradient of the tail.
    factor_C1 = r_CB[:, -1:] / student.exp_tail_C1 - r_sum_C1 / student.total_C1
    inside_CK = r_CB[:, :-1] - student.log_q_CB[:, :-1].exp() * r_sum_C1
    inside_CK += plain.log_q_CB[:, :-1].exp() * sft_C1
    if student is plain:
        student.exp_CV.mul_(factor_C1 + sft_C1 / plain.total_C1)
    else:
        student.exp_CV.mul_(factor_C1).addcmul_(plain.exp_CV, sft_C1 / plain.total_C1)
    # Added to zeros, because an empty rank repeats an id.
    return student.exp_CV.scatter_add_(1, ids_CK, inside_CK)


def _add_product(sum_VD: Tensor, left_VC: Tensor, right_CD: Tensor) -> None:
    if sum_VD.dtype == left_VC.dtype:
        sum_VD.addmm_(left_VC, right_CD)
    else:
        # Products of chunks are added up in the output layer's format, which is the wider one.
        sum_VD += left_VC @ right_CD


def _statistics_dtype(hidden_ND: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_ND.dtype, torch.float32)
