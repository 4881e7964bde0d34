"""``make bench-gpu``: our stream against ``generate`` on a CUDA device, with models of 1, 6 and 100 million parameters."""

from __future__ import annotations

import sys

import torch

from tests.benchmarks.hf import CODES, CONTEXT, compare_on, opened
from tests.benchmarks.lines import Lines

SIZES = {"1M": (128, 2, 4), "6M": (256, 6, 8), "100M": (768, 13, 12)}  # width, layers, heads
PROMPT, HORIZON = 32, 100
GOAL = {PROMPT: ">= 1"}


def main(lines: Lines, device: str, sizes: list[str], samples: tuple[int, ...] = (100, 1000)) -> None:
    """Samples a second of one prompt of 32 codes, 100 codes each."""
    import transformers

    for size in sizes:
        width, layers, heads = SIZES[size]
        for dtype in ("float32", "bfloat16"):
            torch.manual_seed(0)
            config = transformers.GPT2Config(
                vocab_size=CODES, n_embd=width, n_layer=layers, n_head=heads, n_positions=CONTEXT,
                bos_token_id=0, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
            model = opened(config, device=device, dtype=dtype)
            for n in samples:
                compare_on(
                    lines, f"samples_per_second_vs_hf_generate_{size}_{dtype}_{n}_samples", model, n, HORIZON, GOAL
                )


if __name__ == "__main__":
    if sys.argv[1:]:  # such as "cpu 1M", to try it where there is no device
        found = Lines()
        main(found, sys.argv[1], sys.argv[2:], samples=(20,))
        found.finish()
    if not torch.cuda.is_available():
        sys.exit("NOT RUN: no CUDA device on this machine. Nothing was measured.")
    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    found = Lines()
    main(found, "cuda", list(SIZES))
    found.finish()
