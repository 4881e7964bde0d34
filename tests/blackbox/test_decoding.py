"""The decoders must give the logits of the library's plain forward pass, code for code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from ehrmem_widgets.blackbox import attention_decoding, own_keys, state_space_decoding
from ehrmem_widgets.blackbox.decoding import (
    Decoder,
    SharedPromptDecoder,
    StateSpaceDecoder,
    best_decoder,
    context_length,
    state_space_parts,
    transformer_parts,
)
from ehrmem_widgets.blackbox.library_decoding import LibraryDecoder, RereadingDecoder

SIZE = 40
COMMON = {"vocab_size": SIZE, "hidden_size": 32, "num_hidden_layers": 2}
ATTENTION = {**COMMON, "intermediate_size": 48, "num_attention_heads": 4, "max_position_embeddings": 64}
MAMBA2 = {**COMMON, "num_heads": 4, "head_dim": 16, "state_size": 16, "chunk_size": 8}
GPT = {"vocab_size": SIZE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
CONFIGS: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "gpt2": lambda: transformers.GPT2Config(**GPT),
    "llama": lambda: transformers.LlamaConfig(**ATTENTION, num_key_value_heads=2),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**ATTENTION, rotary_pct=0.5),
    "mamba": lambda: transformers.MambaConfig(**COMMON, state_size=8),
    "mamba2": lambda: transformers.Mamba2Config(**MAMBA2, n_groups=2),
    "scaled positions": lambda: transformers.LlamaConfig(
        **ATTENTION, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}
    ),
    "parallel layers": lambda: transformers.GPTNeoXConfig(**ATTENTION, use_parallel_residual=False),
    "biases": lambda: transformers.MambaConfig(**COMMON, use_bias=True, use_conv_bias=False),
    "limited time step": lambda: transformers.Mamba2Config(**MAMBA2, n_groups=1, time_step_limit=(0.01, 0.05)),
    # The library serves these; openai-gpt has no cache.
    "mistral": lambda: transformers.MistralConfig(**ATTENTION, num_key_value_heads=2, sliding_window=8),
    "qwen2": lambda: transformers.Qwen2Config(
        **ATTENTION, num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1
    ),
    "sliding window of all codes": lambda: transformers.MistralConfig(**ATTENTION, num_key_value_heads=2, sliding_window=60),
    "gemma": lambda: transformers.GemmaConfig(**ATTENTION, num_key_value_heads=2, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**ATTENTION, num_key_value_heads=2, head_dim=8, sliding_window=8),
    "phi": lambda: transformers.PhiConfig(**ATTENTION),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, max_position_embeddings=64,
        word_embed_proj_dim=16,
    ),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=SIZE, hidden_size=32, num_layers=2, num_heads=4, max_position_embeddings=64, window_size=8,
        attention_types=[[["global", "local"], 1]],
    ),
    "rwkv": lambda: transformers.RwkvConfig(**COMMON, context_length=64),
    "falcon_mamba": lambda: transformers.FalconMambaConfig(**COMMON, state_size=8),
    "bloom": lambda: transformers.BloomConfig(vocab_size=SIZE, hidden_size=32, n_layer=2, n_head=4),
    "openai-gpt": lambda: transformers.OpenAIGPTConfig(**GPT),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=1, lru_width=32, attention_window_size=16,
        intermediate_size=48, block_types=["recurrent", "attention"],
    ),
}  # fmt: skip
FAST = (
    "gpt2",
    "llama",
    "gpt_neox",
    "mamba",
    "mamba2",
    "scaled positions",
    "parallel layers",
    "limited time step",
)
PROMPT_COPIED = ("gemma2", "gpt_neo", "bloom")
PROMPTS = (
    [[1, 2, 3, 4, 5, 6, 7], [8, 9], [3]],
    [list(range(36)), [3, 4], [5] * 20],
    [list(range(36))],
    [[7, 1]],
)


needs_sixteen_bits = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()),
    reason="this processor has no products of 16-bit numbers",
)


def small_model(kind: str, width: int = 32) -> Any:
    torch.manual_seed(3)
    config = CONFIGS[kind]()
    config.hidden_size = width
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not name.endswith("A_log"):
            # Fresh weights are too small to tell a wrong order of heads.
            parameter.data.mul_(2 if "mamba" in model.config.model_type or width > 32 else 4)
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.3)
    return model.eval()


def fast_decoder(model: Any) -> Decoder:
    transformer, state_space = transformer_parts(model), state_space_parts(model)
    if transformer is not None:
        return SharedPromptDecoder(transformer)
    assert state_space is not None
    return StateSpaceDecoder(state_space)


def check(
    new_decoder: Callable[[], Decoder],
    model: Any,
    prompts: list[list[int]],
    samples: int = 5,
    steps: int = 6,
    within: float = 2e-4,
) -> None:
    """Forced through the same continuations, the decoder and a plain forward pass give the same logits, also for those that are left
    when others were given up."""
    for drop in (False, True):
        _check(new_decoder(), model, prompts, samples, steps, within, drop)


def _check(
    decoder: Decoder, model: Any, prompts: list[list[int]], samples: int, steps: int, within: float, drop: bool
) -> None:
    torch.manual_seed(1)
    continuations = torch.randint(0, SIZE, (len(prompts), samples, steps))
    expected = []
    for row, prompt in enumerate(prompts):
        whole = torch.cat([torch.tensor(prompt).expand(samples, -1), continuations[row]], dim=1)
        with torch.inference_mode():
            expected.append(model(input_ids=whole).logits[:, len(prompt) - 1 :])
    wanted = torch.cat(expected)  # (rows, steps + 1, codes)
    rows = torch.arange(len(prompts) * samples)
    found = decoder.begin(prompts, samples, steps).repeat_interleave(samples, dim=0)
    for step in range(steps):
        torch.testing.assert_close(found, wanted[rows, step], atol=within, rtol=1e-4)
        if (
            drop and step in (1, 2, 4) and len(rows) > 1
        ):  # the first row, then every third of those left, then the first prompt
            kept = torch.arange(len(rows))
            kept = {1: kept[1:], 2: kept[kept % 3 > 0], 4: kept[rows >= samples]}[step]
            if len(kept):
                decoder.keep(kept)
                rows = rows[kept]
        found = decoder.step(continuations.flatten(0, 1)[rows, step])
    torch.testing.assert_close(found, wanted[rows, steps], atol=within, rtol=1e-4)


@pytest.mark.parametrize("kind", FAST)
@pytest.mark.parametrize("prompts", PROMPTS)
# The prompt asked apart, and copied to each continuation; the states changed and folded all at once, and in small parts.
@pytest.mark.parametrize("small", [True, False])
def test_the_fast_decoders(kind: str, prompts: list[list[int]], small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_decoding, "_COPIED_PROMPT", 0 if small else 10**9)
    monkeypatch.setattr(own_keys, "_STEPS", 2 if small else 4)
    if small:
        monkeypatch.setattr(state_space_decoding, "_IN_CACHE", 2000)
        monkeypatch.setattr(state_space_decoding, "_READ_AT_ONCE", 40_000)
        monkeypatch.setattr(state_space_decoding, "_FEWEST_STEPS", 4)
    model = small_model(kind)
    if small and kind == "mamba2":  # the steps of a state of 16 are folded after 16
        check(lambda: fast_decoder(model), model, prompts, steps=40 if len(prompts) == 3 else 20)
    check(lambda: fast_decoder(model), model, prompts)


@needs_sixteen_bits
@pytest.mark.parametrize("kind", FAST[:3])
@pytest.mark.parametrize("prompts", PROMPTS[:3])
@pytest.mark.parametrize("copied", [0, 10**9])
def test_products_in_sixteen_bits(
    kind: str, prompts: list[list[int]], copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_decoding, "_COPIED_PROMPT", copied)
    model = small_model(kind, width=256)
    parts = transformer_parts(model, packed=torch.bfloat16)
    assert parts is not None and parts.number_format == torch.bfloat16
    check(lambda: SharedPromptDecoder(parts), model, prompts, within=0.05)


@needs_sixteen_bits
@pytest.mark.parametrize("kind", FAST[:3])
def test_where_products_are_in_sixteen_bits(kind: str) -> None:
    def chosen_format(model: Any, *, sixteen_bits: bool = True) -> torch.dtype:
        decoder = best_decoder(model, sixteen_bits=sixteen_bits)()
        assert isinstance(decoder, SharedPromptDecoder)
        return decoder.parts.number_format

    wide = small_model(kind, width=256)
    assert chosen_format(wide) == torch.bfloat16
    assert chosen_format(wide, sixteen_bits=False) == torch.float32
    assert chosen_format(small_model(kind, width=192)) == torch.float32
    for name, parameter in wide.named_parameters():  # attention so sharp that rounding decides which code is looked at
        if "attn" in name or "attention" in name:
            parameter.data.mul_(30)
    assert chosen_format(wide) == torch.float32
    check(best_decoder(wide, sixteen_bits=True), wide, PROMPTS[0], within=5e-3)


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind not in ("openai-gpt", "limited time step")])
def test_the_librarys_own_cache(kind: str) -> None:
    model = small_model(kind)
    for prompts in PROMPTS:
        check(lambda: LibraryDecoder(model, shared=False), model, prompts)
        if kind not in PROMPT_COPIED:
            check(lambda: LibraryDecoder(model, shared=True), model, prompts)
    assert model.config._attn_implementation in ("sdpa", "eager", None)  # for whoever asks next


@pytest.mark.parametrize("kind", ["openai-gpt", "recurrent_gemma", "bloom", "mamba2"])
def test_without_any_cache(kind: str) -> None:
    model = small_model(kind)
    for prompts in PROMPTS:
        check(lambda: RereadingDecoder(model), model, prompts)


def test_two_decoders_of_one_model_share_nothing() -> None:
    for kind in (*FAST[:5], "mistral", "opt", "rwkv", "recurrent_gemma"):
        model = small_model(kind)
        new = best_decoder(model)
        one, other = new(), new()
        one.begin([[1, 2, 3]], 2, 3)
        before = one.step(torch.tensor([4, 5]))
        other.begin([[9, 9, 9, 9]], 2, 3)
        other.step(torch.tensor([7, 7]))
        after, again = one.step(torch.tensor([6, 6])), new()
        again.begin([[1, 2, 3]], 2, 3)
        torch.testing.assert_close(again.step(torch.tensor([4, 5])), before)
        torch.testing.assert_close(again.step(torch.tensor([6, 6])), after)


def test_the_fastest_decoder_that_agrees_is_chosen() -> None:
    expected = dict.fromkeys(CONFIGS, "LibraryDecoder, shared") | dict.fromkeys(PROMPT_COPIED, "LibraryDecoder")
    expected |= dict.fromkeys((*FAST[:3], *FAST[5:7]), "SharedPromptDecoder")
    expected |= dict.fromkeys(("mamba", "mamba2", "limited time step"), "StateSpaceDecoder")
    expected |= {"openai-gpt": "RereadingDecoder"}
    assert {kind: chosen(small_model(kind)) for kind in expected} == expected


def chosen(model: Any) -> str:
    decoder = best_decoder(model)()
    return type(decoder).__name__ + (", shared" if getattr(decoder, "shared", False) else "")


def test_a_fast_decoder_that_does_not_agree_is_not_chosen() -> None:
    odd = CONFIGS["gpt2"]()
    odd.scale_attn_by_inverse_layer_idx = True
    model = transformers.AutoModelForCausalLM.from_config(odd).eval()
    model.load_state_dict(small_model("gpt2").state_dict())
    assert chosen(model) == "LibraryDecoder, shared"


def test_how_many_codes_a_model_takes() -> None:
    found = {kind: context_length(small_model(kind)) for kind in ("gpt2", "llama", "mamba", "mamba2", "bloom")}
    assert found == {"gpt2": 64, "llama": 64, "mamba": None, "mamba2": None, "bloom": None}
