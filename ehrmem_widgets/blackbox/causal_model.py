"""What the models that are computed here without transformers have in common: they answer as its classes do."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn


class Config(SimpleNamespace):
    """A config as attributes, as that of transformers."""

    def get_text_config(self) -> Config:
        """That of the part which reads codes: this one."""
        return self


class CausalModel(nn.Module):
    """ids (rows, codes) -> ``.logits`` (rows, codes, vocabulary); what stands behind a place does not change it. Its ``base_model``, by name,
    makes states of ids, which ``lm_head`` reads."""

    base_model_prefix: str
    embedding: str
    lm_head: nn.Linear

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        """As that of transformers."""
        return SimpleNamespace(logits=self.lm_head(self.base_model(input_ids).last_hidden_state))

    @property
    def base_model(self) -> nn.Module:
        """All but the head."""
        return self.get_submodule(self.base_model_prefix)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """In what."""
        return self.lm_head.weight.dtype

    def get_input_embeddings(self) -> nn.Module:
        """As that of transformers."""
        return self.base_model.get_submodule(self.embedding)

    def get_output_embeddings(self) -> nn.Linear:
        """As that of transformers."""
        return self.lm_head
