"""Methods are told apart by their configs: what is averaged, what splits a group, what it is called."""

import pytest
from run_folders import write_run

from splitmix.commands.run_files import current_results, load_run
from splitmix.errors import UserError
from splitmix.reporting.groups import grouped, references, shown, unequal_settings
from splitmix.runs.run import check_same_domains, latest_of_equal, of_one_dataset


@pytest.fixture
def runs(tmp_path):
    """Makes runs of these overrides, in this order of start."""

    def make(*several, day=1, **changes):
        made = []
        for number, overrides in enumerate(several):
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            write_run(folder, overrides, {1.0: 0.5}, started=f"2026-01-{day:02}T00:{number:02}", **changes)
            made.append(load_run(folder, current_results(folder)))
        return made

    return make


def labels(groups):
    return {group.label: [run.seed for run in group.runs] for group in groups}


def test_seeds_are_averaged_whatever_else_decides_no_number(runs):
    made = runs(["seed=1"], ["seed=2", "name=x", "engine.threads=1", "validate_every=5", "test.widths=1"])
    assert labels(grouped(made)) == {"Split-Mix": [1, 2]}
    assert latest_of_equal(made) == (made, [])


def test_runs_tested_on_other_numbers_of_images_are_not_averaged(runs):
    made = runs(["seed=1"], ["seed=2", "test.max_images=200"])
    names = ["Split-Mix (test.max_images=null)", "Split-Mix (test.max_images=200)"]
    assert labels(grouped(made)) == dict(zip(names, [[1], [2]], strict=True))
    made = runs([], ["algorithm=fjord", "test.max_images=200"], day=2)
    assert unequal_settings(grouped(made)) == ["methods differ in test.max_images: null for Split-Mix; 200 for FjORD"]


def test_another_setting_splits_a_group_and_is_named(runs):
    made = runs(["seed=1"], ["seed=2"], ["model.bn=tracked", "seed=1"])
    assert labels(grouped(made)) == {"Split-Mix (bn=batch)": [1, 2], "Split-Mix (bn=tracked)": [1]}
    several = [*made, *runs(["optimizer.lr=0.01", "algorithm.rescale_init=false"], day=2)]
    assert list(labels(grouped(several))) == [
        "Split-Mix",
        "Split-Mix (bn=tracked)",
        "Split-Mix (rescale_init=false, lr=0.01)",
    ]


def test_the_width_of_a_network_is_a_column_unless_asked_apart(runs):
    made = runs(["algorithm=fedavg", "algorithm.width=0.125"], ["algorithm=fedavg"])
    assert list(labels(grouped(made))) == ["FedAvg"]
    assert list(labels(grouped(made, apart=()))) == ["FedAvg (×0.125)", "FedAvg (×1)"]


def test_models_are_named_where_there_are_several(runs):
    made = runs([], ["model=preresnet18", "algorithm=heterofl"])
    assert list(labels(grouped(made))) == ["Split-Mix digit_cnn", "HeteroFL preresnet18"]


def test_an_option_with_its_own_keys_is_named_by_itself(runs):
    made = runs([], ["partition=classes"])
    assert list(labels(grouped(made))) == ["Split-Mix (partition=uniform)", "Split-Mix (partition=classes)"]


def test_the_later_of_two_equal_runs_counts_and_it_says_so(runs):
    first, second = runs(["name=a"], ["name=b"])
    kept, notes = latest_of_equal([second, first])
    assert kept == [second] and f"left out: {first.folder}" in notes[0] and str(second.folder) in notes[0]


def test_what_differs_between_methods_is_told(runs):
    made = runs(["optimizer.lr=0.01"], ["algorithm=sheterofl"])
    assert unequal_settings(grouped(made)) == ["methods differ in optimizer.lr: 0.01 for Split-Mix; 0.1 for SHeteroFL"]


@pytest.mark.slow
def test_a_figure_shows_one_setting_of_each_of_too_many(runs):
    made = runs(*([f"optimizer.lr={lr}"] for lr in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)), ["algorithm=fjord"])
    groups = grouped(made)
    assert len(groups) == 10 and [group.algorithm for group in references(groups)] == ["Split-Mix", "FjORD"]
    drawn, words = shown(groups)
    assert drawn == references(groups) and "one setting" in words
    assert shown(groups[:8]) == (groups[:8], "")


def test_a_report_is_on_the_dataset_of_the_newest_run(runs):
    newest, other = runs([], day=2) + runs([], dataset="digits")
    kept, [note] = of_one_dataset([other, newest])
    assert kept == [newest] and f"runs on digits (1, such as {other.folder})" in note
    assert of_one_dataset([]) == ([], [])
    with pytest.raises(UserError, match="of different domains"):
        check_same_domains(runs([]) + runs([], domains=("a", "b")))


def test_a_config_older_than_a_key_takes_its_default(runs, tmp_path):
    [run] = runs([])
    path = run.folder / "config.yaml"
    path.write_text(path.read_text().replace("validate_every: 1\n", "").replace("  rescale_init: true\n", ""))
    old = load_run(run.folder, current_results(run.folder))
    assert old.identity == run.identity
    path.write_text(path.read_text() + "mystery: 1\n")
    with pytest.raises(UserError, match=r"config.yaml: unknown key mystery.* leave this run out"):
        load_run(run.folder, old.results)


def test_words_join_the_parentheses_of_a_label(runs):
    made = runs([], ["model.bn=tracked"])
    assert [group.label for group in grouped(made, label=lambda run: "FedAvg+AT (λ=0.5)")] == [
        "FedAvg+AT (λ=0.5, bn=batch)",
        "FedAvg+AT (λ=0.5, bn=tracked)",
    ]
