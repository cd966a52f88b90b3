"""Attention of a vision tower over many small pictures at once.

Towers of the Qwen family attend within each picture or frame. Without flash attention transformers makes one
call for each of them and layer, nearly a thousand for a video of 32 frames; most have the same size, and then
one call does for all.
"""

from typing import Any

import torch
from torch import Tensor

# With "flash" in its name the tower hands over all pictures at once, and where each begins.
_NAME = "gdo_flash_by_length"


def group_pictures(model: Any) -> bool:
    """Let the vision tower of a model attend within all pictures of a size at once.

    Args:
        model: A transformers model.

    Returns:
        Whether it has such a tower, without flash attention.
    """
    from transformers import AttentionInterface

    tower = getattr(model.base_model, "visual", None)
    config: Any = getattr(tower, "config", None)
    if not hasattr(config, "spatial_merge_size") or config._attn_implementation != "sdpa":
        return False
    AttentionInterface.register(_NAME, _attention_by_length)
    config._attn_implementation = _NAME
    return True


def _attention_by_length(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within segments; query, key and value are [1, heads, positions, head_dim]."""
    ends = cu_seq_lens_q.long()
    lengths = ends.diff()
    result = torch.empty_like(query[0].transpose(0, 1))
    for length in sorted(set(lengths.tolist())):
        starts = ends[:-1][lengths == length]
        place = (starts[:, None] + torch.arange(length, device=starts.device)).flatten()
        q, k, v = (
            x[0][:, place].reshape(x.shape[1], len(starts), length, -1).transpose(0, 1)
            for x in (query, key, value)
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        result[place] = out.transpose(1, 2).flatten(0, 1)
    return result[None], None
