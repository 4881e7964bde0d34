"""The HTTP adapter against a bare loop of httpx at the same concurrency, asking the same of the same server, in turn."""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import torch

from ehrmem_widgets.blackbox.endpoint import EndpointModel
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.lines import Lines

CODES, PROMPTS, LENGTH, SAMPLES, HORIZON = 2000, 128, 32, 8, 32
CONCURRENCY, ROUNDS = 16, 7
SERVE = """
import sys
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.serve import serve
serve(FolderModel(sys.argv[1]))
"""


def main(lines: Lines) -> None:
    """Print the line: codes a second of ours over those of the bare loop."""
    prompts = np.random.default_rng(0).integers(0, CODES, (PROMPTS, LENGTH)).tolist()
    with serving() as (address, token, vocabulary):
        model = EndpointModel(address, vocabulary, token=token, concurrency=CONCURRENCY)

        def ours() -> int:
            steps = model.generate([[[code] for code in prompt] for prompt in prompts], HORIZON, SAMPLES, seed=1)
            return sum(int((step.codes >= 0).sum()) for step in steps)

        def bare() -> int:
            return asyncio.run(bare_loop(address, token, model.name, prompts))

        ratios = []
        for round_ in range(ROUNDS + 1):
            rates = []
            for act in (ours, bare) if round_ % 2 else (bare, ours):
                began = time.perf_counter()
                codes = act()
                rates.append(codes / (time.perf_counter() - began))
            if round_:  # the first is a warm-up
                ratios.append(rates[0] / rates[1] if round_ % 2 else rates[1] / rates[0])
        model.close()
    interval = f"{min(ratios):.3g} to {max(ratios):.3g}"
    lines.add("endpoint_codes_a_second_vs_bare_client", statistics.median(ratios), interval, len(ratios), ">= 0.9")


async def bare_loop(address: str, token: str, name: str, prompts: list[list[int]]) -> int:
    """The codes that come back: one request a prompt, so many at a time, the answers parsed and counted and that is all."""
    places = asyncio.Semaphore(CONCURRENCY)
    async with httpx.AsyncClient(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:

        async def ask(prompt: list[int]) -> int:
            body = {"model": name, "prompt": prompt, "n": SAMPLES, "max_tokens": HORIZON, "seed": 1}
            async with places:
                answer = await client.post("/v1/completions", json={**body, "return_token_ids": True})
            return sum(len(choice["token_ids"]) for choice in answer.json()["choices"])

        return sum(await asyncio.gather(*map(ask, prompts)))


@contextmanager
def serving() -> Iterator[tuple[str, str, Vocabulary]]:
    """Address, token and vocabulary of a GPT-2 of 1.11 M random parameters, served by a process of its own."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=CODES, n_positions=128, n_embd=128, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=None
    )
    vocabulary = Vocabulary(tuple(f"CODE//{i}" for i in range(CODES)), start=None, stops=frozenset(), pad=None)
    with tempfile.TemporaryDirectory() as folder:
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
        vocabulary.save(Path(folder) / "vocabulary.json")
        with subprocess.Popen([sys.executable, "-c", SERVE, folder], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                said = "".join(lines_until(server.stdout, "Ctrl-C"))
                [(address, token)] = re.findall(r"address\s+(\S+)\s+token\s+(\S+)", said)
                yield address, token, vocabulary
            finally:
                server.terminate()


def lines_until(lines: Iterator[str], last: str) -> Iterator[str]:
    """The lines up to the one that holds ``last``."""
    for line in lines:
        yield line
        if last in line:
            return


if __name__ == "__main__":
    told = Lines()
    main(told)
    told.finish()
