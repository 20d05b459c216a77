import torch

from potstill.train.precision import FLOAT32_ERROR, choose_float32_matmul


def test_the_chosen_float32_product_has_float32_precision_at_every_size() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        choose_float32_matmul()
        for rows, inner, columns in ((1, 64, 5), (17, 576, 300), (256, 1536, 576)):
            left, right = torch.randn(rows, inner), torch.randn(inner, columns)
            exact = left.double() @ right.double()
            assert ((left @ right).double() - exact).norm() < FLOAT32_ERROR * exact.norm()
    finally:
        torch.set_float32_matmul_precision(before)
