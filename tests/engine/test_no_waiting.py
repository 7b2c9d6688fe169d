"""While a pack is trained the host only gives orders: nothing waits for the device, shown without one.

Tensors on the device `meta` have shapes and no values. Whoever asks for a value of one fails, and so does whoever mixes
them with tensors on the CPU, where a GPU would make the host wait or fail too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from splitmix.algorithms.calfat import CalFAT
from splitmix.algorithms.depthfl import DepthFL
from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.fedprox import FedProx
from splitmix.algorithms.fedrolex import FedRolex
from splitmix.algorithms.fiarse import FIARSE
from splitmix.algorithms.fjord import FjORD
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.inclusivefl import InclusiveFL
from splitmix.algorithms.malicious import Backdoor, GaussianNoise, LabelFlip
from splitmix.algorithms.nefl import NeFL
from splitmix.algorithms.scaffold import Scaffold
from splitmix.algorithms.scalefl import ScaleFL
from splitmix.algorithms.sheterofl import SHeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.data.augmentation import CropFlip
from splitmix.engine.device_packs import trained_here
from splitmix.engine.lane_starts import fetch_from
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.packing import Pack, plan_packs
from splitmix.engine.precision import Place
from splitmix.engine.server_rows import ServerRows
from splitmix.evaluation.accuracy import evaluate
from splitmix.models.digit_cnn import DigitCNN
from splitmix.models.vit import ViT
from splitmix.robustness.attacks import FGSM, L2PGD, MIM, LinfPGD
from splitmix.robustness.fgsm_rs import FGSMRS
from splitmix.robustness.kl_pgd import KLPGD

COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


def devices(values: Any) -> set[str]:
    """The kinds of devices of the tensors among these values; numbers as tensors go anywhere."""
    return {value.device.type for value in tree_leaves(values) if isinstance(value, Tensor) and value.dim()}


class Transfers(TorchDispatchMode):
    """Notes what goes between the CPU and the device `meta`.

    Attributes:
        sent: number of copies to the device that nothing waits for.
        waits: other operations on tensors of both.
        fetched: number of copies from the device, whose place zeros take.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.fetched = 0, 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        to_cpu = function is torch.ops.aten._to_copy.default and kwargs.get("device") == torch.device("cpu")
        if to_cpu and args[0].device.type == "meta":
            self.fetched += 1
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        out = function(*args, **kwargs)
        if len(devices((args, kwargs, out))) > 1:
            not_waited_for = kwargs.get("non_blocking") or (len(args) > 2 and args[2] is True)
            if function in COPIES and not_waited_for:
                self.sent += 1
            else:
                self.waits.append(str(function))
        return out


DUAL = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.4)
LEVELS = (0.0, 0.5, 1.0)
TRACKED, NARROW = DigitCNN(bn="tracked"), 0.125
METHODS: dict[str, dict[str, Any]] = {
    "splitmix": {},
    "local norms": {"model": DigitCNN(bn="local")},
    "adam": {"optimizer": Adam()},
    "clipped": {"optimizer": SGD(clip_norm=1.0)},
    "vit": {"model": ViT(patch=4)},
    **{
        f"dat, {attack.name}": {"algorithm": DUAL, "model": TRACKED, "train_attack": attack}
        for attack in (LinfPGD(), FGSM(), FGSMRS(), L2PGD(), MIM())
    },
    "dat, vit": {"algorithm": DUAL, "model": ViT(patch=4)},
    "levels by image": {"algorithm": replace(DUAL, lambdas=LEVELS, draw="image"), "model": TRACKED},
    "levels by batch": {"algorithm": replace(DUAL, lambdas=LEVELS, draw="batch"), "model": TRACKED},
    "oat by image": {"algorithm": FedAvgOAT(NARROW, draw="image"), "model": TRACKED},
    "oat by batch": {"algorithm": FedAvgOAT(NARROW), "model": TRACKED},
    "calfat": {"algorithm": CalFAT(NARROW), "model": TRACKED, "train_attack": KLPGD()},
    **{
        algorithm.name: {"algorithm": algorithm}
        for algorithm in (
            *(FedAvg(NARROW), FedProx(NARROW), Scaffold(NARROW)),
            *(HeteroFL(), SHeteroFL(), FedRolex(), DepthFL(), InclusiveFL(), ScaleFL(), FIARSE()),
        )
    },
    "fjord": {"algorithm": FjORD(self_distillation=True)},
    "nefl": {"algorithm": NeFL(), "model": ViT(patch=4)},
    **{attack.name: {"malicious": attack} for attack in (Backdoor(0.5), LabelFlip(0.5), GaussianNoise(0.5))},
}


def trainer_on(device: torch.device, fed: Any) -> LaneTrainer:
    """A trainer of the federation's lanes on a device, with augmentation."""
    ours, train = fed.engine.trainer, fed.dataset.train
    there = replace(train, images=train.images.to(device), labels=train.labels.to(device))
    return LaneTrainer(Place(device), ours.method, ours.optimizer, there, CropFlip(1), ours.seed)


def packs_of(fed: Any, lanes: int = 64) -> list[Pack]:
    """The packs of a round of all clients, each with two whole batches and a smaller one."""
    tasks = fed.method.plan(fed.initial_state(), range(len(fed.clients)), 0)
    batches = [list(fed.clients[task.client].train[:20].split(8)) for task in tasks]
    return plan_packs(tasks, batches, lambda spec: lanes, 1)


def trained(trainer: LaneTrainer, fed: Any, watched: Callable[[], Any]) -> None:
    """Train the packs of a round twice, the second time watched: the first sets networks and optimizers up."""
    packs, fetch = packs_of(fed), fetch_from(fed.method, fed.initial_state())
    for pack in packs:
        trainer.train(pack, 0.1, fetch)
        with watched():
            trainer.train(pack, 0.1, fetch)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_in_the_training_of_a_pack_waits_for_the_device(federation, name):
    fed, transfers = federation(**METHODS[name]), Transfers()
    trained(trainer_on(torch.device("meta"), fed), fed, lambda: transfers)
    assert not transfers.waits and not transfers.fetched
    assert transfers.sent


@contextmanager
def no_waiting() -> Iterator[None]:
    """An error wherever the host waits for a CUDA device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_nothing_in_the_training_of_a_pack_waits_for_a_gpu(federation, name):
    fed = federation(**METHODS[name])
    trained(trainer_on(torch.device("cuda"), fed), fed, no_waiting)


def test_all_lanes_of_a_pack_are_loaded_at_once(federation):
    fed = federation()
    sent = []
    for lanes in (4, 64):
        trainer, transfers = trainer_on(torch.device("meta"), fed), Transfers()
        [pack, *_] = packs_of(fed, lanes)
        trainable = trainer.trainable_lanes(pack.spec, len(pack.lanes))
        with transfers:
            trainer.load(trainable, pack, fetch_from(fed.method, fed.initial_state()))
        sent.append((len(pack.lanes), transfers.sent))
    assert sent[0][0] < sent[1][0]
    assert sent[0][1] == sent[1][1] == len(fed.initial_state().tensors)


def test_a_round_moves_base_models_and_no_lanes(federation):
    """To the device go the server's tensors and numbers of rows; back come sums and what each pack measured."""
    fed = federation(model=DigitCNN(bn="tracked"))
    state = fed.initial_state()
    weights = dict.fromkeys(range(len(fed.clients)), 1.0)
    moved = []
    for lanes in (4, 64):
        trainer, packs = trainer_on(torch.device("meta"), fed), packs_of(fed, lanes)

        def no_download(task: Any) -> Any:
            raise AssertionError("a lane came from the host")

        for transfers in (Transfers(), Transfers()):  # the first time networks and optimizers are set up
            with transfers:
                rows = ServerRows(state, trainer.place, weights)
                results = list(trained_here(trainer, packs, 0.1, no_download, {}, rows))
                aggregate = rows.aggregate()
        assert not transfers.waits
        assert not any(result.tensors for _, result in results)
        assert transfers.fetched == len(state.tensors) + 2 * len(packs)
        assert aggregate.sums.keys() == fed.method.no_updates(state).sums.keys()
        moved.append((len(packs), transfers.sent))
    assert moved[0][0] > moved[1][0] == 1
    assert all(len(state.tensors) < sent <= len(state.tensors) + 8 * packs for packs, sent in moved)


@pytest.mark.parametrize("bn", ["batch", "tracked"])
def test_an_evaluation_waits_for_its_counts_alone(federation, bn):
    fed = federation(model=DigitCNN(bn=bn))
    groups = fed.method.mix_groups(fed.initial_state().tensors, (0.125, 1.0))
    test, meta = fed.dataset.test, torch.device("meta")
    images = replace(test, images=test.images.to(meta), labels=test.labels.to(meta))
    seen = []
    for clients in (1, 4):
        batches = [list(client.test.split(4)) for client in fed.clients[:clients]]
        transfers = Transfers()
        with transfers:
            evaluate(groups, images, batches, batches_per_pass=2)
        assert transfers.fetched == 2  # the counts of each width, and of each base model
        seen.append(transfers)
    assert seen[0].sent < seen[1].sent
    assert len(seen[0].waits) == len(seen[1].waits) <= len(fed.initial_state().tensors)  # the models are sent once


def test_the_watch_sees_what_waits():
    there, here = torch.zeros(3, device="meta"), torch.zeros(3)
    transfers = Transfers()
    with transfers:
        here.to("meta", non_blocking=True)
        there.copy_(here, non_blocking=True)
        assert transfers.sent == 2 and not transfers.waits
        here.to("meta")
        there.copy_(here)
        there[torch.tensor([0, 1])]
        assert len(transfers.waits) == 3
        assert there.cpu().device.type == "cpu" and transfers.fetched == 1
        with pytest.raises(RuntimeError, match="meta"):
            there.sum().item()
        with pytest.raises(RuntimeError, match="meta"):
            there + here
