"""Run the teacher's answers through a model and watch what some of its modules read and write."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Watch = Callable[[Tensor, Tensor], None]
"""Is given a module's input and output at the N positions of one answer that predict response tokens, in float32."""


@torch.no_grad()
def watch_answers(model: Any, rows: Iterable[Mapping[str, Any]], watches: Mapping[nn.Module, Watch]) -> int:
    """Run answers through a model's backbone under the eyes of `watches`; returns the number of response tokens."""
    first_row = 0

    def hook_for(watch: Watch) -> Any:
        def hook(_: Any, args: Any, kwargs: Any, output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            after = output if isinstance(output, Tensor) else output[0]
            watch(before[0, first_row:-1].float(), after[0, first_row:-1].float())

        return hook

    hooks = [module.register_forward_hook(hook_for(watch), with_kwargs=True) for module, watch in watches.items()]
    tokens = 0
    try:
        for row in rows:
            first_row = len(row["prompt_ids"]) - 1
            tokens += len(row["response_ids"])
            ids = torch.tensor([row["prompt_ids"] + row["response_ids"]], device=model.device)
            model.base_model(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return tokens
