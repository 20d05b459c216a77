"""Divergences between a teacher p and a student q, and their derivatives with respect to the student.

Everything is on B buckets that hold all probability: the k tokens of the teacher's signal and, as the last one, all
others. A derivative r is that with respect to log q, as if the buckets' probabilities were free; `loss.py` turns it
into the gradient of the logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Divergence(NamedTuple):
    """Value [N] in nats, and the derivatives [N, B] with respect to log q."""

    value_N: Tensor
    r_NB: Tensor


def forward_kl(log_p_NB: Tensor, log_q_NB: Tensor) -> Divergence:
    """KL(p || q): the student covers all that the teacher may say."""
    p_NB = log_p_NB.exp()
    return Divergence(_expected(p_NB, log_p_NB - log_q_NB), -p_NB)


def reverse_kl(log_p_NB: Tensor, log_q_NB: Tensor) -> Divergence:
    """KL(q || p): the student says only what the teacher might.

    Infinite where the student believes in a token to which the teacher gives no probability at all.
    """
    q_NB, ratio_NB = log_q_NB.exp(), log_q_NB - log_p_NB
    return Divergence(_expected(q_NB, ratio_NB), q_NB * (_where(q_NB, ratio_NB) + 1))


def jsd(log_p_NB: Tensor, log_q_NB: Tensor, beta: float) -> Divergence:
    """Generalised Jensen-Shannon divergence, beta KL(p || m) + (1 - beta) KL(q || m) with m = beta p + (1 - beta) q.

    As TRL defines it, 0 is the forward and 1 the reverse KL. The formula itself goes to 0 at both ends, so a learning
    rate that was tuned at 0.5 does not carry to them.
    """
    if beta == 0:
        return forward_kl(log_p_NB, log_q_NB)
    if beta == 1:
        return reverse_kl(log_p_NB, log_q_NB)
    p_NB, q_NB, log_m_NB = log_p_NB.exp(), log_q_NB.exp(), _mixed(log_p_NB, log_q_NB, beta)
    value_N = beta * _expected(p_NB, log_p_NB - log_m_NB) + (1 - beta) * _expected(q_NB, log_q_NB - log_m_NB)
    return Divergence(value_N, (1 - beta) * q_NB * _where(q_NB, log_q_NB - log_m_NB))


def skewed_kl(log_p_NB: Tensor, log_q_NB: Tensor, alpha: float) -> Divergence:
    """KL(p || m) with m = alpha p + (1 - alpha) q, whose gradient stays small where the student is far off.

    From DistiLLM (Ko et al., 2024).
    """
    p_NB, log_m_NB = log_p_NB.exp(), _mixed(log_p_NB, log_q_NB, alpha)
    r_NB = -p_NB * (1 - alpha) * _where(p_NB, log_q_NB - log_m_NB).exp()
    return Divergence(_expected(p_NB, log_p_NB - log_m_NB), r_NB)


def skewed_reverse_kl(log_p_NB: Tensor, log_q_NB: Tensor, alpha: float) -> Divergence:
    """KL(q || m) with m = (1 - alpha) p + alpha q, finite also where the teacher gives no probability.

    From DistiLLM (Ko et al., 2024).
    """
    q_NB, log_m_NB = log_q_NB.exp(), _mixed(log_p_NB, log_q_NB, 1 - alpha)
    ratio_NB = _where(q_NB, log_q_NB - log_m_NB)
    r_NB = q_NB * (ratio_NB + 1 - alpha * ratio_NB.exp())
    return Divergence(_expected(q_NB, ratio_NB), r_NB)


def _mixed(log_p_NB: Tensor, log_q_NB: Tensor, share: float) -> Tensor:
    """log(share p + (1 - share) q)."""
    parts = [torch.log(torch.tensor(x, dtype=log_p_NB.dtype, device=log_p_NB.device)) for x in (share, 1 - share)]
    return torch.logaddexp(log_p_NB + parts[0], log_q_NB + parts[1])


def _expected(p_NB: Tensor, values_NB: Tensor) -> Tensor:
    return (p_NB * _where(p_NB, values_NB)).sum(1)


def _where(p_NB: Tensor, values_NB: Tensor) -> Tensor:
    """Values where there is probability, and 0 where not: 0 log 0 is 0."""
    return values_NB.masked_fill(p_NB == 0, 0.0)


# Name in a recipe -> divergence with its parameters filled in from `beta` and `alpha`.
DIVERGENCES: dict[str, Callable[[float, float], Callable[[Tensor, Tensor], Divergence]]] = {
    "forward_kl": lambda beta, alpha: forward_kl,
    "reverse_kl": lambda beta, alpha: reverse_kl,
    "jsd": lambda beta, alpha: lambda log_p, log_q: jsd(log_p, log_q, beta),
    "skewed_kl": lambda beta, alpha: lambda log_p, log_q: skewed_kl(log_p, log_q, alpha),
    "skewed_reverse_kl": lambda beta, alpha: lambda log_p, log_q: skewed_reverse_kl(log_p, log_q, alpha),
}
