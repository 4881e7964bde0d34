"""The decoders must give the library's own logits, code for code."""

import pytest
import torch
import transformers

from ehrmem_widgets.blackbox import decoding
from ehrmem_widgets.blackbox.decoding import (
    LibraryDecoder,
    SharedPromptDecoder,
    UnsupportedModelError,
    best_decoder,
    transformer_parts,
)

SIZE = 40


def small_model(kind: str) -> transformers.PreTrainedModel:
    torch.manual_seed(3)
    configs = {
        "gpt2": lambda: transformers.GPT2Config(vocab_size=SIZE, n_embd=32, n_layer=2, n_head=4, n_positions=64),
        "llama": lambda: transformers.LlamaConfig(
            vocab_size=SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64,
        ),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(
            vocab_size=SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, rotary_pct=0.5,
        ),
        "mamba2": lambda: transformers.Mamba2Config(
            vocab_size=SIZE, hidden_size=32, num_heads=4, head_dim=16, state_size=16, num_hidden_layers=2, n_groups=1,
            chunk_size=8, expand=2,
        ),
    }  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(configs[kind]())
    for parameter in model.parameters():  # fresh weights are too small to tell a wrong order of heads
        if parameter.dim() > 1:
            parameter.data.mul_(4)
    return model.eval()


def logits_of(decoder, prompts, continuations):
    """(prompts, samples, steps, codes) when the given continuations are forced."""
    first = decoder.begin(prompts, continuations.shape[1], continuations.shape[2])
    steps = [first.expand(-1, continuations.shape[1], -1)]
    for step in range(continuations.shape[2]):
        steps.append(decoder.step(continuations[:, :, step]))
    return torch.stack(steps, dim=2)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox", "mamba2"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "prompts", [[[1, 2, 3, 4, 5, 6, 7], [8, 9], [3]], [list(range(36)), [3, 4], [5] * 20], [list(range(36))], [[7, 1]]]
)
@pytest.mark.parametrize("copied", [0, 10**9])  # the prompt asked apart, and copied to each continuation
def test_decoders_give_the_logits_of_a_plain_forward(kind, fast, prompts, copied, monkeypatch):
    monkeypatch.setattr(decoding, "_COPIED_PROMPT", copied)
    model = small_model(kind)
    if kind == "mamba2" and fast:
        with pytest.raises(UnsupportedModelError):
            transformer_parts(model)
        return
    decoder = SharedPromptDecoder(transformer_parts(model)) if fast else LibraryDecoder(model)
    torch.manual_seed(1)
    continuations = torch.randint(0, SIZE, (len(prompts), 5, 6))
    found = logits_of(decoder, prompts, continuations)
    for p, prompt in enumerate(prompts):
        for s in range(5):
            with torch.inference_mode():
                whole = torch.tensor([prompt + continuations[p, s].tolist()])
                expected = model(input_ids=whole).logits[0, len(prompt) - 1 :]
            torch.testing.assert_close(found[p, s], expected, atol=2e-4, rtol=1e-4)


def test_the_fast_decoder_is_chosen_where_it_agrees_and_not_where_it_does_not():
    assert isinstance(best_decoder(small_model("llama"))(), SharedPromptDecoder)
    assert isinstance(best_decoder(small_model("mamba2"))(), LibraryDecoder)
    odd = small_model("gpt2")
    odd.config.scale_attn_by_inverse_layer_idx = True
    for layer, block in enumerate(odd.transformer.h):  # as transformers builds it for such a config
        block.attn.scale_attn_by_inverse_layer_idx = True
        block.attn.scaling = block.attn.scaling / (layer + 1) if hasattr(block.attn, "scaling") else None
    odd2 = transformers.AutoModelForCausalLM.from_config(odd.config).eval()
    odd2.load_state_dict(odd.state_dict())
    assert isinstance(best_decoder(odd2)(), LibraryDecoder)
