"""Small random models of the architectures that students come from."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {
    "vocab_size": 100,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 6,
    "intermediate_size": 96,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 99,
    "initializer_range": 0.2,
}
SLIDING = {"layer_types": ["sliding_attention", "full_attention"] * 3, "sliding_window": 4}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
    "mistral": {"tie_word_embeddings": True, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {**SLIDING, "use_sliding_window": True, "max_window_layers": 0, "tie_word_embeddings": True},
    "smollm3": {"no_rope_layers": [1, 0, 1, 1, 0, 1], "tie_word_embeddings": True},
    "gemma": {},
    "gemma2": SLIDING,
    "gemma3_text": SLIDING,
    "gemma3_text untied": {**SLIDING, "tie_word_embeddings": False},
}


def make(name: str, **changes: Any) -> Any:
    """A random model whose norms and biases are random too."""
    torch.manual_seed(0)
    sizes = {**SIZES, **ARCHITECTURES.get(name, {}), **changes}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split()[0], **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return model
