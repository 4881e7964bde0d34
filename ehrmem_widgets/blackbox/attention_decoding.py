"""The fast decoder of GPT-2, Llama and GPT-NeoX: each prompt is read once, its keys and values shared by all samples.

The keys and values of the prompt are kept once a prompt and asked in one product by all its continuations, whose own are in ``own_keys``.
Rotary positions are complex numbers: the two dimensions that turn together stand side by side.

On a CUDA device a step is always of the same shape, so that it can be replayed (``replayed``): it asks the memory of the steps to come,
too, whose keys are masked out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ehrmem_widgets.blackbox.layers import Linear, Norm, activation, layer_norm, linear, rms_norm, stacked
from ehrmem_widgets.blackbox.own_keys import BagsOfKeys, FixedKeys, OwnKeys
from ehrmem_widgets.blackbox.race import ages, code_ids
from ehrmem_widgets.blackbox.replayed import Replayed
from ehrmem_widgets.blackbox.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_COPIED_PROMPT = 65_536  # numbers a layer: a prompt's keys this small are copied to each continuation, not asked apart
_REPLAYED_STEPS = 64  # then the next are recorded, with the keys and values of as many more


@dataclass(frozen=True)
class _Block:
    norm_attention: Norm
    query_key_value: Linear  # out: queries, keys, values
    attention_out: Linear
    norm_mlp: Norm
    up: Linear  # out: up, or gate and up; with the activation where it is not gated
    gated: bool
    down: Linear

    def packed(self, number_format: torch.dtype) -> _Block:
        return replace(
            self,
            query_key_value=self.query_key_value.packed(number_format),
            attention_out=self.attention_out.packed(number_format),
            up=self.up.packed(number_format),
            down=self.down.packed(number_format),
        )


@dataclass(frozen=True)
class Transformer:
    """The parts of a decoder-only transformer that a step needs, whatever library class they came from."""

    embedding: Tensor
    positions: Tensor | None  # learned position embeddings
    turn: Tensor | None  # (context, width of a head / 2) complex: how far each pair of dimensions is turned at a place
    blocks: list[_Block]
    norm: Norm
    head: Linear
    heads: int
    key_heads: int
    width: int  # of a head
    parallel: bool  # attention and MLP read the same input (GPT-NeoX)
    activation: str  # its name in transformers
    ages: Callable[[Tensor], Tensor] | None = None  # where codes come as moments: (n,) ages in days -> (n, hidden)

    @property
    def number_format(self) -> torch.dtype:
        """That of the layers' products; all else is in the embedding's."""
        return self.blocks[0].query_key_value.weight.dtype if self.blocks else self.embedding.dtype

    @property
    def kept_as(self) -> torch.dtype:
        """The number format of keys and values: where products are in 16 bits, half precision, whose digits are finer than those of bfloat16."""
        return torch.float16 if self.number_format != self.embedding.dtype else self.embedding.dtype


class SharedPromptDecoder:
    """One stream of continuations, as ``decoding.Decoder``."""

    def __init__(self, parts: Transformer) -> None:
        self.parts, self._activation = parts, activation(parts.activation)

    def bytes_a_sample(self, longest: int, room: int) -> int:
        """As ``Decoder.bytes_a_sample``: the keys and values of the continuation."""
        parts = self.parts
        return 2 * len(parts.blocks) * parts.key_heads * parts.width * room * parts.kept_as.itemsize

    @torch.inference_mode()
    def begin(self, prompts: list[list[int]], samples: int, room: int) -> Tensor:
        parts = self.parts
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
        self._rows = Rows(len(prompts), samples, device)
        self._places = lengths[self._rows.prompt]  # of the next code of each continuation
        copied = len(prompts) * samples * longest * parts.key_heads * parts.width
        self._at = self._copied = longest if copied <= _COPIED_PROMPT else 0  # the next place in the cache
        self._room = self._copied + max(room, 1)
        replays = device.type == "cuda"
        shape = len(prompts) * samples, parts.key_heads, parts.heads // parts.key_heads, parts.width
        like = parts.embedding.new_empty(0, dtype=parts.kept_as)
        kept = FixedKeys if replays else BagsOfKeys
        self._own: OwnKeys = kept(len(parts.blocks), shape, self._at, self._room, like)
        self._replayed: tuple[int, Replayed] | None = None  # how far it reaches
        self._bias = None
        if bool(padding.any()) or replays:
            bias = parts.embedding.new_zeros(len(prompts), 1, 1, longest + max(room, 1))
            bias[..., :longest].masked_fill_(~visible[:, None, None, :], float("-inf"))
            if replays:
                bias[..., longest:] = float("-inf")
            self._bias = bias[self._rows.prompt]
        self._prompt_cache: list[tuple[Tensor, Tensor]] = []
        grouped = parts.heads != parts.key_heads

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # (prompts * longest, heads, width) -> (prompts, heads, longest, width)
            q, k, v = (x.reshape(len(prompts), longest, -1, parts.width).transpose(1, 2) for x in (q, k, v))
            if self._copied:
                self._own.fill(layer, k, v)
            else:
                self._prompt_cache.append((k.transpose(2, 3).contiguous(), v.contiguous()))
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0, enable_gqa=grouped)
            return mixed.transpose(1, 2).reshape(len(prompts) * longest, -1)

        x = self._forward(ids.flatten(), places.flatten(), attend).view(len(prompts), longest, -1)
        self._saw_prompts(x, visible)
        return parts.head(parts.norm(x[:, -1])).float()

    @torch.inference_mode()
    def step(self, codes: Tensor) -> Tensor:
        if isinstance(self._own, FixedKeys):
            steps = (self._at - self._copied) // _REPLAYED_STEPS + 1
            reach = min(self._copied + steps * _REPLAYED_STEPS, self._room)
            if self._replayed is None or self._replayed[0] != reach:
                self._replayed = (reach, Replayed())
            (found,) = self._replayed[1](lambda codes: self._step(codes, reach), codes)
        else:
            (found,) = self._step(codes, self._at + 1)
        self._at += 1
        return found

    def _step(self, codes: Tensor, reach: int) -> tuple[Tensor]:
        """A step that asks the first ``reach`` places of the cache."""
        parts = self.parts
        heads, group = parts.key_heads, parts.heads // parts.key_heads
        if self._bias is not None and isinstance(self._own, FixedKeys):
            self._bias.index_fill_(3, self._own.at + (self._bias.shape[3] - self._room), 0)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            queries = q.reshape(len(codes), heads, group, -1)
            self._own.put(layer, k.reshape(len(codes), heads, -1), v.reshape(len(codes), heads, -1))
            scores = self._own.scores(layer, queries, reach)
            if not self._copied:
                prompt_keys, prompt_values = self._prompt_cache[layer]
                # All continuations of a prompt ask its keys in one product.
                scores = torch.cat([self._of_prompts(queries, prompt_keys), scores], dim=-1)
            if self._bias is not None:
                scores = scores + self._bias[..., : scores.shape[-1]]
            weights = scores.softmax(dim=-1)
            found = self._own.mixed(layer, weights[..., -reach:])
            if not self._copied:
                found = found + self._of_prompts(weights[..., :-reach], prompt_values)
            return found.reshape(len(codes), -1)

        x = self._forward(codes, self._places, attend)
        self._saw(x, codes)
        self._places += 1
        self._own.next()
        return (parts.head(parts.norm(x)).float(),)

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        prompts = self._rows.keep(rows)
        self._places, self._replayed = self._places[rows], None
        if self._bias is not None:
            self._bias = self._bias[rows]
        self._own.keep(rows)
        self._prompt_cache = [(keys[prompts], values[prompts]) for keys, values in self._prompt_cache]

    def _saw_prompts(self, x: Tensor, visible: Tensor) -> None:
        """For who wants the states of the prompts: (prompts, longest, hidden) before the norm, and which of them count."""

    def _saw(self, x: Tensor, codes: Tensor) -> None:
        """For who wants the states of each step: (rows, hidden) before the norm."""

    def _of_prompts(self, x: Tensor, each: Tensor) -> Tensor:
        """(rows, key heads, group, n) times its prompt's (key heads, n, m)."""
        grid = self._rows.spread(x).transpose(1, 2)  # (prompts, key heads, most of a prompt, group, n)
        found = (grid.flatten(2, 3) @ each).unflatten(2, grid.shape[2:4])
        return self._rows.gather(found.transpose(1, 2))

    def _forward(self, ids: Tensor, places: Tensor, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """(n,) ids at (n,) places -> (n, hidden)."""
        parts = self.parts
        x = parts.embedding[ids] if parts.ages is None else parts.embedding[code_ids(ids)] + parts.ages(ages(ids))
        if parts.positions is not None:
            x = x + parts.positions[places]
        turn = None if parts.turn is None else parts.turn[places][:, None]
        with_positions = (parts.heads + parts.key_heads) * parts.width
        for layer, block in enumerate(parts.blocks):
            found = block.query_key_value(block.norm_attention(x)).to(x.dtype)
            qk, v = found[:, :with_positions], found[:, with_positions:]
            if turn is not None:
                pairs = qk.float().unflatten(-1, (-1, parts.width // 2, 2))
                qk = torch.view_as_real(torch.view_as_complex(pairs) * turn).to(qk.dtype)
            qk = qk.reshape(len(x), -1, parts.width)
            mixed = block.attention_out(attend(layer, qk[:, : parts.heads], qk[:, parts.heads :], v))
            inner = block.up(block.norm_mlp(x if parts.parallel else x + mixed))
            if block.gated:
                gate, up = inner.chunk(2, dim=-1)
                inner = self._activation(gate) * up
            x = x + mixed + block.down(inner)
        return x


class EmbeddingDecoder(SharedPromptDecoder):
    """A decoder that adds up the last layer's states of what it reads, prompt and continuation up to the first code that ends it (``goes_on``: (codes,) bool):
    (rows, hidden), appended to ``totals``. It is told of no continuation that ended, and drops none."""

    def __init__(self, parts: Transformer, goes_on: Tensor, totals: list[Tensor]) -> None:
        super().__init__(parts)
        self._goes_on, self._totals = goes_on, totals

    def _saw_prompts(self, x: Tensor, visible: Tensor) -> None:
        states = self.parts.norm.direction(x).float() * visible[..., None]
        self._totals.append(states.sum(dim=1)[self._rows.prompt])
        self._going = torch.ones(len(self._rows.prompt), 1, dtype=torch.bool, device=x.device)

    def _saw(self, x: Tensor, codes: Tensor) -> None:
        self._totals[-1] += self.parts.norm.direction(x).float() * self._going
        self._going &= self._goes_on[codes][:, None]


def transformer_parts(model: PreTrainedModel, *, packed: torch.dtype | None = None) -> Transformer | None:
    """The weights of a GPT-2, Llama, GPT-NeoX or Delphi; None for another architecture. ``packed``: laid out to multiply by in this format, layer by
    layer, so that they are never held twice; the head, whose rounding would be that of the probabilities, as the model is."""
    build = {"gpt2": _gpt2, "llama": _llama, "gpt_neox": _gpt_neox, "delphi": _delphi}.get(model.config.model_type)
    if build is None:
        return None
    parts = build(model, (lambda block: block.packed(packed)) if packed else (lambda block: block))
    return replace(parts, head=parts.head.packed()) if packed else parts


def _gpt2(model: Any, ready: Callable[[_Block], _Block]) -> Transformer:
    config, body = model.config, model.transformer
    width = config.n_embd // config.n_head
    blocks = [
        ready(
            _Block(
                norm_attention=layer_norm(b.ln_1),
                query_key_value=_for_attention(  # stored (in, out)
                    Linear(b.attn.c_attn.weight.data, b.attn.c_attn.bias.data), config.n_head, config.n_head, width
                ),
                attention_out=Linear(b.attn.c_proj.weight.data, b.attn.c_proj.bias.data),
                norm_mlp=layer_norm(b.ln_2),
                up=Linear(b.mlp.c_fc.weight.data, b.mlp.c_fc.bias.data, config.activation_function),
                gated=False,
                down=Linear(b.mlp.c_proj.weight.data, b.mlp.c_proj.bias.data),
            )
        )
        for b in body.h
    ]
    return Transformer(
        embedding=body.wte.weight.data,
        positions=body.wpe.weight.data,
        turn=None,
        blocks=blocks,
        norm=layer_norm(body.ln_f),
        head=linear(model.lm_head),
        heads=config.n_head,
        key_heads=config.n_head,
        width=width,
        parallel=False,
        activation=config.activation_function,
    )


def _delphi(model: Any, ready: Callable[[_Block], _Block]) -> Transformer:
    config, body = model.config, model.transformer
    width = config.n_embd // config.n_head
    blocks = [
        ready(
            _Block(
                norm_attention=layer_norm(b.ln_1),
                query_key_value=_for_attention(linear(b.attn.c_attn), config.n_head, config.n_head, width),
                attention_out=linear(b.attn.c_proj),
                norm_mlp=layer_norm(b.ln_2),
                up=linear(b.mlp.c_fc, "gelu_new"),
                gated=False,
                down=linear(b.mlp.c_proj),
            )
        )
        for b in body.h
    ]
    return Transformer(
        embedding=body.wte.weight.data,
        positions=None,
        turn=None,
        blocks=blocks,
        norm=layer_norm(body.ln_f),
        head=linear(model.lm_head),
        heads=config.n_head,
        key_heads=config.n_head,
        width=width,
        parallel=False,
        activation="gelu_new",
        ages=body.wae,
    )


def _llama(model: Any, ready: Callable[[_Block], _Block]) -> Transformer:
    config, body = model.config, model.model
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    turn, turned = _turn(body, config, width)
    blocks = [
        ready(
            _Block(
                norm_attention=rms_norm(b.input_layernorm),
                query_key_value=_for_attention(
                    stacked(b.self_attn.q_proj, b.self_attn.k_proj, b.self_attn.v_proj, scale=b.input_layernorm.weight),
                    config.num_attention_heads,
                    config.num_key_value_heads,
                    width,
                    turned,
                ),
                attention_out=linear(b.self_attn.o_proj),
                norm_mlp=rms_norm(b.post_attention_layernorm),
                up=stacked(b.mlp.gate_proj, b.mlp.up_proj, scale=b.post_attention_layernorm.weight),
                gated=True,
                down=linear(b.mlp.down_proj),
            )
        )
        for b in body.layers
    ]
    return Transformer(
        embedding=body.embed_tokens.weight.data,
        positions=None,
        turn=turn,
        blocks=blocks,
        norm=rms_norm(body.norm),
        head=stacked(model.lm_head, scale=body.norm.weight),
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        width=width,
        parallel=False,
        activation=config.hidden_act,
    )


def _gpt_neox(model: Any, ready: Callable[[_Block], _Block]) -> Transformer:
    config, body = model.config, model.gpt_neox
    heads = config.num_attention_heads
    width = config.hidden_size // heads
    turn, turned = _turn(body, config, width)

    def by_part(layer: nn.Linear) -> Linear:  # stored head by head as (q, k, v); we want all q, all k, all v
        weight = layer.weight.data.view(heads, 3, width, -1).transpose(0, 1).reshape(3 * heads * width, -1)
        bias = None if layer.bias is None else layer.bias.data.view(heads, 3, width).transpose(0, 1).reshape(-1)
        return Linear(weight.t().contiguous(), bias)

    blocks = [
        ready(
            _Block(
                norm_attention=layer_norm(b.input_layernorm),
                query_key_value=_for_attention(by_part(b.attention.query_key_value), heads, heads, width, turned),
                attention_out=linear(b.attention.dense),
                norm_mlp=layer_norm(b.post_attention_layernorm),
                up=linear(b.mlp.dense_h_to_4h, config.hidden_act),
                gated=False,
                down=linear(b.mlp.dense_4h_to_h),
            )
        )
        for b in body.layers
    ]
    return Transformer(
        embedding=body.embed_in.weight.data,
        positions=None,
        turn=turn,
        blocks=blocks,
        norm=layer_norm(body.final_layer_norm),
        head=linear(getattr(model, "embed_out", None) or model.lm_head),
        heads=heads,
        key_heads=heads,
        width=width,
        parallel=config.use_parallel_residual,
        activation=config.hidden_act,
    )


def _turn(body: Any, config: PreTrainedConfig, width: int) -> tuple[Tensor, int]:
    """(context, width / 2) complex numbers that turn a pair of dimensions, 1 where nothing turns; and how many turn."""
    places = torch.arange(config.max_position_embeddings, device=body.rotary_emb.inv_freq.device)[None]
    with torch.inference_mode():
        cos, sin = body.rotary_emb(torch.zeros(1, device=places.device), places)
    turned = cos.shape[-1]
    turn = torch.complex(cos[0, :, : turned // 2].float(), sin[0, :, : turned // 2].float())
    return F.pad(turn, (0, (width - turned) // 2), value=1.0), turned


def _for_attention(layer: Linear, heads: int, key_heads: int, width: int, turned: int = 0) -> Linear:
    """Queries, keys and values in one, the attention's scale 1 / sqrt(width) made part of the queries, and dimensions that
    turn together, i and i + turned / 2, put side by side in queries and keys (their product is the same in any order)."""
    order = torch.arange(layer.weight.shape[1])
    within = torch.cat([order[:turned].view(2, -1).t().reshape(-1), order[turned:width]])
    with_positions = (torch.arange(heads + key_heads)[:, None] * width + within).reshape(-1)
    order[: len(with_positions)] = with_positions
    scale = torch.ones(len(order), device=layer.weight.device)
    scale[: heads * width] /= math.sqrt(width)

    def arranged(x: Tensor) -> Tensor:
        return (x * scale).to(x.dtype)[..., order.to(x.device)].contiguous()

    return Linear(arranged(layer.weight), None if layer.bias is None else arranged(layer.bias))
