"""The learning rate that is best on half of the seeds: the grid grows to it, and the other half is returned."""

import numpy as np
import pytest

from quadsim.theory.claims.networks.racing import at_best_rate


def losses(rates, best):
    """Parabolas in log10 of the rate, of six seeds; those of the judged seeds lie higher by their number."""
    rows = [[(np.log10(rate) - best) ** 2 + (seed if seed % 2 else 0) for rate in rates] for seed in range(6)]
    return {"loss": np.array(rows), "again": np.array(rows), "rate": np.tile(rates, (6, 1))}


@pytest.mark.parametrize(("best", "edge"), [(0.0, False), (2.5, False), (-3.0, False), (9.0, True)])
def test_the_grid_grows_by_decades_until_the_best_rate_lies_inside(best, edge):
    tried = []

    def measure(rates):
        tried.extend(rates)
        return losses(rates, best)

    found = at_best_rate(measure, 1.0, 2)
    assert found["edge"] == edge
    assert len(tried) == len(set(tried))  # no rate is trained twice
    assert np.log10(found["lr"]) == pytest.approx(5.0 if edge else best)
    assert found["rate"] == pytest.approx([found["lr"]] * 3)
    if not edge:
        assert found["loss"] == pytest.approx([1.0, 3.0, 5.0])  # of the judged seeds alone
