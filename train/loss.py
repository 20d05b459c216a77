"""The training loss and its gradient in one pass over the output layer.

The student's logits exist only for a few rows at a time: each chunk of rows is multiplied with the output
layer, compared with the teacher, turned into its own gradient in place and multiplied back (`tiles.py`).
`dense_loss.py` says the same in plain autograd, with all logits at once.

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
from .temperature import Student, soften_teacher, student_buckets
from .tiles import OutputLayer, Tiles


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


CPU_CHUNK_ROWS, GPU_CHUNK_ROWS = 192, 1024


def chunk_rows(on_gpu: bool) -> int:
    """Response tokens whose logits are in memory at a time, as it is fastest."""
    return GPU_CHUNK_ROWS if on_gpu else CPU_CHUNK_ROWS


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
    chunk_rows: int = CPU_CHUNK_ROWS
    """Response tokens whose logits are in memory at a time."""
    tile_width: int | None = 4096
    """Logits of a row that are worked on at a time, None for all; see `tiles.py`."""


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
        dtype = settings.matmul_dtype or weight_VD.dtype
        layer = OutputLayer(weight_VD, dtype, min(settings.chunk_rows, len(hidden_ND)), settings.tile_width)
        sums = torch.zeros(len(settings.terms) + 3, dtype=_statistics_dtype(hidden_ND), device=hidden_ND.device)
        for start in range(0, len(hidden_ND), settings.chunk_rows):
            part = slice(start, start + settings.chunk_rows)
            hidden_CD = hidden_ND[part].to(dtype)
            logits = layer.logits(hidden_CD)
            chunk = Targets(*(target[part] for target in targets))
            # In place: from here on the logits are d loss / d logits.
            sums += _chunk_loss(logits, chunk, settings, normaliser, sums.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[part] = layer.hidden_gradient(logits)
            if grad_weight_VD is not None:
                layer.add_weight_gradient(grad_weight_VD, logits, hidden_CD)
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
    logits: Tiles, targets: Targets, settings: LossSettings, normaliser: float, dtype: torch.dtype
) -> Tensor:
    """Sums of the loss's terms; `logits` become the gradient of the loss."""
    ranks = _take_out(logits, targets, dtype)
    temperature = settings.temperature
    plain = student_buckets(logits, ranks.logits_CK, ranks.top_C1)
    ce_C1 = plain.log_total_C1 - ranks.token_logit_C1
    log_p_CB = torch.cat([targets.topk_logprobs_NK, targets.log_tail_N[:, None]], dim=1).to(dtype)
    kl = forward_kl(log_p_CB, plain.log_q_CB).values_NB.sum()
    student = plain
    if temperature != 1:
        student = student_buckets(logits, ranks.logits_CK, ranks.top_C1, temperature)
        log_p_CB = soften_teacher(log_p_CB, plain, student)
    term_sums, r_CB = _divergences(log_p_CB, student.log_q_CB, settings)
    kd, sft_C1 = settings.kd_weight * temperature / normaliser, settings.sft_weight / normaliser + 0 * ce_C1
    outside_C1 = (~ranks.is_token_CK.any(1, keepdim=True)).to(dtype)
    if settings.tail == "sampled":
        term_sums = term_sums + (outside_C1 * (targets.token_logprobs_N[:, None].to(dtype) + ce_C1)).sum()
        sft_C1 += kd * outside_C1
    gradient_CK = _to_gradient(logits, ranks.top_C1, student, plain, kd * r_CB, sft_C1)
    # Added to zeros, because an empty rank repeats an id.
    logits.add(ranks.places, gradient_CK - sft_C1 * ranks.is_token_CK)
    logits.add(ranks.token_places, -sft_C1 * outside_C1)
    others = torch.stack([ce_C1.sum(), kl, plain.log_q_CB[:, -1].exp().sum()])
    return torch.cat([term_sums * temperature**2, others])


class _Ranks(NamedTuple):
    """The logits at the teacher's top k and at the produced token, less the largest of their row."""

    top_C1: Tensor
    logits_CK: Tensor
    """Minus infinity for ranks that only fill up a row."""
    token_logit_C1: Tensor
    is_token_CK: Tensor
    places: Tensor
    token_places: Tensor


def _take_out(logits: Tiles, targets: Targets, dtype: torch.dtype) -> _Ranks:
    """Take the K logits out of the others, which are those of the tail from then on."""
    ids_CK, token_C1 = targets.topk_ids_NK, targets.token_ids_N[:, None]
    top_C1 = torch.stack([view_CT.amax(1) for view_CT in logits.views]).amax(0)[:, None].to(dtype)
    places, token_places = logits.places(ids_CK), logits.places(token_C1)
    logits_CK = logits.flat[places].view(ids_CK.shape).to(dtype) - top_C1
    token_logit_C1 = logits.flat[token_places][:, None].to(dtype) - top_C1
    empty_CK = ids_CK == ids_CK[:, :1]
    empty_CK[:, :1] = False
    logits_CK.masked_fill_(empty_CK, -torch.inf)
    logits.flat[places] = -torch.inf
    return _Ranks(top_C1, logits_CK, token_logit_C1, ~empty_CK & (ids_CK == token_C1), places, token_places)


def _divergences(log_p_CB: Tensor, log_q_CB: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor]:
    """Sums of the terms [terms], and the derivatives [C, B] of all of them together."""
    sums, r_CB = [], torch.zeros_like(log_q_CB)
    for term in settings.terms:
        found = TAILS[settings.tail](partial(compare, term), log_p_CB, log_q_CB)
        sums.append(found.values_NB.sum())
        r_CB += term.share * found.r_NB
    return torch.stack(sums), r_CB


def _to_gradient(
    logits: Tiles, top_C1: Tensor, student: Student, plain: Student, r_CB: Tensor, sft_C1: Tensor
) -> Tensor:
    """Turn the logits of the tail into the gradient by them; returns that by the K logits, without the token's own."""
    r_sum_C1 = r_CB.sum(1, keepdim=True)
    # exp_j / exp_tail is q_j / Q_t and exp_j / total is q_j: one factor a row makes the gradient of the tail.
    factor_C1 = r_CB[:, -1:] / student.exp_tail_C1 - r_sum_C1 / student.total_C1
    sft_factor_C1 = sft_C1 / plain.total_C1
    for view_CT, wide_CT in logits.wide(top_C1.dtype):
        wide_CT.sub_(top_C1)
        if student is plain:
            wide_CT.exp_().mul_(factor_C1 + sft_factor_C1)
        else:
            soft_CT = (wide_CT / student.temperature).exp_().mul_(factor_C1)
            wide_CT.exp_().mul_(sft_factor_C1).add_(soft_CT)
        view_CT.copy_(wide_CT)
    return r_CB[:, :-1] - student.log_q_CB[:, :-1].exp() * r_sum_C1 + plain.log_q_CB[:, :-1].exp() * sft_C1


def _statistics_dtype(hidden_ND: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_ND.dtype, torch.float32)
