"""The plain way that ours is held against: Hugging Face ``generate``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def hf_generate(model: Any, prompt: list[list[int]], horizon: int, samples: int) -> np.ndarray:
    """(samples, horizon) ids by the library's own loop."""
    ids = torch.tensor([[slot[0] for slot in prompt]])
    stops = [int(i) for i in model._stops] or None
    with torch.inference_mode():
        out = model._model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, num_return_sequences=samples,
            max_new_tokens=horizon, eos_token_id=stops, pad_token_id=0, min_new_tokens=None if stops else horizon,
        )  # fmt: skip
    return np.asarray(out[:, ids.shape[1] :])
