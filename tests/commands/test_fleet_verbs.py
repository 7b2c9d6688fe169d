"""`splitmix probe`, `splitmix plan` and `splitmix train fleet=…`: files, tables, and mistakes in one line."""

import json

import pytest
import yaml
from devices import device, measured
from fleets import noise_tree, run_words
from variants import mostly_slow

from splitmix.commands import main
from splitmix.config import load_run_config
from splitmix.deploy.device import read_device, write_device
from splitmix.fleet import read_fleet
from splitmix.runs.metrics import read_metrics
from splitmix.runs.training import Training, run_training

SETTINGS = {
    "algorithm": {
        "_target_": "splitmix.algorithms.splitmix.SplitMix", "atom_width": 0.125, "rescale_init": True,
        "rescale_layer": True, "loss_temperature": None, "adv_lambda": 0.0,
    },
    "model": {"_target_": "splitmix.models.digit_cnn.DigitCNN", "bn": "batch"},
    "image_shape": [3, 28, 28],
    "classes": 10,
}  # fmt: skip


@pytest.fixture
def devices(tmp_path, monkeypatch):
    """Two files of probed devices in the working folder, the second three times as slow."""
    monkeypatch.chdir(tmp_path)
    for number, factor in ((1, 1.0), (2, 3.0)):
        rows = [
            measured(k / 8, base_models=k, load=float(k), step_s=0.1 * k * factor, start_s=0.0) for k in range(1, 9)
        ]
        write_device(tmp_path / f"d{number}.json", device(*rows, name=f"d{number}", settings=SETTINGS, local_epochs=1))
    return tmp_path


def test_a_plan_assigns_budgets_and_predicts_a_round(devices, capsys):
    assert main(["plan", "devices=d*.json", "round_seconds=6.1", "clients=4", "drop_out=0.1"]) == 0
    told = capsys.readouterr()
    fleet = read_fleet(devices / "fleet.yaml")
    # Ten steps in a round: 1 s for each base model, or 3 s.
    assert [(client.id, client.budget) for client in fleet.clients] == [
        ("d1-0", 0.75), ("d2-0", 0.25), ("d1-1", 0.75), ("d2-1", 0.25)
    ]  # fmt: skip
    assert fleet.clients[1].step_seconds[1] == pytest.approx(0.6) and not fleet.clients[0].loads
    assert "d2-1" in told.out and "a round: 6 s of training" in told.out + told.err
    assert "no client can train more than ×0.75" in told.out + told.err
    assert "splitmix train fleet=" in (devices / "fleet.yaml").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("words", "message"),
    mostly_slow(
        [
            (["plan", "devices=d1.json", "algorithm.atom_width=0.25"], "probed with algorithm.atom_width=0.125"),
            (["plan"], "devices"),
            (["plan", "devices=nothing*.json"], "devices=nothing*.json: no such file"),
            (["plan", "devices=gone.json"], "gone.json cannot be read"),
            (["plan", "devices=d1.json", "drop_out=1"], "drop_out=1: give a share"),
            (["plan", "devices=d1.json", "straggler=0"], "straggler=0: give a factor"),
            (["plan", "devices=d1.json", "slower=[0]"], "slower=[0]: give factors"),
            (["plan", "devices=d1.json", "clients=0"], "clients=0: give 1 to"),
            (["plan", "devices=d1.json", "round_seconds=0.5"], "none can take part"),
            (["plan", "devices=d1.json", "out=no/fleet.yaml"], "the folder no does not exist"),
            (["plan", "devices=d1.json", "clients_per_round=3"], "clients_per_round=3: the federation has 1 clients"),
            (["probe", "name=a b"], "name=a b: give letters"),
            (["probe", "repeats=0"], "repeats=0: give at least 1"),
            (["probe", "round_seconds=-1"], "round_seconds=-1: give a number above 0"),
            (["probe", "max_memory=0"], "max_memory=0: give a number above 0"),
            (["probe", "out=."], "out=.: is a folder"),
            (["train", "fleet=d1.json"], "fleet=d1.json: d1.json: unknown key kind"),
            (["train", "fleet=gone.yaml"], "fleet=gone.yaml: gone.yaml cannot be read"),
        ]
    ),
)
def test_a_mistake_is_one_line_and_leaves_nothing(devices, capsys, words, message):
    assert main(words) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert sorted(path.name for path in devices.iterdir()) == ["d1.json", "d2.json"]


@pytest.mark.slow
def test_a_probe_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["image_size=8", "batch_size=4", "repeats=1", "steps=1", "images=8", "engine.threads=1", "process=false"]
    assert main(["probe", "name=here", "max_memory=100", "budget.widths=8-2", *small]) == 0
    probed = read_device(tmp_path / "device.json")
    assert [row.width for row in probed.measured] == [0.125, 0.25, 0.375, 0.5]
    assert (probed.name, probed.budget, probed.max_memory) == ("here", 0.5, 10**11)
    assert probed.settings["image_shape"] == [3, 8, 8] and probed.machine["threads"] == 1
    assert "budget 0.5 keeps a round of 8 images under 60 s and 100 GB" in "".join(capsys.readouterr())
    assert main(["plan", "devices=device.json", "image_size=8", "clients=2"]) == 0


@pytest.mark.slow
def test_an_interrupted_run_of_a_fleet_ends_in_the_same_rows_and_seconds(tmp_path, monkeypatch):
    clients = [
        {"id": str(n), "domain": "x", "budget": 0.25, "step_seconds": 1, "drop_out": 0.3, "straggler": 2}
        for n in range(2)
    ]
    root = noise_tree(tmp_path / "images")
    resolved = {**run_words(root, "clients_per_domain=1", "rounds=4"), "fleet": {"clients": clients}}
    config = load_run_config(resolved)
    run_training(config, tmp_path / "straight", resolved)
    one_round, done = Training.one_round, []

    def stops(training):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return one_round(training)

    monkeypatch.setattr(Training, "one_round", stops)
    with pytest.raises(KeyboardInterrupt):
        run_training(config, tmp_path / "stopped", resolved)
    monkeypatch.undo()
    stored = yaml.safe_load((tmp_path / "stopped" / "config.yaml").read_text())
    run_training(load_run_config(stored), tmp_path / "stopped", stored, resume=True)
    columns = ("simulated_s", "clients_asked", "clients_in_time", "train_loss", "val_sa/0.25")
    straight, stopped = (
        [[row[column] for column in columns] for row in read_metrics(tmp_path / name / "metrics.csv")]
        for name in ("straight", "stopped")
    )
    assert straight == stopped and len({row[0] for row in straight}) > 1
    told = [
        json.loads((tmp_path / name / "results.json").read_text())["simulated_s"] for name in ("straight", "stopped")
    ]
    assert told[0] == told[1] == pytest.approx(sum(row[0] for row in straight))
