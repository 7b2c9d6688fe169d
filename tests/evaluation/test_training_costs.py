"""MACs of a training step by budget: as the method and the attack that it trains on say."""

import pytest
from variants import mostly_slow

from splitmix.commands.help import composed
from splitmix.config import load_run_config, resolve
from splitmix.evaluation.training_costs import training_macs


@pytest.mark.parametrize(
    ("attack", "steps"), mostly_slow([("fgsm", 1), ("linf_pgd", 7), ("linf_pgd20", 20), ("l2_pgd", 20)], 4)
)
def test_an_attack_is_billed_by_its_steps(attack, steps):
    """A clean pass and an attacked one, 3 x batch x forward each; a step of the attack 2 x batch x forward."""

    def macs(*words):
        return training_macs(load_run_config(resolve(composed("train", list(words)))), [0.125, 0.25])

    plain = macs()
    assert plain == pytest.approx({0.125: 3 * 32 * 1_194_304, 0.25: 2 * 3 * 32 * 1_194_304})
    robust = macs("algorithm=fedavg", "algorithm.width=0.125", "algorithm.adv_lambda=0.5", f"train_attack={attack}")
    assert robust[0.25] == pytest.approx((2 * 3 + 2 * steps) / 3 * plain[0.125])
