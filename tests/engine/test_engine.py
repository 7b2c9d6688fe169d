"""Engine paths: packed, ragged, shared out over workers, short of memory: all compute what one lane at a time does."""

import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from splitmix.algorithms.fedavg_oat import FedAvgOAT
from splitmix.algorithms.splitmix import SplitMix, SplitMixMethod
from splitmix.algorithms.values import ClientTask
from splitmix.data.partition import Uniform
from splitmix.engine.lane_trainer import LaneTrainer
from splitmix.engine.optimizers import SGD, Adam
from splitmix.engine.settings import EngineSettings
from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN
from splitmix.robustness.attacks import FGSM

ORACLE = EngineSettings(lanes=1, workers=1, threads=1)
PATHS = {
    "packed": EngineSettings(lanes=3, workers=1, threads=1),
    "all lanes": EngineSettings(lanes=64, workers=1, threads=1),
    "workers": EngineSettings(lanes=2, workers=2),
    "workers, one lane": EngineSettings(lanes=1, workers=3),
}
# Unequal numbers of lanes, of steps and of images in the last batch; two clients alike.
RAGGED = {0: ((0, 3, 5), [8, 8, 5]), 1: ((3,), [8, 3]), 2: ((1, 2), [8, 8, 8]), 3: ((0,), [8, 8, 5])}


class Masked(Uniform):
    """Uniform clients with the loss of label-skewed ones."""

    masked_loss = True


class ManyOAT(SplitMix):
    """OAT's network and objective in the lanes of Split-Mix, to have several to a client."""

    def bind(self, model, problem):
        oat = FedAvgOAT(0.125).bind(model, problem)

        class Method(SplitMixMethod):
            spec = oat.spec

            def objective(self, *arguments):
                return oat.objective(*arguments)

        return Method(self, model, problem)


def trained(fed, lr=0.1, exactly=True, ragged=RAGGED):
    """Every lane after a ragged round, by client and base model, with its loss and accuracy."""
    tasks = [ClientTask(0, client, fed.method.spec, base_models) for client, (base_models, _) in ragged.items()]
    batches = [
        list(fed.clients[client].train.repeat(2)[: sum(sizes)].split(sizes)) for client, (_, sizes) in ragged.items()
    ]
    weights = [1.0 + client for client in ragged]
    state = fed.initial_state()
    # Twice from the same start: what the first time leaves behind must not matter.
    times = [
        lanes_of(
            fed.engine.train(state, tasks, batches, weights, lr),
            weight=lambda client: client + 1,
        )
        for _ in range(2)
    ]
    fed.engine.close()
    for key, tensors in times[0].items() if exactly else ():
        for name, value in tensors.items():
            assert torch.equal(times[1][key][name], value), f"{key} {name} differs the second time"
    return times[0]


def lanes_of(results, weight):
    """Every lane that came back, by client and base model, with its measurements."""
    lanes = {}
    for trained in results:
        task = trained.update.task
        assert trained.update.weight == weight(task.client)
        for lane, base_model in enumerate(task.base_models):
            values = {**trained.update.tensors, **trained.update.measurements}
            lanes[task.client, base_model] = {name: value[lane].clone() for name, value in values.items()}
    return lanes


DRAWN = SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.4, lambdas=(0.0, 0.5, 1.0), draw="image")


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=pytest.mark.slow if "workers" in path else ()) for path in PATHS]
)
@pytest.mark.parametrize(
    "setting",
    [
        *("batch", "tracked"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("dat", "drawn", "masked", "temperature", "adam", "at", "oat")
        ),
    ],
    ids=lambda setting: f"bn or loss {setting}",
)
def test_ragged_clients_equal_one_lane_at_a_time(federation, path, setting):
    algorithm = {
        "dat": SplitMix(rescale_init=False, rescale_layer=False, adv_lambda=0.4),
        "drawn": DRAWN,
        "at": SplitMix(adv_lambda=1.0),
        "oat": ManyOAT(),
    }.get(setting, SplitMix(loss_temperature=0.5 if setting == "temperature" else None))
    components = {
        "partition": Masked() if setting == "masked" else Uniform(),
        "optimizer": Adam() if setting == "adam" else SGD(),
    }
    lr = 0.02 if setting == "adam" else 0.05  # not the optimizer's own: the schedule decides
    model = DigitCNN(bn="tracked" if setting in ("tracked", "dat", "drawn", "at", "oat") else "batch")
    # In float64: in float32 an activation within rounding of zero may fall on either side of a ReLU.
    engines = (replace(settings, precision="64-true") for settings in (ORACLE, PATHS[path]))
    one, other = (trained(federation(algorithm, model, engine=engine, **components), lr) for engine in engines)
    assert one.keys() == other.keys() and len(one) == 7
    for key, tensors in one.items():
        for name, value in tensors.items():
            torch.testing.assert_close(other[key][name], value, rtol=1e-6, atol=1e-6, msg=f"{key} {name}")


@pytest.mark.parametrize("algorithm", [replace(DRAWN, lambdas=()), DRAWN], ids=["dat", "drawn"])
def test_attacked_images_of_ragged_clients_train_dual_norms_as_one_lane_at_a_time_does(federation, algorithm):
    """The cases dat and drawn above, with a short attack and a few steps."""
    ragged = {0: ((0, 3), [8, 5]), 1: ((3,), [3])}
    engines = (replace(settings, precision="64-true") for settings in (ORACLE, PATHS["packed"]))
    one, other = (
        trained(federation(algorithm, DigitCNN(bn="tracked"), train_attack=FGSM(), engine=engine), ragged=ragged)
        for engine in engines
    )
    assert one.keys() == other.keys() and len(one) == 3
    assert any(".adv." in name for name in one[0, 0])
    for key, tensors in one.items():
        for name, value in tensors.items():
            torch.testing.assert_close(other[key][name], value, rtol=1e-6, atol=1e-6, msg=f"{key} {name}")


@pytest.mark.parametrize("bn", ["batch", "tracked"])
@pytest.mark.parametrize("post", [False, True])
@pytest.mark.slow
def test_evaluation_is_the_same_on_every_path(federation, bn, post):
    one = federation(model=DigitCNN(bn=bn), engine=ORACLE)
    two = federation(model=DigitCNN(bn=bn), engine=PATHS["workers"])
    several = federation(model=DigitCNN(bn=bn), engine=ORACLE)
    several.engine.together = 3
    state, _ = one.run_round(one.initial_state())
    expected = one.test(state, [0.125, 0.5, 1.0], batch_size=3, bn="post" if post else "trained")
    for other in (two, several):
        got = other.test(state, [0.125, 0.5, 1.0], batch_size=3, bn="post" if post else "trained")
        assert torch.equal(got.per_client, expected.per_client) and torch.equal(got.per_base, expected.per_base)
        assert got.n_images == expected.n_images == 44
    validated = two.validate(state, [1.0]).per_client
    assert torch.equal(validated, one.validate(state, [1.0]).per_client)
    two.engine.close()


@pytest.mark.slow
def test_the_number_of_workers_is_no_matter_of_luck(federation):
    """Answers come back in the order of the tasks: the same bits every time."""
    runs = []
    for _ in range(2):
        fed = federation(engine=EngineSettings(lanes=2, workers=3))
        state, metrics = fed.run_round(fed.initial_state())
        fed.engine.close()
        runs.append((state.tensors, metrics.loss))
    assert runs[0][1] == runs[1][1]
    assert all(torch.equal(runs[0][0][name], value) for name, value in runs[1][0].items())


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_packs(federation, monkeypatch):
    """What a GPU does: too many lanes do not fit, fewer do, and the engine remembers."""
    train = LaneTrainer.train

    def with_little_memory(self, pack, *arguments):
        if len(pack.lanes) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, pack, *arguments)

    expected = trained(federation(engine=ORACLE))
    monkeypatch.setattr(LaneTrainer, "train", with_little_memory)
    fed = federation(engine=PATHS["all lanes"])
    got = trained(fed, exactly=False)  # the second time packs are small from the start
    for key, tensors in expected.items():
        torch.testing.assert_close(got[key]["fc3.weight"], tensors["fc3.weight"], rtol=1e-4, atol=1e-4)
    assert 1 <= fed.engine.tuned["digit_cnn x0.125"] <= 2
    monkeypatch.setattr(LaneTrainer, "train", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(UserError, match="too little memory for a single model"):
        trained(fed)


def test_memory_that_runs_out_takes_idle_benches_first(federation, monkeypatch):
    """Trainable lanes of other rounds give way before lanes are halved for good."""
    fed = federation(engine=EngineSettings(lanes=4, workers=1))
    train = LaneTrainer.train

    def with_little_memory(self, pack, *arguments):
        self.trainable_lanes(pack.spec, len(pack.lanes), pack.round)
        if len(self.cache.kept) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return train(self, pack, *arguments)

    monkeypatch.setattr(LaneTrainer, "train", with_little_memory)
    fed.run_round(fed.initial_state())
    assert fed.method.spec.label not in fed.engine.tuned


@pytest.mark.slow
def test_partial_participation_keeps_no_more_benches_than_a_round_needs(federation):
    """Every number of lanes has a network of its own: over rounds of other participants they must not pile up."""
    fed = federation(engine=EngineSettings(lanes=64, workers=1), clients_per_domain=5, clients_per_round=3)
    state, sizes, needed = fed.initial_state(), set(), 0
    for _ in range(6):
        state, _ = fed.run_round(state)
        trainable = fed.engine.trainer.cache.kept
        in_round = {key for key, (_, used) in trainable.items() if used == state.round - 1}
        sizes |= in_round
        needed = max(needed, sum(lanes for _, lanes in in_round))
        assert sum(lanes for _, lanes in trainable) <= needed
    assert len(sizes) > len(trainable), "the rounds must differ for this test to say anything"


@pytest.mark.slow
def test_a_round_that_fails_in_the_merge_leaves_nothing_to_the_next(federation, monkeypatch):
    fed = federation(engine=EngineSettings(lanes=2, workers=2))
    state = fed.initial_state()
    expected = fed.run_round(state)[0].tensors
    accumulate = SplitMixMethod.accumulate

    def failing(self, aggregate, update):
        raise ValueError("the merge failed")

    monkeypatch.setattr(SplitMixMethod, "accumulate", failing)
    with pytest.raises(ValueError, match="the merge failed") as failure:
        fed.run_round(state)
    monkeypatch.setattr(SplitMixMethod, "accumulate", accumulate)
    accuracy = fed.validate(state, [1.0])
    assert accuracy.per_client.shape == (4, 1)
    again = fed.run_round(state)[0].tensors
    assert failure.value is not None and all(torch.equal(again[name], value) for name, value in expected.items())
    fed.engine.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("idle", [(1,), (0, 1, 2, 3)])
@pytest.mark.slow
def test_participants_may_have_nothing_to_do(federation, monkeypatch, workers, idle):
    plan = SplitMixMethod.plan

    def planned(self, state, participants, seed):
        tasks = [task for task in plan(self, state, participants, seed) if task.client not in idle[1:]]
        return [task.select([]) if task.client in idle[:1] else task for task in tasks]

    monkeypatch.setattr(SplitMixMethod, "plan", planned)
    fed = federation(engine=EngineSettings(lanes=2, workers=workers))
    before = fed.initial_state()
    state, metrics = fed.run_round(before)
    assert state.round == 1 and math.isnan(metrics.loss) is (len(idle) == 4)
    changed = any(not torch.equal(value, before.tensors[name]) for name, value in state.tensors.items())
    assert changed is (len(idle) == 1)
    fed.engine.close()


@pytest.mark.slow
def test_a_dead_worker_ends_the_round_in_one_line_and_the_next_round_has_new_ones(federation):
    fed = federation(engine=EngineSettings(lanes=2, workers=2))
    state, _ = fed.run_round(fed.initial_state())
    pool = fed.engine.pool
    assert pool is not None
    os.kill(pool.pids[1], signal.SIGKILL)
    with pytest.raises(UserError, match="a worker process died \\(killed by signal 9 \\(SIGKILL\\)\\)"):
        fed.run_round(state)
    assert pool.closed
    assert fed.run_round(state)[0].round == 2
    assert not set(pool.pids) & set(fed.engine.pool.pids)
    fed.engine.close()


@pytest.mark.slow
def test_a_mistake_and_a_bug_in_a_worker_arrive_as_what_they_are(federation):
    for error, kind, words in (
        (UserError("say so"), UserError, r"^say so$"),
        (KeyError("x"), RuntimeError, "KeyError"),
    ):

        class Failing(SplitMix):
            def bind(self, model, problem, error=error):
                class Method(SplitMixMethod):
                    def objective(self, *arguments):
                        raise error

                return Method(self, model, problem)

        fed = federation(Failing(), engine=EngineSettings(lanes=2, workers=2))
        with pytest.raises(kind, match=words):
            fed.run_round(fed.initial_state())
        fed.engine.close()


@pytest.mark.slow
def test_auto_measures_once_and_keeps_what_it_chose(federation, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITMIX_CACHE", str(tmp_path))
    fed = federation(engine=EngineSettings(threads=2))
    fed.run_round(fed.initial_state())
    fed.engine.close()
    chosen = fed.engine.tuned
    assert chosen["workers"] == 2 and chosen["digit_cnn x0.125"] in (1, 2, 4, 8, 16)
    monkeypatch.setattr("splitmix.engine.tuning.fastest_lanes", lambda *_: pytest.fail("measured again"))
    again = federation(engine=EngineSettings(threads=2))
    assert again.engine.lanes_of(again.method.spec) == chosen["digit_cnn x0.125"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lanes": 0}, "engine.lanes=0: give at least 1, or auto"),
        ({"workers": "many"}, "engine.workers=many: give at least 1, or auto"),
        ({"threads": -1}, "engine.threads=-1"),
        ({"precision": "16-mixed"}, "engine.precision=16-mixed: choose one of 32-true, tf32, bf16-mixed"),
        ({"precision": "tf32", "accelerator": "cpu"}, "engine.precision=tf32: only CUDA devices .* uses cpu; use"),
        ({"accelerator": "tpu"}, "engine.accelerator=tpu"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(UserError, match=words):
        EngineSettings(**settings).check()


@pytest.mark.parametrize("lanes", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_bf16_stays_close(federation, lanes):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        fed = federation(engine=EngineSettings(precision=precision, lanes=lanes, workers=1, threads=1))
        losses.append(fed.run_round(fed.initial_state())[1].loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def test_cuda_devices_round_float32_only_if_asked(monkeypatch):
    """PyTorch's own default rounds convolutions, so that a GPU's numbers would not be float32's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for precision, allowed in (("tf32", True), ("32-true", False), ("bf16-mixed", False)):
        place = EngineSettings("cuda", precision).own_place()
        assert place.dtype == torch.float32
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed


def test_the_device_is_the_cpu_unless_another_is_visible(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    EngineSettings(workers=2).check()
    settings = EngineSettings(threads=2)
    assert settings.device_type == "cpu" and settings.describe().startswith("device: cpu, 2 workers")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert settings.device_type == "cuda" and settings.worker_processes == 1
    assert EngineSettings("cpu").device_type == "cpu"
    with pytest.raises(UserError, match=r"engine\.workers=2: workers are for the CPU, and this run uses cuda"):
        EngineSettings(workers=2).check()


def test_the_engine_in_use_is_described(federation):
    fed = federation(engine=EngineSettings(threads=2, lanes=3, precision="64-true"))
    described = fed.engine.describe()
    assert described["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert {**described, "cpu_capability": ""} == {
        "device": "cpu", "precision": "64-true", "workers": 2, "lanes": 3, "threads": 1, "cpu_capability": ""
    }  # fmt: skip


def test_choices_made_for_another_kind_of_device_are_not_taken_over(federation):
    fed = federation(engine=EngineSettings(threads=2))
    fed.engine.adopt({"cuda workers": 1, "cuda digit_cnn x0.125": 1 << 20, "cpu workers": 3})
    assert fed.engine.tuned == {"workers": 3} and fed.engine.tuned_numbers == {"cpu workers": 3}
