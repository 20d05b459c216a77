"""How closely a model's next-token distributions follow the teacher's, on answers that the teacher wrote.

All of it is computed from the stored top k and one bucket for the rest of the vocabulary, at temperature 1.
The KL divergence over these buckets is a lower bound of the full one, and the acceptance an upper bound.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.errors import StageFailed
from potstill.signal import Signal

from .held_out import Row
from .job import AnswerFidelity

CHUNK = 256
# A smaller tail is rounding, not knowledge; this also stands for an empty one.
LEAST_TAIL = 1e-7


def measure_fidelity(model: Any, signal: Signal, rows: Sequence[Row], batch_size: int) -> list[AnswerFidelity]:
    """Compare a Hugging Face causal language model with the stored distributions, answer by answer, in
    `rows`' order.

    Only response positions go through the output layer, `CHUNK` at a time. Raises StageFailed for a model
    whose logits are not those of its output layer.
    """
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["prompt_ids"]) + len(rows[i]["response_ids"]))
    found: dict[int, AnswerFidelity] = {}
    with torch.inference_mode():
        _check_output_layer(model, rows[order[0]])
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            batch = [rows[i] for i in numbers]
            for i, row, hidden_ND in zip(numbers, batch, _response_hidden_states(model, batch), strict=True):
                found[i] = _compare(model, signal, row, hidden_ND)
    return [found[i] for i in range(len(rows))]


def bucket_metrics(
    logits_NV: Tensor,
    topk_ids_NK: Tensor,
    topk_logprobs_NK: Tensor,
    log_tail_N: Tensor,
    response_ids_N: Tensor,
) -> dict[str, Tensor]:
    """KL divergence, agreement, acceptance and negative log-likelihood [N], in nats, of logits that predict N
    tokens.

    `topk_logprobs_NK` are the teacher's raw log-probabilities in rank order, `log_tail_N` the logarithm of
    the rest. Acceptance is the share of the teacher's tokens that speculative sampling would keep: the sum of
    min(p, q).
    """
    logits_NV = logits_NV.float()
    log_total_N = logits_NV.logsumexp(dim=1)
    # A row with fewer ranks is filled up with repetitions of rank 1.
    empty_NK = topk_ids_NK == topk_ids_NK[:, :1]
    empty_NK[:, :1] = False
    log_q_NK = (logits_NV.gather(1, topk_ids_NK) - log_total_N[:, None]).masked_fill(empty_NK, -torch.inf)
    nll_N = log_total_N - logits_NV.gather(1, response_ids_N[:, None])[:, 0]
    agreement_N = (logits_NV.argmax(dim=1) == topk_ids_NK[:, 0]).float()
    tail_N = 1 - log_q_NK.double().exp().sum(dim=1)
    log_q_tail_N = tail_N.clamp(min=LEAST_TAIL).log().float()
    log_p_tail_N = log_tail_N.clamp(min=math.log(LEAST_TAIL))
    log_p = torch.cat([topk_logprobs_NK, log_p_tail_N[:, None]], dim=1)
    log_q = torch.cat([log_q_NK, log_q_tail_N[:, None]], dim=1)
    p = log_p.exp()
    return {
        "kl": (torch.xlogy(p, p) - p * log_q.masked_fill(p == 0, 0.0)).sum(dim=1),
        "agreement": agreement_N,
        "acceptance": torch.minimum(log_p, log_q).exp().sum(dim=1),
        "nll": nll_N,
    }


def _compare(model: Any, signal: Signal, row: Row, hidden_ND: Tensor) -> AnswerFidelity:
    teacher = signal.decode([row])
    device = hidden_ND.device
    ids_NK = torch.from_numpy(teacher.topk_ids_NK).to(device, torch.long)
    logprobs_NK = torch.from_numpy(teacher.topk_logprobs_NK).to(device)
    log_tail_N = torch.from_numpy(teacher.log_tail_N).to(device)
    response_N = torch.tensor(row["response_ids"], dtype=torch.long, device=device)
    sums = {"kl": 0.0, "agreement": 0.0, "acceptance": 0.0, "nll": 0.0}
    for start in range(0, len(response_N), CHUNK):
        part = slice(start, start + CHUNK)
        logits_NV = model.get_output_embeddings()(hidden_ND[part])
        found = bucket_metrics(logits_NV, ids_NK[part], logprobs_NK[part], log_tail_N[part], response_N[part])
        for name, values_N in found.items():
            sums[name] += float(values_N.double().sum())
    covered = float((1 - log_tail_N.double().exp()).sum())
    return AnswerFidelity(id=row["id"], cluster=row["prompt_index"], tokens=len(response_N), covered=covered, **sums)


def _response_hidden_states(model: Any, batch: Sequence[Row]) -> Iterator[Tensor]:
    """For each answer the last hidden states [N, D] of the positions that predict its N tokens."""
    sequences = [list(row["prompt_ids"]) + list(row["response_ids"]) for row in batch]
    longest = max(map(len, sequences))
    # Padding on the right needs no position ids: nothing before it looks at it.
    ids_BT = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences], device=model.device)
    lengths_B = torch.tensor([len(sequence) for sequence in sequences], device=model.device)
    mask_BT = (torch.arange(longest, device=model.device) < lengths_B[:, None]).long()
    hidden_BTD = model.base_model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
    for row, hidden_TD in zip(batch, hidden_BTD, strict=True):
        first = len(row["prompt_ids"]) - 1
        yield hidden_TD[first : first + len(row["response_ids"])]


def _check_output_layer(model: Any, row: Row) -> None:
    """Some architectures change the logits after the output layer; their numbers would be wrong without a word."""
    hidden_ND = next(_response_hidden_states(model, [row]))[:1]
    ids = torch.tensor([list(row["prompt_ids"])], device=model.device)
    whole_V = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    parts_V = model.get_output_embeddings()(hidden_ND)[0].float()
    if not torch.allclose(whole_V, parts_V, rtol=0.02, atol=0.02 * float(whole_V.abs().max())):
        raise StageFailed(
            f"{type(model).__name__} changes its logits after the output layer, which the fidelity measurement does "
            "not support yet. Set `eval.fidelity: false` to evaluate without it."
        )
