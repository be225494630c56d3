"""The reference engine takes one thread for small steps and gives the caller's threads back."""

import torch

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.engines import reference


def test_small_runs_take_one_thread_and_give_the_others_back(monkeypatch):
    seen = []
    real = reference._run
    monkeypatch.setattr(reference, "_run", lambda job: seen.append(torch.get_num_threads()) or real(job))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small = BlockQuadratic.generate(blocks=2, block_size=3)
        simulate(small, "adam", lr=0.1, steps=3)
        monkeypatch.setattr(reference, "_PRODUCTS_FOR_THREADS", 1)
        simulate(small, "adam", lr=0.1, steps=3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]
