"""A small time-to-event model, as Delphi-2M: what ``train_model`` needs of it besides what it does for every model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from ehrmem_widgets.blackbox.delphi import MODEL_TYPE, Delphi, delphi_config
from ehrmem_widgets.blackbox.race import Race, ages, code_ids, has_come
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_HOUR = 1 / 24  # days: what comes at the same time counts as an hour apart, else its rate would have no bound
_HEADS = 4
_FAR = 5.0
_USUAL = -10.0  # the log-rate of any code before training: once in 60 years


def new_delphi(vocabulary: Vocabulary, *, context: int, width: int, layers: int, dropout: float = 0.0) -> Delphi:
    """A model of random weights (torch's generator) for this vocabulary; every code at a rate as of real records, so that it learns soon."""
    given = [code for code in (vocabulary.pad, *vocabulary.opening) if code]
    settings: dict[str, object] = {
        "model_type": MODEL_TYPE, "n_layer": layers, "n_head": _HEADS, "n_embd": width, "vocab_size": len(vocabulary),
        "block_size": context, "bias": True, "dropout": dropout, "ignore_tokens": vocabulary.ids(given), "may_repeat": [],
    }  # fmt: skip
    model = Delphi(delphi_config(settings))
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5 if name.endswith("c_proj.weight") else 0.02)
    with torch.no_grad():
        model.transformer.wte.weight[:, 0] = 1.0
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0.0, _USUAL
    return model


def race_loss(logits: Tensor, batch: Tensor, race: Race) -> Tensor:
    """The mean of minus the log-density of codes and waiting times: (rows, n, codes) logits of (rows, n) moments, -1 behind the end."""
    ids, days, there = code_ids(batch), ages(batch), batch[:, 1:] >= 0
    masked = race.masked(logits[:, :-1], has_come(ids[:, :-1], logits.shape[-1]))
    own = masked.gather(-1, ids[:, 1:, None])[..., 0]
    wait = (days[:, 1:] - days[:, :-1]).clamp(min=_HOUR).float()
    log_expected = masked.logsumexp(dim=-1) + wait.log()  # how many codes should have come meanwhile
    near = log_expected.clamp(max=_FAR)
    expected = near.exp() * (
        1 + log_expected - near
    )  # beyond, linear: else a few waits of years would drown all other gradients
    return (expected - own.masked_fill(own.isinf(), 0.0))[there].mean()


def write_delphi(model: Delphi, out: Path) -> None:
    """config.json and safetensors (16 bit), as ``open_delphi`` reads them."""
    from safetensors.torch import save_file

    weights = {name: one.half().contiguous() for name, one in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    made = ("num_hidden_layers", "hidden_size", "max_position_embeddings")
    settings = {name: value for name, value in vars(model.config).items() if name not in made}
    (out / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
