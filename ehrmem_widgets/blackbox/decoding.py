"""Decode many continuations of few prompts, fast: each prompt is read once, its keys and values shared by all samples.

``SharedPromptDecoder`` runs the transformer blocks of GPT-2, Llama and GPT-NeoX itself: keys and values of the prompt are
kept once a prompt, those of the continuations in preallocated memory, so that a step is a few matrix products.
``LibraryDecoder`` leaves every architecture (Mamba2 among them) to transformers and its own cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_COPIED_PROMPT = 65_536  # numbers a layer: a prompt's keys this small are copied to each continuation, not asked apart


class Decoder(Protocol):
    """What the sampling loop needs."""

    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        """Read the prompts; ``room`` is the number of steps to come. Returns logits (prompts, 1, codes)."""
        ...

    def step(self, codes: Tensor) -> Tensor:
        """Append one code to each continuation. ``codes``: (prompts, samples). Returns (prompts, samples, codes)."""
        ...


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    bias: Tensor | None
    epsilon: float
    floor: Tensor | None = None  # sqrt(n epsilon), when the norm is by the root mean square

    def __call__(self, x: Tensor) -> Tensor:
        if (
            self.floor is not None
        ):  # to unit length, in few kernels; weight and sqrt(n) are part of the layer that follows
            return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.floor)
        return F.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Linear:
    weight: Tensor  # (in, out)
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class _Block:
    norm_attention: _Norm
    query_key_value: (
        _Linear  # out: queries, keys, values; with rotary positions also queries and keys turned by 90 degrees
    )
    attention_out: _Linear
    norm_mlp: _Norm
    up: _Linear  # out: up, or gate and up
    gated: bool
    down: _Linear
    activation: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Transformer:
    """The parts of a decoder-only transformer that a step needs, whatever library class they came from."""

    embedding: Tensor
    positions: Tensor | None  # learned position embeddings
    rotary: tuple[Tensor, Tensor] | None  # cos, sin: (context, width of a head)
    blocks: list[_Block]
    norm: _Norm
    head: _Linear
    heads: int
    key_heads: int
    width: int  # of a head
    parallel: bool  # attention and MLP read the same input (GPT-NeoX)


class SharedPromptDecoder:
    """The fast decoder, for one stream of continuations."""

    def __init__(self, parts: Transformer) -> None:
        self._parts = parts

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        parts = self._parts
        device = parts.embedding.device
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        longest = int(lengths.max())
        # Left padding: every prompt ends at the same place, and padded keys are masked out.
        padding = longest - lengths
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
        places = (torch.arange(longest, device=device) - padding[:, None]).clamp(min=0)
        visible = torch.arange(longest, device=device) >= padding[:, None]
        causal = torch.ones(longest, longest, dtype=torch.bool, device=device).tril()
        mask = causal & visible[:, None, :]
        mask = (mask | torch.eye(longest, dtype=torch.bool, device=device)).unsqueeze(1)  # a padded row sees itself
        self._count, self._samples, self._lengths, self._at = len(prompts), samples, lengths, 0
        copied = len(prompts) * samples * longest * parts.key_heads * parts.width
        self._copied = longest if copied <= _COPIED_PROMPT else 0
        self._bias = None
        if bool(padding.any()):
            self._bias = torch.zeros(len(prompts), 1, 1, 1, longest + max(room, 1), device=device)
            self._bias[..., :longest].masked_fill_(~visible[:, None, None, None, :], float("-inf"))
        self._prompt_cache: list[tuple[Tensor, Tensor]] = []
        shape = (len(prompts), samples, parts.key_heads, self._copied + max(room, 1), parts.width)
        self._cache = [(torch.empty(shape, device=device), torch.empty(shape, device=device)) for _ in parts.blocks]
        grouped = parts.heads != parts.key_heads

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # (prompts * longest, heads, width) -> (prompts, heads, longest, width)
            q, k, v = (x.reshape(len(prompts), longest, -1, parts.width).transpose(1, 2) for x in (q, k, v))
            if self._copied:
                for cache, found in zip(self._cache[layer], (k, v), strict=True):
                    cache[:, :, :, :longest] = found.unsqueeze(1)
            else:
                self._prompt_cache.append((k.transpose(2, 3).contiguous(), v.contiguous()))
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0, enable_gqa=grouped)
            return mixed.transpose(1, 2).reshape(len(prompts) * longest, -1)

        x = self._forward(ids.reshape(-1), places.reshape(-1), attend)
        last = x.view(len(prompts), longest, -1)[:, -1]
        return parts.head(parts.norm(last)).unsqueeze(1)

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        parts = self._parts
        prompts, samples, heads = self._count, self._samples, parts.key_heads
        group = parts.heads // heads
        at = self._copied + self._at
        rows = (prompts, samples, heads, group)
        places = (self._lengths + self._at).repeat_interleave(samples)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self._cache[layer]
            keys[:, :, :, at] = k.view(prompts, samples, heads, -1)
            values[:, :, :, at] = v.view(prompts, samples, heads, -1)
            own_keys, own_values = keys.flatten(0, 2)[:, : at + 1], values.flatten(0, 2)[:, : at + 1]
            scores = torch.bmm(q.reshape(-1, group, parts.width), own_keys.transpose(1, 2))
            if self._copied:
                if self._bias is not None:
                    scores = (scores.view(*rows, -1) + self._bias[..., : at + 1]).flatten(0, 2)
                return torch.bmm(scores.softmax(dim=-1), own_values).view(prompts * samples, -1)
            prompt_keys, prompt_values = self._prompt_cache[layer]
            # All samples of a prompt ask its keys in one product: (prompts, key heads, samples * group, width).
            asked = q.view(*rows, -1).transpose(1, 2).reshape(prompts, heads, samples * group, -1)
            to_prompt = (asked @ prompt_keys).view(prompts, heads, samples, group, -1).transpose(1, 2)
            length = to_prompt.shape[-1]
            if self._bias is not None:
                to_prompt = to_prompt + self._bias[..., :length]
            weights = torch.cat([to_prompt, scores.view(*rows, -1)], dim=-1).softmax(dim=-1)
            of_prompt = (
                weights[..., :length].transpose(1, 2).reshape(prompts, heads, samples * group, -1) @ prompt_values
            )
            of_own = torch.bmm(weights[..., length:].flatten(0, 2), own_values)
            of_prompt = of_prompt.view(prompts, heads, samples, group, -1).transpose(1, 2)
            return (of_own.view(*rows, -1) + of_prompt).reshape(prompts * samples, -1)

        x = self._forward(codes.reshape(-1), places, attend)
        self._at += 1
        return parts.head(parts.norm(x)).view(prompts, samples, -1)

    def _forward(self, ids: Tensor, places: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        parts = self._parts
        x = parts.embedding[ids]
        if parts.positions is not None:
            x = x + parts.positions[places]
        turn = None if parts.rotary is None else (parts.rotary[0][places, None], parts.rotary[1][places, None])
        turned, key_width = (parts.heads + parts.key_heads) * parts.width, parts.key_heads * parts.width
        for layer, block in enumerate(parts.blocks):
            found = block.query_key_value(block.norm_attention(x))
            qk, v = found[:, :turned].unflatten(1, (-1, parts.width)), found[:, turned : turned + key_width]
            if turn is not None:
                qk = torch.addcmul(
                    qk * turn[0], found[:, turned + key_width :].unflatten(1, (-1, parts.width)), turn[1]
                )
            mixed = block.attention_out(attend(layer, qk[:, : parts.heads], qk[:, parts.heads :], v))
            inner = block.up(block.norm_mlp(x if parts.parallel else x + mixed))
            if block.gated:
                gate, up = inner.chunk(2, dim=-1)
                inner = block.activation(gate) * up
            else:
                inner = block.activation(inner)
            x = x + mixed + block.down(inner)
        return x


class LibraryDecoder:
    """Any causal model of transformers, by its own forward and its own cache, one prompt after the other."""

    def __init__(self, model: Any) -> None:
        self._model = model
        names = {"mamba", "mamba2", "falcon_mamba"}
        self._cache_name = "cache_params" if model.config.model_type in names else "past_key_values"

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        self._caches, logits = [], []
        for prompt in prompts:
            answer = self._model(input_ids=torch.tensor([prompt], device=self._model.device), use_cache=True)
            cache = getattr(answer, self._cache_name)
            if samples > 1:
                _repeat(cache, samples)
            self._caches.append(cache)
            logits.append(answer.logits[:, -1:].float())
        return torch.cat(logits)

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        logits = []
        for place, row in enumerate(codes):
            answer = self._model(input_ids=row[:, None], use_cache=True, **{self._cache_name: self._caches[place]})
            logits.append(answer.logits[:, -1].float())
        return torch.stack(logits)


class UnsupportedModelError(Exception):
    """The fast decoder does not know this architecture."""


def best_decoder(model: Any) -> Callable[[], Decoder]:
    """What makes a decoder: the fast one where it gives the library's own logits, code for code; else the library's."""
    try:
        parts = transformer_parts(model)
        fast = SharedPromptDecoder(parts)
    except (UnsupportedModelError, AttributeError):
        return lambda: LibraryDecoder(model)
    length = min(12, model.config.max_position_embeddings - 4)
    ids = [(7 * i + 1) % model.config.vocab_size for i in range(length)]
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids], device=model.device)).logits[0].float()
    found = [fast.begin([ids[:4], ids[2:4]], 2, length)[0, 0]]
    found += [fast.step(torch.tensor([[code] * 2] * 2, device=model.device))[0, 1] for code in ids[4:]]
    agree = torch.allclose(torch.stack(found), expected[3:], atol=1e-3, rtol=1e-3)
    return (lambda: SharedPromptDecoder(parts)) if agree else (lambda: LibraryDecoder(model))


def _repeat(cache: Any, samples: int) -> None:
    for layer in cache.layers:
        if hasattr(layer, "batch_repeat_interleave"):
            layer.batch_repeat_interleave(samples)
            continue
        for name in ("conv_states", "recurrent_states", "keys", "values"):
            value = getattr(layer, name, None)
            if isinstance(value, Tensor):
                setattr(layer, name, value.repeat_interleave(samples, dim=0))
            elif isinstance(value, dict):
                setattr(layer, name, {k: v.repeat_interleave(samples, dim=0) for k, v in value.items()})


def transformer_parts(model: Any) -> Transformer:
    """The weights of a GPT-2, Llama or GPT-NeoX. Raises ``UnsupportedModelError`` for another architecture."""
    builders = {"gpt2": _gpt2, "llama": _llama, "gpt_neox": _gpt_neox}
    build = builders.get(model.config.model_type)
    if build is None:
        raise UnsupportedModelError(model.config.model_type)
    return build(model)


def _gpt2(model: Any) -> Transformer:
    from transformers.activations import ACT2FN

    config, body = model.config, model.transformer
    blocks = [
        _Block(
            norm_attention=_layer_norm(b.ln_1),
            query_key_value=_scaled_queries(  # stored (in, out)
                _Linear(b.attn.c_attn.weight.data, b.attn.c_attn.bias.data),
                config.n_head,
                config.n_embd // config.n_head,
            ),
            attention_out=_Linear(b.attn.c_proj.weight.data, b.attn.c_proj.bias.data),
            norm_mlp=_layer_norm(b.ln_2),
            up=_Linear(b.mlp.c_fc.weight.data, b.mlp.c_fc.bias.data),
            gated=False,
            down=_Linear(b.mlp.c_proj.weight.data, b.mlp.c_proj.bias.data),
            activation=_activation(config.activation_function, ACT2FN),
        )
        for b in body.h
    ]
    return Transformer(
        embedding=body.wte.weight.data,
        positions=body.wpe.weight.data,
        rotary=None,
        blocks=blocks,
        norm=_layer_norm(body.ln_f),
        head=_linear(model.lm_head),
        heads=config.n_head,
        key_heads=config.n_head,
        width=config.n_embd // config.n_head,
        parallel=False,
    )


def _llama(model: Any) -> Transformer:
    from transformers.activations import ACT2FN

    config, body = model.config, model.model
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotary, rotated = _rotary(body, config, width)
    blocks = [
        _Block(
            norm_attention=_rms_norm(b.input_layernorm),
            query_key_value=_turning(
                _scaled_queries(
                    _stacked(
                        b.self_attn.q_proj, b.self_attn.k_proj, b.self_attn.v_proj, scale=b.input_layernorm.weight
                    ),
                    config.num_attention_heads,
                    width,
                ),
                config.num_attention_heads + config.num_key_value_heads,
                width,
                rotated,
            ),
            attention_out=_linear(b.self_attn.o_proj),
            norm_mlp=_rms_norm(b.post_attention_layernorm),
            up=_stacked(b.mlp.gate_proj, b.mlp.up_proj, scale=b.post_attention_layernorm.weight),
            gated=True,
            down=_linear(b.mlp.down_proj),
            activation=_activation(config.hidden_act, ACT2FN),
        )
        for b in body.layers
    ]
    return Transformer(
        embedding=body.embed_tokens.weight.data,
        positions=None,
        rotary=rotary,
        blocks=blocks,
        norm=_rms_norm(body.norm),
        head=_stacked(model.lm_head, scale=body.norm.weight),
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        width=width,
        parallel=False,
    )


def _gpt_neox(model: Any) -> Transformer:
    from transformers.activations import ACT2FN

    config, body = model.config, model.gpt_neox
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    rotary, rotated = _rotary(body, config, width)

    def by_part(layer: Any) -> _Linear:  # stored head by head as (q, k, v); we want all q, all k, all v
        weight = layer.weight.data.view(heads, 3, width, -1).transpose(0, 1).reshape(3 * heads * width, -1)
        bias = None if layer.bias is None else layer.bias.data.view(heads, 3, width).transpose(0, 1).reshape(-1)
        return _Linear(weight.t().contiguous(), bias)

    blocks = [
        _Block(
            norm_attention=_layer_norm(b.input_layernorm),
            query_key_value=_turning(
                _scaled_queries(by_part(b.attention.query_key_value), heads, width), 2 * heads, width, rotated
            ),
            attention_out=_linear(b.attention.dense),
            norm_mlp=_layer_norm(b.post_attention_layernorm),
            up=_linear(b.mlp.dense_h_to_4h),
            gated=False,
            down=_linear(b.mlp.dense_4h_to_h),
            activation=_activation(config.hidden_act, ACT2FN),
        )
        for b in body.layers
    ]
    return Transformer(
        embedding=body.embed_in.weight.data,
        positions=None,
        rotary=rotary,
        blocks=blocks,
        norm=_layer_norm(body.final_layer_norm),
        head=_linear(getattr(model, "embed_out", None) or model.lm_head),
        heads=heads,
        key_heads=heads,
        width=width,
        parallel=config.use_parallel_residual,
    )


def _activation(name: str, library: Any) -> Callable[[Tensor], Tensor]:
    if name == "gelu_new":  # the same function, in one kernel
        return lambda x: F.gelu(x, approximate="tanh")
    return library[name]


def _rotary(body: Any, config: Any, width: int) -> tuple[tuple[Tensor, Tensor], int]:
    """cos and sin (context, width), 1 and 0 where nothing is rotated, and how many dimensions are."""
    places = torch.arange(config.max_position_embeddings, device=body.rotary_emb.inv_freq.device)[None]
    with torch.inference_mode():
        cos, sin = body.rotary_emb(torch.zeros(1, device=places.device), places)
    rotated = cos.shape[-1]
    return (
        F.pad(cos[0].float(), (0, width - rotated), value=1.0),
        F.pad(sin[0].float(), (0, width - rotated)),
    ), rotated


def _scaled_queries(linear: _Linear, heads: int, width: int) -> _Linear:
    """The scale of the attention, 1 / sqrt(width), as part of the queries (the first ``heads * width`` outputs)."""
    scale = torch.ones(linear.weight.shape[1], device=linear.weight.device)
    scale[: heads * width] /= math.sqrt(width)
    return _Linear(linear.weight * scale, None if linear.bias is None else linear.bias * scale)


def _turning(linear: _Linear, heads: int, width: int, rotated: int) -> _Linear:
    """Also give the first ``heads`` heads turned by 90 degrees, so that a rotation is x cos + turned x sin."""

    def turned(x: Tensor) -> Tensor:  # (..., out)
        first = x[..., : heads * width].unflatten(-1, (heads, width))
        a, b = first[..., :rotated].chunk(2, dim=-1)
        return F.pad(torch.cat([-b, a], dim=-1), (0, width - rotated)).flatten(-2)

    weight = torch.cat([linear.weight, turned(linear.weight)], dim=-1).contiguous()
    return _Linear(weight, None if linear.bias is None else torch.cat([linear.bias, turned(linear.bias)]))


def _layer_norm(module: Any) -> _Norm:
    bias = None if module.bias is None else module.bias.data
    return _Norm(module.weight.data, bias, module.eps)


def _rms_norm(module: Any) -> _Norm:
    floor = (module.weight.data.new_ones(1) * len(module.weight) * module.variance_epsilon).sqrt()
    return _Norm(module.weight.data, None, module.variance_epsilon, floor)


def _linear(module: Any) -> _Linear:
    return _Linear(module.weight.data.t().contiguous(), None if module.bias is None else module.bias.data)


def _stacked(*modules: Any, scale: Tensor) -> _Linear:
    """Several linear layers as one, the weight of the norm before them (``scale``) and its sqrt(n) included."""
    scale = scale.data * math.sqrt(len(scale))
    weight = (torch.cat([m.weight.data for m in modules]) * scale).t().contiguous()
    bias = None if modules[0].bias is None else torch.cat([m.bias.data for m in modules])
    return _Linear(weight, bias)
