"""Time and memory of the loss layer, against the losses of TRL's distillation trainers and plain cross-entropy.

Every side starts from the student's hidden states and output layer and ends with the gradients of both. TRL's losses
also multiply a live teacher's hidden states with its output layer; the teacher's body is left out. Ours is given the
teacher's `TOP_K` most likely tokens instead, and takes the divergence of the side that it is compared with. Memory is
what a step adds at its peak to its inputs and to the gradients that it leaves.

`gkd` is the loss of TRL's GKDTrainer, `trl_chunked` that of its DistillationTrainer, `ce` is F.cross_entropy. Liger's
losses are left out: their kernels are Triton's and need a GPU, where this comparison is one of CPUs.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from own_process import free_memory, measured
from run import Figure, figure
from torch import Tensor

RUNS = 5
SIDE = str(Path(__file__).with_name("loss_layer_side.py"))
REPEATS = {512: 3, 4096: 1}
"""Tokens -> steps that a process takes the time of, of which the median counts."""
DTYPES = ("bfloat16", "float32")
"""bfloat16 stands for float32 weights whose products are made in bfloat16, as in training."""
V, D, TOP_K = 49_152, 576, 64
LOGIT_SCALE = 3.0
GKD_COPIES = 17
"""Tensors of the size of all logits that GKD has in memory at its peak, and a little more."""
# Name of a peer's side -> ours that it is compared with.
PEERS = {"gkd_beta05": "jsd", "gkd_beta0": "kl", "trl_chunked_beta05": "jsd", "trl_chunked_beta0": "kl", "ce": "kl"}
SIDES = ("kl", "jsd", *PEERS)


def measure() -> Iterator[Figure]:
    """Every side `RUNS` times in a process of its own, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        for tokens, repeats in REPEATS.items():
            inputs = Path(folder) / f"{tokens}.pt"
            torch.save(_inputs(tokens), inputs)
            for dtype in _dtypes():
                sides = [side for side in SIDES if _fits(side, tokens)]
                found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
                for _ in range(RUNS):
                    for side in sides:
                        found[side].append(measured(SIDE, side, dtype, str(inputs), str(repeats)))
                yield from _figures(found, f"{tokens}_{dtype}")
            inputs.unlink()


def _figures(found: dict[str, list[tuple[float, float]]], suffix: str) -> Iterator[Figure]:
    for peer, own in PEERS.items():
        if peer in found:
            name, _, beta = peer.partition("_beta")
            ending = f"{suffix}_beta{beta}" if beta else suffix
            for column, (quantity, unit) in enumerate((("time", "ms"), ("memory", "MiB"))):
                ours, other = ([run[column] for run in found[side]] for side in (own, peer))
                yield figure(f"loss_vs_{name}_{quantity}_{ending}", unit, ours, other, "lower")


def _fits(side: str, tokens: int) -> bool:
    fits = not side.startswith("gkd") or free_memory() > GKD_COPIES * tokens * V * 4
    if not fits:
        print(f"{side} at {tokens} tokens is left out: too little free memory", file=sys.stderr)
    return fits


def _dtypes() -> tuple[str, ...]:
    from potstill.train.precision import has_fast_bfloat16

    return DTYPES if has_fast_bfloat16() else DTYPES[1:]


def _inputs(tokens: int) -> dict[str, Tensor]:
    """Logits with the spread of a language model's; student and teacher agree in part."""
    torch.manual_seed(0)
    hidden_ND, weight_VD = torch.randn(tokens, D), torch.randn(V, D) * LOGIT_SCALE / D**0.5
    teacher_ND, head_VD = hidden_ND + torch.randn(tokens, D) / 2, weight_VD + torch.randn(V, D) / 20
    chunks = [torch.log_softmax(part_ND @ head_VD.T, dim=1) for part_ND in teacher_ND.split(512)]
    topk_ids_NK = torch.cat([log_p.topk(TOP_K).indices for log_p in chunks])
    topk_NK = torch.cat([log_p.topk(TOP_K).values for log_p in chunks])
    token_N = torch.cat([torch.multinomial(log_p.exp(), 1)[:, 0] for log_p in chunks])
    tail_N = torch.log1p(-topk_NK.exp().sum(1))
    names = ("hidden", "weight", "teacher_hidden", "teacher_weight", "tokens", "topk_ids", "topk", "tail")
    return dict(
        zip(names, (hidden_ND, weight_VD, teacher_ND, head_VD, token_N, topk_ids_NK, topk_NK, tail_N), strict=True)
    )
