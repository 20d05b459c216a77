"""Which number formats are both fast and exact enough on this machine."""

import torch

FLOAT32_ERROR = 1e-5


def has_fast_bfloat16() -> bool:
    """Whether bfloat16 matrix products are worth using; CPUs without AVX-512 emulate them, and slowly."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_float32_matmul() -> None:
    """Let the CPU's faster float32 matrix product be used where it keeps float32's precision.

    Some CPUs only take another path through their library, others fall back to bfloat16: one product tells.
    """
    if torch.cuda.is_available():
        return
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(64, 256, generator=generator), torch.randn(256, 64, generator=generator)
    exact = left.double() @ right.double()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    error = ((left @ right).double() - exact).norm() / exact.norm()
    if error > FLOAT32_ERROR:
        torch.set_float32_matmul_precision(before)
