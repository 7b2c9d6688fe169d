"""MACs of a training step by budget: as the method and the attack that it trains on say."""

import pytest
from variants import mostly_slow

from splitmix.commands.help import composed
from splitmix.config import load_run_config, resolve
from splitmix.evaluation.training_costs import training_macs, training_memory


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


def test_memory_is_that_of_the_largest_network_trained_at_once():
    def memory(*words):
        return training_memory(load_run_config(resolve(composed("train", list(words)))), [0.125, 1.0])

    parameters, width = 224_194, "algorithm.width=0.125"
    split = memory()
    # A client of eight base models trains them one after another: gradients, momentum, and 32 images' activations.
    assert split[0.125] == split[1.0]
    images = (split[1.0] - 2 * 4 * parameters) / 32
    first = 4 * (3 + 8) * 28 * 28  # an image and what the first convolution makes of it
    assert first < images < 6 * first
    assert memory("batch_size=64")[1.0] - split[1.0] == pytest.approx(32 * images)
    plain, adam = (memory("algorithm=fedavg", width, word)[1.0] for word in ("optimizer.momentum=0", "optimizer=adam"))
    assert (split[1.0] - plain, adam - plain) == (4 * parameters, 2 * 4 * parameters)
    slices = memory("algorithm=heterofl")
    assert slices[0.125] == pytest.approx(split[0.125], rel=0.01) and slices[1.0] > 20 * slices[0.125]
