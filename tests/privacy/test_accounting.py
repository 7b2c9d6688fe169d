"""ε against numbers computed otherwise, the noise for a target, and what is said without the package."""

import math
import sys
from importlib.util import find_spec

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from splitmix.errors import UserError
from splitmix.privacy.accounting import Guarantee, Sampling, epsilon_of, noise_for

DELTA = 1e-5
needs_package = pytest.mark.skipif(find_spec("dp_accounting") is None, reason="needs splitmix[privacy]")


@needs_package
@pytest.mark.parametrize(
    ("sampling", "relation", "accountant", "epsilon"),
    [
        pytest.param(Sampling(50, 10, poisson=True), "add/remove", "PLD", 12.337, marks=pytest.mark.slow),
        (Sampling(50, 10, poisson=False), "replace-one", "RDP", 125.865),
        (Sampling(50, 50, poisson=True), "add/remove", "PLD", 79.275),
        (Sampling(50, 50, poisson=False), "replace-one", "RDP", 250.912),
    ],
)
def test_a_hundred_rounds_with_noise_of_1_1(sampling, relation, accountant, epsilon):
    """Expected: calls of dp-accounting 0.6 written apart from this project."""
    assert (sampling.relation, sampling.accountant) == (relation, accountant)
    assert epsilon_of(sampling, 1.1, 100, DELTA) == pytest.approx(epsilon, abs=1e-3)


@needs_package
def test_full_participation_is_the_gaussian_mechanism():
    """δ(ε) of Balle and Wang, "Improving the Gaussian Mechanism" (ICML 2018), Theorem 8, at noise z / √T."""
    noise = 2.0 / math.sqrt(25)

    def excess(epsilon):
        low = norm.cdf(0.5 / noise - epsilon * noise)
        return low - math.exp(epsilon) * norm.cdf(-0.5 / noise - epsilon * noise) - DELTA

    exact = brentq(excess, 1.0, 50.0)
    assert epsilon_of(Sampling(8, 8, poisson=True), 2.0, 25, DELTA) == pytest.approx(exact, abs=1e-4)
    # By hand: noise z / 2 has the Rényi divergence 2 a / z² at order a, and T rounds have T times as much.
    by_hand = min(converted(a, 25 * 2 * a / 2.0**2) for a in (1 + step / 100 for step in range(1, 10000)))
    assert epsilon_of(Sampling(8, 8, poisson=False), 2.0, 25, DELTA) == pytest.approx(by_hand, rel=2e-3)


@needs_package
@pytest.mark.slow  # seconds of PLD
def test_with_sampling_pld_is_a_little_below_renyi_by_hand():
    """Mironov, Talwar, Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism" (2019), whole orders."""

    def divergence(order, share=0.2, noise=1.1):
        terms = (
            math.log(math.comb(order, k)) + (order - k) * math.log1p(-share) + k * math.log(share)
            + k * (k - 1) / (2 * noise**2)
            for k in range(order + 1)
        )  # fmt: skip
        return math.log(math.fsum(map(math.exp, terms))) / (order - 1)

    by_hand = min(converted(order, 100 * divergence(order)) for order in range(2, 20))
    assert 0.85 * by_hand < epsilon_of(Sampling(50, 10, poisson=True), 1.1, 100, DELTA) < by_hand


def converted(order, divergence):
    """ε at DELTA of a Rényi divergence: Canonne, Kamath, Steinke (NeurIPS 2020), Proposition 12."""
    return divergence + math.log1p(-1 / order) - math.log(DELTA * order) / (order - 1)


@needs_package
def test_epsilon_grows_with_rounds_and_shrinks_with_noise():
    sampling = Sampling(50, 50, poisson=False)
    assert epsilon_of(sampling, 1.1, 0, DELTA) == 0.0
    by_rounds = [epsilon_of(sampling, 1.1, rounds, DELTA) for rounds in (1, 5, 25)]
    by_noise = [epsilon_of(sampling, noise, 25, DELTA) for noise in (4.0, 1.1, 0.01)]
    assert sorted(set(by_rounds)) == by_rounds and sorted(set(by_noise)) == by_noise and by_noise[-1] < math.inf


@needs_package
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(50, 50, poisson=True),
        Sampling(50, 50, poisson=False),
        pytest.param(Sampling(50, 10, poisson=False), marks=pytest.mark.slow),
    ],
)
def test_the_noise_for_a_target_is_the_least_that_does(sampling):
    noise = noise_for(sampling, 8.0, 25, DELTA)
    assert epsilon_of(sampling, noise, 25, DELTA) <= 8.0 < epsilon_of(sampling, noise * 0.9998, 25, DELTA)


@needs_package
def test_a_target_out_of_reach_is_refused():
    with pytest.raises(UserError, match=r"privacy\.target_epsilon=1e-12: no noise is known to reach it in 25 rounds"):
        noise_for(Sampling(50, 50, poisson=False), 1e-12, 25, DELTA)


def test_without_noise_nothing_is_guaranteed_and_nothing_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    assert epsilon_of(Sampling(4, 2, poisson=False), 0.0, 7, DELTA) == math.inf
    with pytest.raises(UserError, match=r"pip install 'splitmix\[privacy\]'"):
        epsilon_of(Sampling(4, 3, poisson=False), 0.123, 7, DELTA)


def test_epsilon_is_never_told_alone():
    found = Guarantee(12.337, DELTA, "add/remove", "PLD", 1.1, 0.5, "poisson")
    told = "ε = 12.34 at δ = 1e-05 (of clients, add/remove, PLD; z = 1.1, C = 0.5, clients drawn independently)"
    assert found.text == told and Guarantee.of(vars(found)) == found
    assert Guarantee(None, DELTA, "replace-one", "RDP", 0.0, None, "fixed").text.startswith("no guarantee: no noise")
