"""The layers of the fast decoders, laid out for oneDNN, answer as they are."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ehrmem_widgets.blackbox.layers import Linear, activation, linear, pack_linears
from ehrmem_widgets.cores import keep_few_kernels

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("name", ["", "relu", "gelu", "gelu_new", "silu", "quick_gelu"])
@pytest.mark.parametrize("rows", [1, 3, 64, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_is_the_same(name: str, rows: int, bias: bool) -> None:
    torch.manual_seed(rows)
    plain = linear(nn.Linear(48, 80, bias=bias), name)
    packed, x = plain.packed(), torch.randn(2, rows, 48)[:, :, :]
    assert packed.weight.is_mkldnn and not plain.weight.is_mkldnn
    with torch.inference_mode():
        product = x.double() @ plain.weight.double() + (0 if plain.bias is None else plain.bias.double())
        expected = activation(name)(product) if name else product
        for found in (packed(x.flatten(0, 1)), plain(x.flatten(0, 1))):
            assert torch.allclose(found.double(), expected.flatten(0, 1), atol=1e-5)
        assert torch.equal(packed(x.flatten(0, 1)), packed(x.flatten(0, 1)))


@needs_onednn
@pytest.mark.parametrize("name", ["", "gelu_new", "silu"])
def test_packed_in_sixteen_bits(name: str) -> None:
    torch.manual_seed(0)
    plain, x = linear(nn.Linear(48, 80), name), torch.randn(7, 48)
    packed = plain.packed(torch.bfloat16)
    assert packed.weight.is_mkldnn and packed.weight.dtype == torch.bfloat16
    with torch.inference_mode():
        found, expected = packed(x), plain(x)
        assert found.dtype == torch.bfloat16 and torch.allclose(found.float(), expected, atol=0.02)
        assert not torch.allclose(found.float(), expected, atol=1e-5)


def test_half_precision_stays_as_it_is() -> None:
    layer = Linear(torch.randn(8, 8, dtype=torch.bfloat16), None)
    assert layer.packed() is layer


@needs_onednn
@pytest.mark.parametrize(
    ("kind", "dtype", "most", "packed"),
    [
        ("llama", torch.float32, 128, True),
        ("llama", torch.float32, 127, False),
        ("llama", torch.bfloat16, 128, False),
        ("rwkv", torch.float32, 128, False),
    ],
)
def test_linear_layers_of_an_opened_model(
    kind: str, dtype: torch.dtype, most: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehrmem_widgets.blackbox.layers._MOST_COPIED", most)
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16)).to(dtype)
    x = torch.randn(2, 3, 8, dtype=dtype)
    with torch.inference_mode():
        expected = model(x)
        model.config = SimpleNamespace(model_type=kind)
        pack_linears(model)
        assert torch.allclose(model(x), expected, atol=1e-5)
    assert (model[0].forward.__class__ is Linear) == packed


def test_an_audit_keeps_the_kernels_of_fewer_shapes_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "8")
    monkeypatch.delenv("LRU_CACHE_CAPACITY")
    keep_few_kernels()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "8" and os.environ["LRU_CACHE_CAPACITY"] == "256"
