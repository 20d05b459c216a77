"""The student on k + 1 buckets, and both models softened by a temperature T.

The teacher's softened probabilities inside its top k follow from the stored ones. Its softened tail does not: it
depends on how the tail is shared out among its tokens, and M equal tokens weigh M^(1 - 1/T) times what a single one
would. It is taken to be shared out as the student's tail is. That is exact once the student has learnt the teacher,
so the optimum is right at every temperature; before, it is an estimate.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Student(NamedTuple):
    """A chunk of C rows of the student's output at one temperature; the largest logit of each row is 0."""

    exp_CV: Tensor
    """Exponentials of the logits, 0 at the K ids."""
    log_q_CB: Tensor
    """Log-probabilities of the K ids and of all others together; minus infinity for ranks that only fill up a row."""
    exp_tail_C1: Tensor
    total_C1: Tensor
    """Sums of the exponentials, of the tail and of all."""
    log_total_C1: Tensor


def student_buckets(logits_CV: Tensor, ids_CK: Tensor) -> Student:
    """Buckets of a student; `logits_CV` become its exponentials, in place."""
    logits_CK = logits_CV.gather(1, ids_CK)
    empty_CK = ids_CK == ids_CK[:, :1]
    empty_CK[:, :1] = False
    logits_CK.masked_fill_(empty_CK, -torch.inf)
    # The tail is summed from its own terms: 1 - sum(q) would lose a small one to rounding.
    exp_CV = logits_CV.exp_().scatter_(1, ids_CK, 0.0)
    exp_tail_C1 = exp_CV.sum(1, keepdim=True).clamp_min_(torch.finfo(exp_CV.dtype).tiny)
    total_C1 = exp_tail_C1 + logits_CK.exp().sum(1, keepdim=True)
    log_total_C1 = total_C1.log()
    log_q_CB = torch.cat([logits_CK, exp_tail_C1.log()], dim=1) - log_total_C1
    return Student(exp_CV, log_q_CB, exp_tail_C1, total_C1, log_total_C1)


def soften_student(logits_CV: Tensor, ids_CK: Tensor, temperature: float) -> Student:
    """Buckets of softmax(z / T), in memory of their own."""
    return student_buckets(logits_CV / temperature, ids_CK)


def soften_teacher(log_p_CB: Tensor, plain: Student, softened: Student, temperature: float) -> Tensor:
    """Log-probabilities [C, K + 1] of the teacher at a temperature, its tail shared out as the student's is."""
    log_share_C1 = softened.exp_tail_C1.log() - plain.exp_tail_C1.log() / temperature
    return torch.log_softmax(
        log_p_CB / temperature + torch.nn.functional.pad(log_share_C1, (log_p_CB.shape[1] - 1, 0)), 1
    )
