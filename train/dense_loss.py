"""The training loss in plain autograd, all logits at once. Read it first: `loss.py` must agree with it."""

import torch
from torch import Tensor

from .loss import LossTerms, Targets


def dense_distillation_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets: Targets,
    kd_weight: float,
    sft_weight: float,
    normaliser: float,
) -> LossTerms:
    """Forward KL on the k + 1 buckets and cross-entropy; arguments as those of `loss.distillation_loss`."""
    log_q_NV = torch.log_softmax(hidden_ND @ weight_VD.T, dim=1)
    log_q_NK = log_q_NV.gather(1, targets.topk_ids_NK)
    log_q_tail_N = log_q_NV.scatter(1, targets.topk_ids_NK, -torch.inf).logsumexp(1)
    kl_N = _term(targets.topk_logprobs_NK, log_q_NK).sum(1) + _term(targets.log_tail_N, log_q_tail_N)
    ce_N = -log_q_NV.gather(1, targets.token_ids_N[:, None])[:, 0]
    loss = (kd_weight * kl_N.sum() + sft_weight * ce_N.sum()) / normaliser
    return LossTerms(loss, kl_N.sum().detach(), ce_N.sum().detach(), log_q_tail_N.exp().sum().detach())


def _term(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p log(p / q), which is 0 where p is 0."""
    impossible = log_p == -torch.inf
    return torch.where(impossible, 0.0, log_p.exp() * (log_p - log_q.masked_fill(impossible, 0.0)))
