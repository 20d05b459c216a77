"""The student's output layer, worked through in tiles of the vocabulary.

Logits of a chunk of rows are kept in the number format of the matrix products; what needs a wider one touches one tile
at a time, which stays in the processor's cache. The layer itself is converted tile by tile as well, so that no second
copy of it exists.
"""

from collections.abc import Iterator

import torch
from torch import Tensor


class Tiles:
    """C rows of V numbers, stored one tile of columns after the other."""

    def __init__(self, store: Tensor, columns: list[slice], rows: int):
        self.columns, self.rows = columns, rows
        self.flat = store[: rows * columns[-1].stop]
        self.views = [
            self.flat[rows * part.start : rows * part.stop].view(rows, part.stop - part.start) for part in columns
        ]

    def places(self, ids_CX: Tensor) -> Tensor:
        """Where in `flat` the numbers of some columns stand, the same count in each row; [C * X]."""
        width, end = self.columns[0].stop, self.columns[-1].stop
        begin_CX = ids_CX // width * width
        row_C1 = torch.arange(self.rows, device=ids_CX.device)[:, None]
        return (begin_CX * self.rows + row_C1 * (end - begin_CX).clamp_max(width) + ids_CX - begin_CX).flatten()

    def add(self, places: Tensor, values_CX: Tensor) -> None:
        """Add numbers at the places of some columns, of which one may come up more than once."""
        self.flat.index_add_(0, places, values_CX.flatten().to(self.flat.dtype))

    def wide(self, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor]]:
        """Each tile, and a copy of it in another format, in memory that the next one uses again."""
        room = self.flat.new_empty(self.views[0].numel(), dtype=dtype)
        for view in self.views:
            yield view, room[: view.numel()].view(view.shape).copy_(view)


class OutputLayer:
    """Products of a weight [V, D] with up to `rows` rows at a time, in the number format `dtype`."""

    def __init__(self, weight_VD: Tensor, dtype: torch.dtype, rows: int, width: int | None):
        vocabulary = len(weight_VD)
        width = min(width or vocabulary, vocabulary)
        self.weight_VD, self.dtype = weight_VD, dtype
        self.columns = [slice(start, min(start + width, vocabulary)) for start in range(0, vocabulary, width)]
        self.store = weight_VD.new_empty(rows * vocabulary, dtype=dtype)
        # A single tile is converted once; many are converted again for every product, which takes less memory.
        self.whole = weight_VD.to(dtype) if len(self.columns) == 1 else None

    def logits(self, hidden_CD: Tensor) -> Tiles:
        """hidden times the weight's transpose; valid until the next call."""
        tiles = Tiles(self.store, self.columns, len(hidden_CD))
        for factor_TD, view_CT in zip(self._factors(), tiles.views, strict=True):
            torch.mm(hidden_CD, factor_TD.T, out=view_CT)
        return tiles

    def hidden_gradient(self, gradient: Tiles) -> Tensor:
        """Gradient [C, D] by the rows, from that by their logits; summed in the weight's format."""
        total_CD = self.weight_VD.new_zeros(gradient.rows, self.weight_VD.shape[1])
        for factor_TD, view_CT in zip(self._factors(), gradient.views, strict=True):
            _add_product(total_CD, view_CT, factor_TD)
        return total_CD

    def add_weight_gradient(self, sum_VD: Tensor, gradient: Tiles, hidden_CD: Tensor) -> None:
        """Add the gradient by the weight to `sum_VD`, in the format of that."""
        for part, view_CT in zip(self.columns, gradient.views, strict=True):
            _add_product(sum_VD[part], view_CT.T, hidden_CD)

    def _factors(self) -> Iterator[Tensor]:
        if self.whole is not None:
            yield self.whole
            return
        for part in self.columns:
            yield self.weight_VD[part].to(self.dtype)


def _add_product(sum_XY: Tensor, left: Tensor, right: Tensor) -> None:
    if sum_XY.dtype == left.dtype:
        sum_XY.addmm_(left, right)
    else:
        # Products are added up in the wider format.
        sum_XY += left @ right
