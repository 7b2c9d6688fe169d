"""`splitmix show`: what it prints of one run; and that its config words, typed again, make the same config."""

import json

import pytest
from omegaconf import OmegaConf
from run_folders import config_of, measured, record, write_run
from variants import mostly_slow

from splitmix.commands import main
from splitmix.commands.differences import command_of, differences
from splitmix.commands.help import composed
from splitmix.commands.run_files import current_results, load_run
from splitmix.config import resolve
from splitmix.reporting.summary import facts, width_rows


def test_a_run_is_shown(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    tests = [record(1.0, 0.55, attack={"name": "linf_pgd", "eps": 8.0})]
    folder = write_run(
        tmp_path / "outputs" / "x" / "1", ["seed=3", "algorithm=heterofl"], {0.5: 0.8, 1.0: 0.9}, tests=tests
    )
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "figures/convergence.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["show"]) == 0
    said = capfd.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert "finished, 2 of 25 rounds" in said and "HeteroFL" in said and "splitmix train seed=3" in said
    assert ["algorithm=heterofl"] in lines and ["seed=3"] in lines
    # The best round is the second: validation 60 %.
    assert ["×0.5", "60.0", "%", "80.0", "%", "5", "M", "500", "k"] in lines
    assert ["linf_pgd", "eps", "8", "\u2013", "55.0"] in lines and ["none", "80.0", "90.0"] in lines
    # Budgets 1/8 and 1/4 use the narrowest model, 1/2 and 1 their own.
    assert ["handwritten", "2", "1", "of", "0.125,", "1", "of", "0.25", "20", "10", "200", "90.0"] in lines
    for name in ("checkpoints/best.ckpt", "figures/convergence.png"):
        assert str(folder.relative_to(tmp_path) / name) in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_checkpoints_is_shown_and_not_tested(tmp_path, capfd):
    """Such are the records in docs/."""
    folder = write_run(tmp_path / "run", ["seed=3"], {0.5: 0.8, 1.0: 0.9})
    assert main(["show", f"run={folder}"]) == 0
    assert "finished, 2 of 25 rounds" in capfd.readouterr().out
    assert main(["test", f"run={folder}"]) == 2
    assert "checkpoints/last.ckpt is missing" in capfd.readouterr().err


def test_a_private_run_shows_epsilon_with_what_it_holds_for(tmp_path):
    record = {"epsilon": 20.0, "delta": 1e-5, "relation": "replace-one", "accountant": "RDP", "clip_norm": None}
    record |= {"noise_multiplier": 1.5, "participation": "fixed", "of a later version": 1}
    folder = write_run(tmp_path / "run", [], {1.0: 0.9}, results={"privacy": record})
    told = facts(load_run(folder, current_results(folder)))["privacy"]
    assert told.startswith("ε = 20 at δ = 1e-05 (of clients, replace-one, RDP; z = 1.5, C = ∞, a fixed number")
    assert "best round by validation" in told and "does not know the run's seed" in told
    plain = write_run(tmp_path / "plain", [], {1.0: 0.9})
    assert "privacy" not in facts(load_run(plain, current_results(plain)))


def test_validated_robust_accuracy_is_shown_where_it_was_measured(tmp_path):
    folder = write_run(tmp_path / "run", ["algorithm.adv_lambda=0.5"], {1.0: 0.9})
    (folder / "metrics.csv").write_text("round,val_sa/1.0,val_ra/1.0\n0,0.5,0.1\n1,0.6,0.2\n")
    rows = width_rows(load_run(folder, current_results(folder)))
    assert rows[0][1:4] == ["validation SA", "validation RA", "test SA"] and rows[1][1:4] == [
        "60.0 %",
        "20.0 %",
        "90.0 %",
    ]


def test_accuracy_with_fixed_statistics_is_shown_where_it_was_measured(tmp_path):
    widths = {"1.0": {"sa": 0.9, "sa_fixed": 0.8, "macs": 1e6, "params": 1000}}
    folder = write_run(tmp_path / "run", [], {1.0: 0.9}, widths=widths)
    rows = width_rows(load_run(folder, current_results(folder)))
    assert [row[2:4] for row in rows] == [["test SA", "fixed"], ["90.0 %", "80.0 %"]]


def test_metrics_are_shown_by_test_and_of_the_widest_clean_one_by_domain_and_class(tmp_path, capfd):
    tests = [
        record(0.5, 0.6, **measured(0.4)),
        record(1.0, 0.7, **measured(0.5)),
        record(1.0, 0.2, attack={"name": "fgsm", "eps": 8.0}, **measured(0.3)),
    ]
    folder = write_run(tmp_path / "run", [], {1.0: 0.9}, tests=tests)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert main(["show", f"run={folder}"]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert ["test", "width", "accuracy", "ECE", "NLL"] in lines
    assert ["none", "×0.5", "60.0", "40.0", "0.400"] in lines
    assert ["fgsm", "eps", "8", "×1", "20.0", "30.0", "0.300"] in lines
    assert ["all", "50.0", "50.0", "0.500"] in lines and ["domain", "coarse", "40.0", "40.0", "0.400"] in lines
    assert ["class", "cat", "60.0", "60.0", "0.600"] in lines and ["class", "dog", *["\u2013"] * 3] in lines
    assert ["cat", "dog"] in lines and ["cat", "3", "1"] in lines and ["dog", "0", "4"] in lines


def test_a_run_that_has_not_finished_a_round_is_shown(tmp_path, capfd):
    folder = write_run(tmp_path / "run", [], {}, validation=(), status="running", best_round=None)
    (folder / "metrics.csv").unlink()
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert main(["show", f"run={folder}"]) == 0
    said = capfd.readouterr().out
    assert "stopped, 0 of 25 rounds" in said and "(none)" in said


@pytest.mark.parametrize("words", ["run=nowhere", "run=latest", "runs=x"])
def test_a_mistake_is_one_line_and_exit_2(tmp_path, monkeypatch, capfd, words):
    monkeypatch.chdir(tmp_path)
    assert main(["show", words]) == 2
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "overrides",
    mostly_slow(
        [
            [],
            ["seed=2", "rounds=3", "train_fraction=0.5", "test.max_images=10", "name=a-b"],
            ["algorithm=sheterofl", "algorithm.candidates=[0.125,0.5]", "budget.widths=8-4-8d3-2", "model=preresnet18"],
            [
                "schedule=multi_step",
                "schedule.milestones=[3,4]",
                "optimizer=adam",
                "dataset=digits",
                "dataset.root='/a b, c'",
            ],
            ["partition=classes", "partition.classes_per_client=2", "clients_per_round=5", "experiment=mini_widths"],
            ["name='true'", "algorithm.loss_temperature=auto"],
        ],
        3,
    ),
)
def test_differences_typed_again_make_the_same_config(overrides):
    config = config_of(tuple(overrides))
    words = differences(config)
    assert resolve(composed("train", words)) == config
    assert len(words) <= len(overrides) + 2 and (words == []) == (overrides == [])


def test_the_command_is_what_hydra_kept_else_made_of_the_config(tmp_path):
    folder = write_run(tmp_path / "run", ["seed=2", "name='a b'"], {1.0: 0.5})
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    assert command_of(folder, config) == """splitmix train seed=2 'name='"'"'a b'"'"''"""
    own = {
        "hydra": {
            "runtime": {
                "config_sources": [{"provider": "main", "path": "x"}, {"provider": "command-line", "path": "mine"}]
            }
        }
    }
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps(own))
    assert command_of(folder, config).startswith("splitmix train --config-dir mine seed=2")
    for file in (folder / ".hydra").iterdir():
        file.unlink()
    assert "seed=2" in command_of(folder, config)


def test_names_in_a_run_cannot_steer_the_terminal(tmp_path, capfd):
    folder = write_run(tmp_path / "run", ["name='\x1b[31m'"], {1.0: 0.5}, domains=("[/red]a", "b\x1b]0;x\x07"))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    assert main(["show", f"run={folder}"]) == 0
    said = capfd.readouterr().out
    assert r"\x1b[31m" in said and "[/red]a" in said and r"b\x1b]0;x\x07" in said and "\x1b" not in said


def test_a_mistake_that_names_a_strangers_value_cannot_either(tmp_path, capfd):
    folder = write_run(tmp_path / "run", [], {1.0: 0.5})
    (folder / "config.yaml").write_text('"\\e[31m": 1\n')
    assert main(["report", f"runs={folder}", "out=null"]) == 2
    assert r"\x1b[31m" in capfd.readouterr().err
