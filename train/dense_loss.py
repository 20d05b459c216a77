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
    divergence: str = "forward_kl",
    beta: float = 0.5,
    alpha: float = 0.1,
) -> LossTerms:
    """A divergence on the k + 1 buckets and cross-entropy; arguments as those of `loss.distillation_loss`."""
    log_q_NV = torch.log_softmax(hidden_ND @ weight_VD.T, dim=1)
    log_q_NK = log_q_NV.gather(1, targets.topk_ids_NK)
    log_q_tail_N = log_q_NV.scatter(1, targets.topk_ids_NK, -torch.inf).logsumexp(1)
    p_NB = torch.cat([targets.topk_logprobs_NK, targets.log_tail_N[:, None]], dim=1).exp()
    kl_N = _divergence(divergence, p_NB, torch.cat([log_q_NK, log_q_tail_N[:, None]], dim=1).exp(), beta, alpha)
    ce_N = -log_q_NV.gather(1, targets.token_ids_N[:, None])[:, 0]
    loss = (kd_weight * kl_N.sum() + sft_weight * ce_N.sum()) / normaliser
    return LossTerms(loss, kl_N.sum().detach(), ce_N.sum().detach(), log_q_tail_N.exp().sum().detach())


def _divergence(name: str, p_NB: Tensor, q_NB: Tensor, beta: float, alpha: float) -> Tensor:
    if name == "jsd" and 0 < beta < 1:
        middle_NB = beta * p_NB + (1 - beta) * q_NB
        return beta * _kl(p_NB, middle_NB) + (1 - beta) * _kl(q_NB, middle_NB)
    if name == "skewed_kl":
        return _kl(p_NB, alpha * p_NB + (1 - alpha) * q_NB)
    if name == "skewed_reverse_kl":
        return _kl(q_NB, (1 - alpha) * p_NB + alpha * q_NB)
    return _kl(q_NB, p_NB) if name == "reverse_kl" or (beta == 1 and name == "jsd") else _kl(p_NB, q_NB)


def _kl(a_NB: Tensor, b_NB: Tensor) -> Tensor:
    """KL(a || b); 0 log 0 is 0."""
    return (torch.xlogy(a_NB, a_NB) - torch.xlogy(a_NB, b_NB)).sum(1)
