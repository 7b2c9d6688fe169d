"""How base models are joined at test: against plain torch, in every place that predicts, and what is refused."""

import pytest
import torch

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.malicious import Backdoor
from splitmix.algorithms.splitmix import SplitMix
from splitmix.config import TestSettings
from splitmix.data.dataset import to_float
from splitmix.errors import UserError
from splitmix.evaluation.backdoor import backdoor_success
from splitmix.evaluation.customized import CustomizedLanes
from splitmix.evaluation.mixing import mixable, mixes
from splitmix.evaluation.predictions import Predictions
from splitmix.models.digit_cnn import DigitCNN
from splitmix.runs.records import records_of
from splitmix.runs.results import add_tests


def plain(logits, mix):
    """The joined logits of `[base models, n, classes]`, entry by entry."""
    joined = torch.empty(logits.shape[1:])
    for n in range(logits.shape[1]):
        for c in range(logits.shape[2]):
            values = sorted(logits[:, n, c].tolist())
            kept = {"mean": values, "trimmed": values[1:-1]}.get(mix)
            if kept is None:
                middle = len(values) // 2
                kept = values[middle : middle + 1] if len(values) % 2 else values[middle - 1 : middle + 1]
            joined[n, c] = sum(kept) / len(kept)
    return joined


@pytest.mark.parametrize(("mix", "sizes"), [("mean", (1, 2, 5)), ("median", (1, 2, 3, 4, 5)), ("trimmed", (3, 4, 5))])
def test_a_mix_is_its_plain_computation(mix, sizes):
    # Small whole numbers: many ties.
    logits = torch.randint(-3, 4, (5, 6, 4), generator=torch.Generator().manual_seed(0)).float()
    for size, joined in zip(sizes, mixes(logits, sizes, mix), strict=True):
        torch.testing.assert_close(joined, plain(logits[:size], mix))


def test_one_loud_base_model_moves_the_mean_alone():
    logits = torch.zeros(5, 1, 3)
    logits[:, 0, 1] = 1.0
    logits[2, 0, 2] = 100.0
    predicted = {mix: int(mixes(logits, [5], mix).argmax(-1)) for mix in ("mean", "median", "trimmed")}
    assert predicted == {"mean": 2, "median": 1, "trimmed": 1}


@pytest.mark.parametrize("mix", ["median", "trimmed"])
def test_every_test_of_a_federation_takes_the_mix(federation, mix):
    fed = federation(SplitMix(), DigitCNN(bn="tracked"), malicious=Backdoor(0.5))
    state, _ = fed.run_round(fed.initial_state())
    widths = [0.5, 1.0]
    [group] = fed.method.mix_groups(state.tensors, widths)
    lanes = CustomizedLanes(group)
    right = torch.zeros(4, 2)
    for number, client in enumerate(fed.clients):
        images = to_float(fed.dataset.test.images[client.test], torch.float32)
        with torch.no_grad():
            logits = lanes.network(images)
            for column, size in enumerate((4, 8)):
                joined = plain(logits[:size], mix)
                torch.testing.assert_close(lanes.model(widths[column], mix)(images), joined)
                right[number, column] = (joined.argmax(-1) == fed.dataset.test.labels[client.test]).float().mean()
    torch.testing.assert_close(fed.test(state, widths, mix=mix).per_client.float(), right)


def test_records_of_several_mixes_stand_side_by_side(federation):
    fed = federation(SplitMix(), DigitCNN(bn="tracked"), malicious=Backdoor(0.5, target=3))
    state, _ = fed.run_round(fed.initial_state())
    results = {"tests": []}
    for mix in ("mean", "median", "mean"):
        add_tests(results, records_of(fed, state, TestSettings(mix=mix), [0.5, 1.0], 0.0, "best", ""))
    assert [(record["mix"], record["width"]) for record in results["tests"]] == [
        ("median", 0.5), ("median", 1.0), ("mean", 0.5), ("mean", 1.0),
    ]  # fmt: skip
    # What is deployed is the mean.
    assert ["accuracy_fixed" in record for record in results["tests"]] == [False, False, True, True]
    assert all(0 <= record["backdoor_success"] <= 1 for record in results["tests"])
    former = {key: value for key, value in results["tests"][2].items() if key != "mix"}
    older = {"tests": [former]}
    add_tests(older, [results["tests"][2]])
    assert len(older["tests"]) == 1


def test_the_success_of_a_backdoor_counts_images_of_other_classes(federation):
    label, predicted = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 2, 2, 1])
    zeros = torch.zeros(5)
    patched = Predictions(zeros.long(), label, predicted, predicted, zeros, zeros)
    assert backdoor_success(patched, 2) == pytest.approx(2 / 3)
    assert backdoor_success(patched.where(label == 2), 2) is None
    fed = federation(SplitMix())
    assert "backdoor_success" not in records_of(fed, fed.initial_state(), TestSettings(), [1.0], 0.0, "last", "")[0]


def test_where_there_is_nothing_to_mix_it_is_refused(federation):
    for mix in ("median", "trimmed"):
        with pytest.raises(UserError, match=rf"test\.mix={mix}: algorithm=fedavg has no base models of one width"):
            mixable(federation(FedAvg(0.125)).method, [0.125], mix)
    method = federation(SplitMix()).method
    with pytest.raises(UserError, match=r"test\.mix=trimmed: needs 3 base models, and width 0\.25 mixes 2"):
        mixable(method, [0.25, 0.5], "trimmed")
    assert mixable(method, [0.125, 0.25, 0.375, 1.0], "trimmed", asked=False) == (0.375, 1.0)
    assert mixable(method, [0.125, 0.25], "median") == (0.125, 0.25)
    with pytest.raises(UserError, match=r"test\.mix=trimmed: needs 3"):
        mixable(method, [0.125], "trimmed", asked=False)
    with pytest.raises(UserError, match=r"test\.mix=medium: no such mix \(did you mean median\?\)"):
        TestSettings(mix="medium").check()
    with pytest.raises(UserError, match=r"test\.mix=median: test\.anytime=true"):
        TestSettings(mix="median", anytime=True).check()
