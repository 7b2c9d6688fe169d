"""Which rank a process is, as the variables of torchrun, SLURM and splitmix tell; engine settings that cannot be."""

import pytest

from splitmix.config_hash import config_hash
from splitmix.engine.rank_places import RankPlace, environment_of, follows, rank_place, share_of_cores
from splitmix.engine.settings import EngineSettings
from splitmix.engine.shares import by_cost
from splitmix.errors import UserError

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node7", "MASTER_PORT": "29400",
}  # fmt: skip
SLURM = {
    "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "4", "SLURM_NNODES": "2",
}  # fmt: skip


def test_each_launcher_tells_its_processes_their_places():
    assert rank_place({}) is None and not follows({})
    assert rank_place(TORCHRUN) == RankPlace("torchrun", 5, 1, 8, 4, "node7:29400") and follows(TORCHRUN)
    assert rank_place(SLURM) == RankPlace("SLURM", 3, 1, 4, 2) and follows(SLURM)
    assert not follows({**SLURM, "SLURM_PROCID": "0"})
    ours = RankPlace("parent", 1, 1, 2, 2, "/tmp/store")
    assert rank_place({**SLURM, **environment_of(ours)}) == ours
    machine = {"NODE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "4000"}
    assert rank_place(machine) == RankPlace("user", 1, store="first:4000")


def test_a_batch_script_without_srun_and_jobs_of_one_task_are_alone():
    script = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4", "SLURM_NNODES": "2"}
    assert rank_place(script) is None
    assert rank_place({**SLURM, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert rank_place({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None


def test_a_variable_that_is_no_number_is_named():
    with pytest.raises(UserError, match="SLURM_PROCID=first: this process is part of a SLURM job"):
        rank_place({**SLURM, "SLURM_PROCID": "first"})
    with pytest.raises(UserError, match="MASTER_PORT=: this process is part of a torchrun job"):
        rank_place({name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"})


def test_ranks_divide_the_cores_unless_slurm_has():
    assert share_of_cores(8, 1, {}) == 8 and share_of_cores(8, 3, {}) == 2 and share_of_cores(2, 4, {}) == 1
    assert share_of_cores(8, 2, {**SLURM, "SLURM_CPUS_PER_TASK": "6"}) == 6
    assert share_of_cores(4, 2, {**SLURM, "SLURM_CPUS_PER_TASK": "6"}) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"devices": 0}, "engine.devices=0: give at least 1"),
        ({"num_nodes": -1}, "engine.num_nodes=-1: give at least 1"),
        ({"num_nodes": 2}, "engine.num_nodes=2: nothing here starts the other machines: use torchrun or srun"),
        ({"devices": 10_000}, "engine.devices=10000: more than 16 per core"),
        ({"devices": 2, "threads": 16}, "engine.threads=16 for each of engine.devices=2 ranks: more than 16 per core"),
    ],
)
def test_ranks_that_cannot_be_are_refused_in_a_line(monkeypatch, settings, message):
    monkeypatch.setattr("splitmix.engine.settings.usable_cores", lambda: 1)
    with pytest.raises(UserError) as caught:
        EngineSettings(accelerator="cpu", **settings).check()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_the_launcher_and_the_settings_must_agree(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    EngineSettings(accelerator="cpu", devices=2, num_nodes=2).check()
    with pytest.raises(UserError, match=r"SLURM started 4 processes .*; give engine\.devices=2 engine\.num_nodes=2"):
        EngineSettings(accelerator="cpu", devices=4).check()


def test_each_rank_takes_the_gpu_that_it_was_given(monkeypatch):
    """PyTorch is made to see GPUs that are not there."""
    visible = 4
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: visible)
    settings = EngineSettings(accelerator="cuda", devices=2, num_nodes=2)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert settings.device_index() == 1
    visible = 1  # srun --gpus-per-task=1
    assert settings.device_index() == 0
    monkeypatch.delenv("SLURM_STEP_ID")
    with pytest.raises(UserError, match=r"engine\.devices=2: 1 CUDA device is visible to this process; give"):
        EngineSettings(accelerator="cuda", devices=2).device_index()


class Work:
    def __init__(self, cost):
        self.cost = cost


def test_packs_are_shared_out_by_cost():
    packs = [Work(cost) for cost in (8, 7, 6, 5, 4)]
    assert by_cost(packs, 2) == [[0, 3, 4], [1, 2]]
    assert by_cost(packs[:1], 3) == [[0], [], []]
    assert by_cost(packs, 1) == [[0, 1, 2, 3, 4]]


def test_the_hash_does_not_see_the_ranks():
    base = {"seed": 1, "engine": {"devices": 1}}
    assert config_hash(base) == config_hash({**base, "engine": {"devices": 4, "num_nodes": 2}})
