"""Every kind of report: its numbers by hand from synthetic runs, its figure's content, and when it cannot be shown."""

import io

import numpy as np
import pandas as pd
import pytest
from run_folders import anytime, attacked, measured, record, write_run
from scipy.stats import wilcoxon

from splitmix.commands.report import comparison_of
from splitmix.commands.run_files import current_results, load_run
from splitmix.reporting.comparison import CannotShow
from splitmix.reporting.kinds import KINDS, make, make_all
from splitmix.reporting.kinds.league import p_values, paired_p
from splitmix.reporting.paper import numbers


@pytest.fixture
def compare(tmp_path):
    """Makes a comparison of runs, each given as (overrides, accuracy by width, keyword arguments)."""

    def build(*runs, width=None):
        made, root = [], tmp_path / str(len(list(tmp_path.iterdir())))
        for number, (overrides, sa, *rest) in enumerate(runs):
            keywords = {"started": f"2026-01-01T00:{number:02}", **(rest[0] if rest else {})}
            folder = write_run(root / str(number), overrides, sa, **keywords)
            made.append(load_run(folder, current_results(folder)))
        return comparison_of(made, width)

    return build


def texts(table):
    return [[entry.text for entry in row] for row in table.entries()]


def axes_of(part, index=0):
    return part.drawings[index].figure.axes


def lines_of(table):
    """The numbers of a table, line by line."""
    return pd.DataFrame(table.numbers).to_dict("records")


def by_label(axes):
    return dict(zip(axes.get_legend_handles_labels()[1], axes.containers or axes.lines, strict=False))


WIDTH_RUNS = [
    (["seed=1"], {0.125: 0.80, 0.375: 0.81, 1.0: 0.86}),
    (["seed=2"], {0.125: 0.84, 0.375: 0.82, 1.0: 0.90}),
    (["algorithm=fedavg", "algorithm.width=0.125"], {0.125: 0.70}),
    (["algorithm=fedavg"], {1.0: 0.95}),
]


def test_table1(compare):
    [table] = make("table1", compare(*WIDTH_RUNS)).tables
    # Every width of any method: 0.375 is of one method alone.
    assert table.header == ["method", "×0.125", "×0.375", "×1"]
    assert texts(table) == [["Split-Mix", "82.0 ± 2.8", "81.5 ± 0.7", "88.0 ± 2.8"], ["FedAvg", "70.0", "", "95.0†"]]
    # FedAvg at width 1 is over the budget of three clients in four, so that Split-Mix has no rival there.
    assert bold(table) == [(0, 1)] and table.entries()[1][3].aside
    assert "no seed 2: FedAvg" in table.notes and any(note.startswith("† out of competition") for note in table.notes)
    assert {"method": "FedAvg", "width": 1.0, "mean": 0.95, "over_budget": 0.75}.items() <= lines_of(table)[-1].items()
    assert "(4 runs)" in table.caption


def bold(table):
    return [(r, c) for r, row in enumerate(table.entries()) for c, entry in enumerate(row) if entry.best]


def test_no_number_is_bold_beside_a_higher_one(compare):
    sa = {0.125: 0.8, 0.5: 0.70011, 1.0: 0.85}
    rival = (["algorithm=heterofl"], {0.125: 0.6, 0.5: 0.70012, 1.0: 0.7})
    for over, expected in ((0.9, []), (0.84, [(0, 3)])):
        part = make("table1", compare(([], sa), rival, (["algorithm=fedavg"], {1.0: over})))
        # At 0.5 two numbers read alike, so that both are bold.
        assert sorted(bold(part.tables[0])) == sorted([(0, 1), (0, 2), (1, 2), *expected])
        assert any("none is bold" in note for note in part.tables[0].notes)


def test_the_result_in_a_sentence(compare):
    sa = {0.125: 0.8, 0.5: 0.7, 1.0: 0.85}
    rival = (["algorithm=heterofl"], {0.125: 0.6, 0.5: 0.7, 1.0: 0.86})
    [lead] = make("table1", compare(([], sa), rival, (["algorithm=fedavg"], {1.0: 0.9}))).lead
    assert lead == (
        "Test SA on minidigits: Split-Mix has the highest at ×0.125 (80.0 %, 20.0 points above HeteroFL); Split-Mix and"
        " HeteroFL have the highest at ×0.5 (70.0 %); HeteroFL has the highest at ×1 (86.0 %, 1.0 points above"
        " Split-Mix); a single seed (1). Out of competition, over the budget of some clients: FedAvg 90.0 % at ×1."
    )
    # Seeds 1 and 2 of 0.83 and 0.87 against 0.86: 1.0 point is less than their deviation of 2.8.
    [lead] = make("table1", compare((["seed=1"], {1.0: 0.83}), (["seed=2"], {1.0: 0.87}), rival)).lead
    assert "86.0 %, within one standard deviation, 1.0 points above Split-Mix" in lead
    assert "over 1 to 2 seeds each, not the same for all" in lead
    [lead] = make("table1", compare(([], sa))).lead
    assert lead == "Test SA on minidigits: Split-Mix reaches 80.0 % at ×0.125 and 85.0 % at ×1, a single seed (1)."
    [lead] = make("table1", compare((["algorithm=fedavg"], {1.0: 0.9}))).lead
    assert "FedAvg reaches 90.0 % at ×1 (over the budget of 75 % of the clients)" in lead


def test_table1_of_one_method_has_all_its_widths(compare):
    [table] = make("table1", compare(*WIDTH_RUNS[:2])).tables
    assert table.header == ["method", "×0.125", "×0.375", "×1"] and not any(
        e.best for row in table.entries() for e in row
    )


DIGITS = ["dataset=digits", "rounds=300", "train_fraction=0.3"]


def test_the_papers_numbers_stand_beneath_ours(compare):
    sa = {0.125: 0.850, 0.25: 0.870}
    [table] = make(
        "table1", compare(([*DIGITS, "optimizer.lr=0.01"], sa), ([*DIGITS, "algorithm=heterofl"], sa))
    ).tables
    # PAPER: Split-Mix on Digits 84.6 and 87.5; HeteroFL is not in Table 1.
    assert texts(table)[:3] == [
        ["Split-Mix", "85.0", "87.0"],
        ["paper", "84.6", "87.5"],
        ["difference", "+0.4", "\u22120.5"],
    ]
    assert [row[0] for row in texts(table)] == ["Split-Mix", "paper", "difference", "HeteroFL"]
    assert lines_of(table)[0]["difference"] == pytest.approx(0.004)
    assert not any("departs" in note for note in table.notes)


@pytest.mark.parametrize(
    ("words", "source", "printed"),
    [
        (["experiment=fiarse_cifar10", "algorithm=scalefl"], "FIARSE", {0.125: "69.0", 1.0: "77.6"}),
        (["experiment=depthfl_cifar100", "algorithm=inclusivefl"], "DepthFL", {0.25: "47.6", 1.0: "60.5"}),
        (
            ["experiment=depthfl_cifar100", "algorithm=depthfl", "algorithm.self_distillation=false"],
            "DepthFL",
            {1.0: "72.7"},
        ),
        (["experiment=flower_heterofl"], "Flower", {1.0: "87.5"}),
        (["experiment=flower_heterofl", "algorithm=fedavg", "algorithm.width=0.25"], "Flower", {0.25: "85.7"}),
    ],
)
def test_numbers_of_other_papers_stand_beneath_their_experiments(compare, words, source, printed):
    [table] = make("table1", compare((words, dict.fromkeys(printed, 0.5)))).tables
    assert texts(table)[1] == ["paper", *printed.values()]
    assert any(f"those of {source}" in note for note in table.notes)
    assert not any("departs" in note for note in table.notes)


@pytest.mark.parametrize("other", ["model.bn=tracked", "algorithm.atom_width=0.25", "partition=dirichlet"])
def test_other_settings_are_not_held_against_the_paper(compare, other):
    budgets = ["budget.widths=4-2-1"] if "atom" in other else []
    [table] = make("table1", compare(([*DIGITS, other, *budgets], {0.25: 0.8}))).tables
    assert [row[0] for row in texts(table)] == ["Split-Mix"]


def test_a_departure_from_the_papers_protocol_is_told(compare):
    [table] = make("table1", compare((["dataset=digits", "rounds=20", "train_fraction=0.3"], {1.0: 0.8}))).tables
    [note] = [note for note in table.notes if "departs" in note]
    assert "rounds 20 (paper: 300)" in note and "optimizer.lr 0.1 (paper: 0.01)" in note and "local_epochs" not in note


def test_the_papers_table_is_whole():
    entries = [entry for entry in numbers()["accuracy"] if "source" not in entry]
    cells = [value for entry in entries for by_width in entry["percent"].values() for value in by_width.values()]
    # 3 data sets x 3 methods x 4 widths; three sums by hand from PAPER's Table 1.
    assert len(cells) == 36
    sums = {entry["where"]["dataset"]: sum(entry["percent"]["splitmix"].values()) for entry in entries}
    assert sums == pytest.approx({"digits": 350.9, "cifar10": 203.9, "domainnet": 287.5})


def test_macs(compare):
    sa = {0.125: 0.8, 1.0: 0.9}
    part = make("macs", compare(([], sa), (["optimizer.lr=0.2"], sa), (["algorithm=fedrolex"], sa)))
    macs, params = part.tables
    # The folder says 10 and 1 million times the width; the paper's mix at 0.125 has 1,194,304 and 224,194. Two settings
    # of Split-Mix cost the same; FedRolex is not in the paper.
    assert texts(macs) == [
        ["Split-Mix", "1,250,000", "10,000,000"],
        ["paper", "1,194,304", "9,554,432"],
        ["difference", "+55,696", "+445,568"],
        ["FedRolex", "1,250,000", "10,000,000"],
    ]
    assert texts(params)[2] == ["difference", "\u221299,194", "\u2212793,552"]
    assert "ten times too small" in macs.notes[0]
    lines = by_label(axes_of(part)[0])
    assert list(lines["FedRolex"].lines[0].get_xdata()) == [1.25, 10] and axes_of(part)[0].get_xscale() == "log"


@pytest.mark.slow
def test_convergence_of_methods(compare):
    runs = [(["seed=1"], {0.5: 0.8, 1.0: 0.9}, {"validation": (0.1, 0.5, 0.4)})]
    runs += [(["seed=2"], {0.5: 0.8, 1.0: 0.9}, {"validation": (0.3, 0.7, 0.4)})]
    runs += [(["algorithm=fedavg", "algorithm.width=0.5"], {0.5: 0.8}, {"validation": (0.2, 0.3)})]
    part = make("convergence", compare(*runs))
    [axes] = axes_of(part)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["Split-Mix"].get_xdata()) == [1, 2, 3]
    assert list(lines["Split-Mix"].get_ydata()) == pytest.approx([20, 60, 40])
    assert "FedAvg (×0.5)" in lines and len(axes.collections) == 1  # a band where there are two seeds
    # Half the difference times the root of two.
    assert texts(part.tables[0])[0] == ["Split-Mix", "2", "60.0 ± 14.1", "3", "40.0 ± 0.0"]
    assert [drawing.name for drawing in part.drawings] == ["convergence"]


@pytest.mark.slow
def test_convergence_of_one_method_by_width(compare):
    part = make("convergence", compare((["seed=1"], {0.5: 0.8, 1.0: 0.9})))
    assert [drawing.name for drawing in part.drawings] == ["convergence", "convergence_widths"]
    assert [text.get_text() for text in axes_of(part, 1)[0].texts] == ["×0.5", "×1"]


@pytest.mark.slow
def test_clients(compare):
    sa = {0.125: 0.4, 0.5: 0.6, 1.0: 0.8}
    part = make("clients", compare(([], sa), (["algorithm=sheterofl"], sa), (["algorithm=fedavg"], {1.0: 0.9})))
    [table] = part.tables
    # Clients of budgets 1/8, 1/4, 1/2, 1 use widths 1/8, 1/8, 1/2, 1; the first two are a tenth above the mean.
    ours = [line for line in lines_of(table) if line["method"] == "Split-Mix"]
    assert [line["accuracy"] for line in ours] == pytest.approx([0.5, 0.5, 0.5, 0.7])
    # One base model has 1,194,304 MACs: 3 x 32 x that, times 1, 2, 4, 8 base models.
    assert [line["macs"] for line in ours] == pytest.approx([96 * 1194304 * m for m in (1, 2, 4, 8)])
    assert [line["params"] for line in ours] == [125_000, 250_000, 500_000, 1_000_000]
    # SHeteroFL trains all widths up to its budget: 1,194,304 + 3,763,584 at 1/4.
    rival = [line["macs"] for line in lines_of(table) if line["method"] == "SHeteroFL"]
    assert rival[1] == pytest.approx(96 * (1194304 + 3763584))
    assert "left out: FedAvg, over the budget of some clients" in table.notes
    assert [drawing.name for drawing in part.drawings] == ["clients_accuracy", "clients_macs", "clients_params"]
    assert [tick.get_text() for tick in axes_of(part)[0].get_yticklabels()] == ["SHeteroFL", "Split-Mix"]


def test_worst_and_best_client_need_images_of_each_client(compare):
    few = {"tests": [record(1.0, 0.8, n_images=76)]}
    part = make(
        "clients", compare(([], {}, {**few, "results": {"widths": {"1.0": {"sa": 0.8, "macs": 1, "params": 1}}}}))
    )
    [table] = part.tables
    assert texts(table)[0][1:4] == ["", "80.0", ""]
    assert table.notes == [
        "Split-Mix: worst and best client are left out: they would rest on 19 images each, less than 20; no box of its"
        " SA is drawn"
    ]
    assert [drawing.name for drawing in part.drawings] == ["clients_macs", "clients_params"]


def test_a_width_that_an_earlier_version_wrote_with_a_rounding_error_is_that_width(compare):
    """At 0.1 * 3 = 0.30000000000000004 stand the columns, results and records of such runs."""
    old, new = ["algorithm.atom_width=0.1", "seed=1"], ["algorithm.atom_width=0.1", "seed=2"]
    made = compare((old, {0.1 * 3: 0.6}), (new, {0.3: 0.8}), width=0.1 + 0.2)
    assert made.width == 0.3
    [table] = make("table1", made).tables
    assert table.header == ["method", "×0.3"] and texts(table)[0][1].startswith("70.0")
    assert [run.curve("val_sa/0.3") for run in made.runs] == [{1: 0.5, 2: 0.6}] * 2
    assert all(run.tests(width=0.3) for run in made.runs)


@pytest.mark.slow
def test_domains(compare):
    part = make("domains", compare(([], {0.5: 0.5, 1.0: 0.6}), (["algorithm=fjord"], {1.0: 0.7})))
    [table] = part.tables
    # Two clients of the first domain are a tenth better than the mean, those of the second a tenth worse.
    assert table.header == ["method", "width", "handwritten", "coarse"]
    assert texts(table) == [
        ["Split-Mix", "×0.5", "60.0", "40.0"],
        ["Split-Mix", "×1", "70.0", "50.0"],
        ["FjORD", "×1", "80.0", "60.0"],
    ]
    assert [tick.get_text() for tick in axes_of(part)[0].get_xticklabels()] == ["handwritten", "coarse"]
    assert "at ×1" in part.drawings[0].caption


@pytest.mark.slow
def test_seeds_tested_again_on_more_images_are_named(compare):
    again = {"tests": [record(1.0, 0.8, n_images=1000)]}
    comparison = compare((["seed=1"], {1.0: 0.7}), (["seed=2"], {1.0: 0.7}, again))
    for kind in ("clients", "domains"):
        assert make(kind, comparison).tables[0].notes == ["Split-Mix: tested on 400 or 1000 images"]


@pytest.mark.slow
def test_ablation(compare):
    posts = {"tests": [record(1.0, 0.75, bn="post"), record(1.0, 0.1, bn="post", n_images=10)]}
    runs = [
        ([], {1.0: 0.7}, posts),
        (["seed=2"], {1.0: 0.8}),
        (["model.bn=local", "algorithm.rescale_init=false"], {1.0: 0.6}),
    ]
    part = make("ablation", compare(*runs, (["algorithm=fjord"], {1.0: 0.9})))
    [table] = part.tables
    assert texts(table) == [
        ["batch", "yes", "yes", "75.0 ± 7.1"],
        ["post", "yes", "yes", "75.0"],
        ["local", "no", "yes", "60.0"],
    ]
    [seeds, absent] = table.notes
    assert seeds.startswith("no seed 2: post") and absent.startswith(
        "not run: batch, rescale_init=true, rescale_layer=false"
    )


@pytest.mark.slow
def test_budgets(compare):
    runs = [
        (["budget.widths=8-4-2-1"], {0.125: 0.7, 1.0: 0.8}),
        (["budget.widths=4-2"], {0.25: 0.6}, {"budgets": (0.25, 0.25, 0.25, 0.5)}),
        (["algorithm=sheterofl"], {0.125: 0.75, 1.0: 0.7}),
    ]
    part = make("budgets", compare(*runs))
    # SHeteroFL has a single distribution: nothing to compare.
    assert texts(part.tables[0]) == [
        ["8-4-2-1", "Split-Mix", "70.0", "", "80.0"],
        ["4-2", "Split-Mix", "", "60.0", ""],
    ]
    assert part.tables[0].notes == []
    histogram = axes_of(part)[2]
    assert histogram.get_title(loc="left") == "4-2" and [bar.get_height() for bar in histogram.patches] == [3, 1]
    with pytest.raises(CannotShow, match="at least two budget distributions"):
        make("budgets", compare(runs[0], runs[2]))
    [note] = (
        make("budgets", compare(*runs[2:], (["algorithm=sheterofl", "budget.widths=8-2"], {1.0: 0.7}))).tables[0].notes
    )
    assert note.startswith("SHeteroFL: the authors' code")


@pytest.mark.slow
def test_participation(compare):
    runs = [
        (["seed=1"], {0.5: 0.7, 1.0: 0.8}),
        (["seed=1", "clients_per_round=2"], {0.5: 0.6, 1.0: 0.7}),
        (["seed=2", "clients_per_round=2"], {0.5: 0.6, 1.0: 0.5}),
        (["algorithm=fjord"], {1.0: 0.9}),
    ]
    part = make("participation", compare(*runs))
    # All clients are four.
    assert part.tables[0].header == ["method", "2", "4"]
    assert texts(part.tables[0]) == [["Split-Mix", "60.0 ± 14.1", "80.0"]]
    assert part.tables[0].notes == ["no seed 2: Split-Mix at 4 clients"]
    assert texts(make("participation", compare(*runs, width=0.5)).tables[0]) == [["Split-Mix", "60.0 ± 0.0", "70.0"]]
    with pytest.raises(CannotShow, match=r"width=0\.25: none .* choose among 0\.5, 1"):
        make("participation", compare(*runs, width=0.25))


def test_trained_anew_for_each_lambda_is_one_curve(compare):
    runs = [
        (["algorithm=fedavg", f"algorithm.adv_lambda={adv}"], {1.0: 0.9}, {"tests": attacked({(1.0, 0.0): (0.9, adv)})})
        for adv in (0, 0.5, 1)
    ]
    part = make("tradeoff", compare(*runs))
    rows = [
        ["FedAvg+AT", "0", "90.0", "0.0"],
        ["FedAvg+AT", "0.5", "90.0", "50.0"],
        ["FedAvg+AT", "1", "90.0", "100.0"],
    ]
    assert texts(part.tables[0]) == rows
    assert [text.get_text() for text in axes_of(part)[0].texts] == ["0", "0.5", "1"]


IN_SITU = {(0.5, 0.0): (0.80, 0.10), (0.5, 1.0): (0.60, 0.40), (1.0, 0.0): (0.90, 0.20), (1.0, 1.0): (0.70, 0.50)}


def robust_runs():
    """An in-situ run of two seeds, and networks of two widths trained without adversaries."""
    situ = [
        (
            [f"seed={seed}"],
            {0.5: 0.8, 1.0: 0.9},
            {"tests": attacked(IN_SITU) + attacked({(1.0, 0.0): (0.9, 0.1)}, "mim")},
        )
        for seed in (1, 2)
    ]
    plain = [
        (
            ["algorithm=fedavg", f"algorithm.width={width}"],
            {width: 0.9},
            {"tests": attacked({(width, 0.0): (sa, 0.05)})},
        )
        for width, sa in ((0.5, 0.8), (1.0, 0.88))
    ]
    return situ + plain


def test_tradeoff(compare):
    part = make("tradeoff", compare(*robust_runs()))
    assert [table.name for table in part.tables] == ["tradeoff_linf_pgd", "tradeoff_mim"]
    assert texts(part.tables[0]) == [
        ["Split-Mix", "0", "90.0 ± 0.0", "20.0 ± 0.0"],
        ["Split-Mix", "1", "70.0 ± 0.0", "50.0 ± 0.0"],
        ["FedAvg", "0", "88.0", "5.0"],
    ]
    [axes] = axes_of(part)
    # SA counts on as many images as RA: the final test's 90 % of FedAvg was on more.
    assert [line.lines[0].get_xdata().tolist() for line in by_label(axes).values()] == [pytest.approx([90, 70]), [88]]
    assert sorted(text.get_text() for text in axes.texts) == ["0", "0", "1"]
    assert texts(make("tradeoff", compare(*robust_runs(), width=0.5)).tables[0])[1][2:] == ["60.0 ± 0.0", "40.0 ± 0.0"]


@pytest.mark.slow
def test_attacks_of_one_name_are_told_apart_and_unequal_images_named(compare):
    weak = record(1.0, 0.6, attack={"name": "linf_pgd", "eps": 2.0, "steps": 7}, n_images=50)
    part = make("tradeoff", compare(([], {1.0: 0.9}, {"tests": [*attacked({(1.0, 0.0): (0.9, 0.3)}), weak]})))
    captions = [table.caption for table in part.tables]
    assert "linf_pgd (eps=8.0)" in captions[0] and "linf_pgd (eps=2.0)" in captions[1]
    assert part.tables[0].notes == ["SA and RA on 200 test images, all clients together"]
    assert part.tables[1].notes == ["SA on 400 and RA on 50 test images, all clients together"]


@pytest.mark.slow
def test_curves_that_crowd_are_magnified(compare):
    at = {0.25: (0.60, 0.20), 0.5: (0.80, 0.400), 0.75: (0.81, 0.403), 1.0: (0.805, 0.41)}
    grid = {(w, adv): (sa - 0.01 * adv, ra + 0.01 * adv) for w, (sa, ra) in at.items() for adv in (0.0, 0.5, 1.0)}
    whole, panel = axes_of(make("joint", compare(([], dict.fromkeys(at, 0.8), {"tests": attacked(grid)}))))
    named = [{text.get_text() for text in axes.texts if text.get_text()[0] in "×m"} for axes in (whole, panel)]
    assert named == [{"×0.25", "magnified below"}, {"×0.5", "×0.75", "×1"}]
    (low, high), width = panel.get_xlim(), whole.get_xlim()[1] - whole.get_xlim()[0]
    assert low < 79 and high > 81 and high - low < width / 4


@pytest.mark.slow
def test_a_hostile_attack_stays_in_the_folder_and_a_formula_is_text(compare):
    tests = attacked({(1.0, 0.0): (0.9, 0.3)}, "..$x^{$") + attacked({(1.0, 0.0): (0.9, 0.3)}, ".._$x^{$")
    part = make("tradeoff", compare(([], {1.0: 0.9}, {"tests": tests})))
    names = [table.name for table in part.tables]
    assert len(set(names)) == 2 and not any(set("./") & set(name) for name in names)
    part.drawings[0].figure.savefig(io.BytesIO())


@pytest.mark.slow
def test_joint(compare):
    part = make("joint", compare(*robust_runs()))
    assert texts(part.tables[0]) == [
        ["×0.5", "0", "80.0 ± 0.0", "10.0 ± 0.0"],
        ["×0.5", "1", "60.0 ± 0.0", "40.0 ± 0.0"],
        ["×1", "0", "90.0 ± 0.0", "20.0 ± 0.0"],
        ["×1", "1", "70.0 ± 0.0", "50.0 ± 0.0"],
    ]
    # Both widths stand at their curves, and λ along one of them.
    assert sorted(text.get_text() for text in axes_of(part)[0].texts) == ["0", "1", "×0.5", "×1"]
    assert not part.drawings[0].figure.legends
    [table] = make("table1", compare(*robust_runs())).tables
    assert "at λ = 0, of several that one model gives: Split-Mix" in table.notes
    assert len(part.tables) == 1  # the other attack knows a single λ


def metric_runs():
    """Two seeds with metrics at two widths, and a method without."""
    for seed, ece in ((1, 0.2), (2, 0.4)):
        tests = [record(0.5, 0.8, n_images=200, **measured(0.5)), record(1.0, 0.9, n_images=200, **measured(ece))]
        tests.append(record(1.0, 0.3, attack={"name": "fgsm", "eps": 8.0}, **measured(0.9)))
        yield [f"seed={seed}"], {0.5: 0.8, 1.0: 0.9}, {"tests": tests}
    yield ["algorithm=fedavg"], {1.0: 0.7}


def test_metrics_by_width_domain_and_class(compare):
    part = make("metrics", compare(*metric_runs()))
    by_width, by_domain, by_class, matrix = part.tables
    assert texts(by_width) == [
        ["Split-Mix", "accuracy", "50.0 ± 0.0", "30.0 ± 14.1"],
        ["Split-Mix", "ECE", "50.0 ± 0.0", "30.0 ± 14.1"],
        ["Split-Mix", "NLL", "0.500 ± 0.000", "0.300 ± 0.141"],
    ]
    assert by_domain.header == ["method", "domain", "accuracy", "ECE", "NLL"]
    assert [row[:4] for row in texts(by_domain)] == [
        ["Split-Mix", "handwritten", "40.0 ± 14.1", "40.0 ± 14.1"],
        ["Split-Mix", "coarse", "20.0 ± 14.1", "20.0 ± 14.1"],
    ]
    # A class without an image has no row.
    assert [row[1:3] for row in texts(by_class)] == [["cat", "40.0 ± 14.1"]]
    # Seeds are added up.
    assert matrix.header == ["class", "cat", "dog"] and texts(matrix) == [["cat", "6", "2"], ["dog", "0", "8"]]
    assert part.lead == [
        "Expected calibration error on minidigits: Split-Mix 50.0 % at ×0.5 (confidence 25.0 %, accuracy 80.0 %) and"
        " 30.0 % at ×1 (confidence 25.0 %, accuracy 90.0 %)."
    ]
    [axes] = axes_of(part)
    assert by_label(axes)["Split-Mix"].lines[0].get_ydata().tolist() == pytest.approx([50, 30])


def test_metrics_need_a_test_that_measured_them(compare):
    with pytest.raises(CannotShow, match=r"splitmix test run=<folder> 'test\.metrics=\["):
        make("metrics", compare(([], {1.0: 0.9})))
    only = {"confusion_matrix": measured()["confusion_matrix"]}
    part = make("metrics", compare(([], {1.0: 0.9}, {"tests": [record(1.0, 0.9, n_images=200, **only)]})))
    assert [table.name for table in part.tables] == ["confusion_matrix"] and not part.drawings and not part.lead


@pytest.mark.slow
def test_anytime(compare):
    def tests(shift):
        return [
            record(0.5, 0.8, n_images=200, accuracy_fixed=0.815 + shift, anytime=anytime(shift)),
            record(0.125, 0.6, n_images=200, accuracy_fixed=0.7 + shift),
            record(0.25, 0.6, n_images=100, accuracy_fixed=0.1),  # of other images
        ]

    runs = [([f"seed={seed}"], {0.125: 0.6, 0.5: 0.8}, {"tests": tests(shift)}) for seed, shift in ((1, 0), (2, 0.02))]
    part = make("anytime", compare(*runs, (["algorithm=fedavg"], {1.0: 0.7})))
    assert texts(part.tables[0]) == [
        ["Split-Mix", "until=0.2", "71.0 ± 1.4", "1.00", "1.25 M"],
        ["Split-Mix", "until=0.6", "82.0 ± 1.4", "2.40", "3.00 M"],
        ["Split-Mix", "until=1", "82.5 ± 1.4", "4.00", "5.00 M"],
        ["Split-Mix", "×0.125", "71.0 ± 1.4", "1.00", "1.25 M"],
        ["Split-Mix", "×0.5", "82.5 ± 1.4", "4.00", "5.00 M"],
    ]
    assert part.lead == [
        "Split-Mix on minidigits: until=0.6 reaches SA 82.0 % at 3.00 M MACs on average; until=1, up to ×0.5, 82.5 % at"
        " 5.00 M."
    ]
    [axes] = axes_of(part)
    lines = by_label(axes)
    assert lines["Split-Mix, early exit"].lines[0].get_xdata().tolist() == [1.25, 3, 5]
    assert lines["Split-Mix, fixed width"].lines[0].get_ydata().tolist() == pytest.approx([71, 82.5])
    with pytest.raises(CannotShow, match=r"splitmix test run=<folder> test\.anytime=true"):
        make("anytime", compare(([], {1.0: 0.7})))


@pytest.mark.slow
def test_corruptions(compare):
    def tests(shift):
        kinds = {"jpeg": [0.8, 0.7, 0.6, 0.5, 0.4], "gaussian_noise": [0.6 + shift, 0.5, 0.4, 0.3, 0.2 - shift]}
        return [record(1.0, 0.9, n_images=200, corruptions=kinds), record(0.5, 0.8, n_images=200)]

    runs = [([f"seed={seed}"], {0.5: 0.8, 1.0: 0.9}, {"tests": tests(shift)}) for seed, shift in ((1, 0), (2, 0.1))]
    part = make("corruptions", compare(*runs))
    assert texts(part.tables[0]) == [
        ["Split-Mix", "clean", "90.0 ± 0.0"],
        ["Split-Mix", "jpeg", "60.0 ± 0.0"],
        ["Split-Mix", "gaussian noise", "40.0 ± 0.0"],
        ["Split-Mix", "mean of all kinds", "50.0 ± 0.0"],
    ]
    [axes] = axes_of(part)
    line = by_label(axes)["Split-Mix"].lines[0]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert line.get_ydata().tolist() == pytest.approx([90, 72.5, 60, 50, 40, 27.5])
    with pytest.raises(CannotShow, match=r"splitmix test run=<folder> test\.corruptions=all"):
        make("corruptions", compare(([], {1.0: 0.7})))


def private(epsilon, **changes):
    """What results.json has of a private run."""
    about = {"delta": 1e-5, "relation": "replace-one", "accountant": "RDP", "noise_multiplier": 1.5, "clip_norm": 0.5}
    return {"results": {"privacy": {"epsilon": epsilon, **about, "participation": "fixed", **changes}}}


def noise(multiplier):
    return ["privacy=dp_fedavg", f"privacy.noise_multiplier={multiplier}"]


@pytest.mark.slow
def test_privacy(compare):
    runs = [
        (["seed=1", *noise(1.5)], {0.5: 0.6, 1.0: 0.5}, private(20.0)),
        (["seed=2", *noise(1.5)], {0.5: 0.64, 1.0: 0.54}, private(20.0)),
        (["seed=1", *noise(6)], {0.5: 0.3, 1.0: 0.2}, private(2.5, noise_multiplier=6.0)),
        (["seed=1"], {0.5: 0.8, 1.0: 0.9}),
    ]
    part = make("privacy", compare(*runs))
    told = "replace-one, δ=1e-05, RDP"
    assert part.tables[0].header == ["method", "ε", "z·C", "×0.5", "×1"]
    assert texts(part.tables[0]) == [
        ["Split-Mix", "2.5 replace-one", "6·0.5", "30.0", "20.0"],
        ["Split-Mix", "20 replace-one", "1.5·0.5", "62.0 ± 2.8", "52.0 ± 2.8"],
        ["Split-Mix", "none", "", "80.0", "90.0"],
    ]
    assert part.tables[0].notes[0] == f"every ε: {told}"
    assert {line["holds for"] for line in lines_of(part.tables[0])} == {told, ""}
    assert "validation" in part.tables[0].caption and any("splitmix audit" in note for note in part.tables[0].notes)
    assert part.lead == [f"Split-Mix on minidigits: SA 20.0 % at ×1 with ε = 2.5 ({told}), 90.0 % without noise."]
    [axes] = axes_of(part)
    lines = by_label(axes)
    assert lines["×1"].lines[0].get_xdata().tolist() == [2.5, 20.0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2.5", "20"]
    assert lines["×0.5"].lines[0].get_ydata().tolist() == pytest.approx([30, 62])
    with pytest.raises(CannotShow, match=r"splitmix train privacy=dp_fedavg"):
        make("privacy", compare(([], {1.0: 0.7})))


@pytest.mark.slow
def test_epsilons_of_two_relations_and_methods_are_not_mixed_up(compare):
    loose = private(16.0, relation="add/remove", accountant="PLD")
    words = ["algorithm=fedavg", "algorithm.width=0.5", *noise(1.5)]
    part = make("privacy", compare((noise(1.5), {0.5: 0.6, 1.0: 0.5}, private(20.0)), (words, {0.5: 0.7}, loose)))
    assert part.tables[0].notes[0] == (
        "replace-one, δ=1e-05, RDP: 20 replace-one; add/remove, δ=1e-05, PLD: 16 add/remove. An ε is comparable with"
        " others of the same neighbouring relation and δ alone"
    )
    assert [row[:2] for row in texts(part.tables[0])] == [["Split-Mix", "20 replace-one"], ["FedAvg", "16 add/remove"]]
    assert [drawing.name for drawing in part.drawings] == ["privacy", "privacy_2"]
    assert set(by_label(axes_of(part, 0)[0])) == {"×0.5", "×1"} and set(by_label(axes_of(part, 1)[0])) == {"×0.5"}
    alike = (words, {0.5: 0.7}, private(12.0))
    part = make("privacy", compare((noise(1.5), {0.5: 0.6, 1.0: 0.5}, private(20.0)), alike))
    [drawing] = part.drawings
    assert set(by_label(axes_of(part)[0])) == {"Split-Mix", "FedAvg"} and "at ×0.5" in drawing.caption


def test_poison(compare):
    def run(seed, share, backdoor, *words):
        tests = [
            record(0.5, 0.8, n_images=400, backdoor_success=backdoor + 0.1),
            record(1.0, 0.9, n_images=400, backdoor_success=backdoor),
            record(1.0, 0.85, mix="median", backdoor_success=0.1),
        ]
        overrides = [f"seed={seed}", "malicious=backdoor", f"malicious.share={share}", *words]
        return overrides, {0.5: 0.8, 1.0: 0.9}, {"results": {"tests": tests}}

    one = "malicious.base_models=[0]"
    label_flip = (["malicious=label_flip", "malicious.share=0.2"], {1.0: 0.3})
    runs = [run(1, 0.0, 0.1), run(1, 0.3, 0.6), run(2, 0.3, 0.8), run(1, 0.3, 0.2, one), label_flip]
    part = make("poison", compare(*runs))
    everywhere, of_one = "Split-Mix, backdoor", "Split-Mix, backdoor of base model 0"
    assert part.tables[0].header == ["method", "measure", "attackers", "×0.5", "×1"]
    assert texts(part.tables[0]) == [
        [everywhere, "SA", "0.0", "80.0", "90.0"],
        [everywhere, "SA", "0.3", "80.0 ± 0.0", "90.0 ± 0.0"],
        [everywhere, "backdoor", "0.0", "20.0", "10.0"],
        [everywhere, "backdoor", "0.3", "80.0 ± 14.1", "70.0 ± 14.1"],
        [everywhere, "SA (median)", "0.0", "", "85.0"],
        [everywhere, "SA (median)", "0.3", "", "85.0 ± 0.0"],
        [everywhere, "backdoor (median)", "0.0", "", "10.0"],
        [everywhere, "backdoor (median)", "0.3", "", "10.0 ± 0.0"],
        [of_one, "SA", "0.3", "80.0", "90.0"],
        [of_one, "backdoor", "0.3", "30.0", "20.0"],
        [of_one, "SA (median)", "0.3", "", "85.0"],
        [of_one, "backdoor (median)", "0.3", "", "10.0"],
        ["Split-Mix, label flip", "SA", "0.2", "", "30.0"],
    ]
    accuracy, success = axes_of(part)
    assert accuracy.get_ylabel() == "test SA (%)" and success.get_ylabel() == "backdoor success (%)"
    line = by_label(success)[f"{everywhere} ×1"].lines[0]
    assert line.get_xdata().tolist() == [0, 0.3] and line.get_ydata().tolist() == pytest.approx([10, 70])
    with pytest.raises(CannotShow, match="splitmix train malicious=backdoor"):
        make("poison", compare(([], {1.0: 0.7})))


@pytest.mark.slow
def test_transfer(compare):
    places = {"widths": [0.5, 1.0], "adv_lambdas": [0.0, 0.0]}

    def tests(shift):
        narrow = {**places, "accuracy": [0.2 + shift, 0.4], "worst": 0.1 + shift}
        wide = {**places, "accuracy": [0.5 + shift, 0.3], "worst": 0.3}
        attack = {"name": "linf_pgd", "eps": 8.0}
        return [
            record(0.5, 0.2 + shift, attack=attack, transfer=narrow),
            record(1.0, 0.3, attack=attack, transfer=wide),
            record(1.0, 0.9),
        ]

    runs = [([f"seed={seed}"], {0.5: 0.8, 1.0: 0.9}, {"tests": tests(shift)}) for seed, shift in ((1, 0), (2, 0.1))]
    part = make("transfer", compare(*runs))
    # Of each target: its own attack, the strongest made at another width and where, and all together.
    assert texts(part.tables[0]) == [
        ["×0.5", "0", "25.0 ± 7.1", "40.0 ± 0.0", "×1 λ 0", "15.0 ± 7.1"],
        ["×1", "0", "30.0 ± 0.0", "55.0 ± 7.1", "×0.5 λ 0", "30.0 ± 0.0"],
    ]
    [line] = [line for line in lines_of(part.tables[0]) if line["width"] == 1.0 and line["source_width"] == 0.5]
    assert line["mean"] == pytest.approx(0.55) and line["worst_of_all"] == pytest.approx(0.3)
    axes = axes_of(part)[0]
    # Down: targets, across: sources.
    assert axes.images[0].get_array().tolist() == [pytest.approx([25, 40]), pytest.approx([55, 30])]
    assert [text.get_text() for text in axes.texts] == ["25", "40", "55", "30"]
    assert [patch.get_xy() for patch in axes.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    with pytest.raises(CannotShow, match=r"test\.transfer=true"):
        make("transfer", compare(([], {1.0: 0.7})))


def test_sanity(compare):
    ladder = {"eps": [8.0, 16.0], "accuracy": [0.5, 0.01], "loss": [1.0, 2.0], "more_steps": 35, "restarts": 5}
    sanity = {**ladder, "accuracy_more_steps": 0.4, "accuracy_restarts": 0.5, "black_box": {"square": 0.6}}
    tests = [record(1.0, 0.5, attack={"name": "linf_pgd", "eps": 8.0}, sanity=sanity), record(1.0, 0.9)]
    part = make("sanity", compare(([], {1.0: 0.9}, {"tests": tests})))
    [table] = part.tables
    assert [row[2] for row in texts(table)] == ["pass", "pass", "pass", "FAIL", "pass"]
    assert texts(table)[3] == [
        "Split-Mix, seed 1, ×1, λ 0, linf_pgd", "more steps do not help much", "FAIL",
        "RA 50.0 %, with 35 steps 40.0 %",
    ]  # fmt: skip
    assert bold(table) == [(3, 2)] and part.lead == ["1 of 5 checks for masked gradients failed on minidigits."]
    assert "3 points less" in table.notes[-1]
    with pytest.raises(CannotShow, match=r"test\.sanity=true"):
        make("sanity", compare(([], {1.0: 0.7})))


def test_all_names_what_the_runs_cannot_show(compare):
    parts, skipped = make_all(compare(([], {1.0: 0.9}, {"tests": []})))
    assert [part.kind for part in parts] == ["table1", "macs", "convergence", "clients", "domains"]
    assert [line.split()[1] for line in skipped] == [
        "league", "time", "metrics", "anytime", "corruptions", "poison", "ablation", "budgets", "participation",
        "privacy", "tradeoff", "joint", "dial", "transfer", "sanity",
    ]  # fmt: skip
    assert len(parts) + len(skipped) == len(KINDS)


@pytest.mark.slow
def test_runs_without_test_records_show_no_clients(compare):
    bare = compare(([], {1.0: 0.9}, {"results": {"tests": []}}))
    for kind in ("clients", "domains", "ablation"):
        with pytest.raises(CannotShow):
            make(kind, bare)


@pytest.mark.slow
def test_methods_look_alike_in_all_figures_of_a_report(compare):
    comparison = compare(*WIDTH_RUNS[:2], (["algorithm=fjord"], {0.125: 0.5, 1.0: 0.5}))
    parts, _ = make_all(comparison)
    drawn = {}
    for part in parts:
        for drawing in part.drawings:
            for axes in drawing.figure.axes:
                for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                    line = handle.lines[0] if hasattr(handle, "lines") else handle
                    drawn.setdefault(label, set()).add((line.get_color(), line.get_marker()))
    assert drawn.keys() == {"Split-Mix", "FjORD"} and all(len(looks) == 1 for looks in drawn.values())
    assert drawn["Split-Mix"] != drawn["FjORD"]


@pytest.mark.slow
def test_league(compare):
    """Four clients, budgets 1/8 to 1: Split-Mix is better at every client, HeteroFL's seeds lead at one of them."""
    split, hetero = {0.125: 0.7, 0.25: 0.72, 0.5: 0.75, 1.0: 0.8}, {0.125: 0.5, 0.25: 0.6, 0.5: 0.75, 1.0: 0.85}
    part = make(
        "league",
        compare(
            (["seed=1"], split),
            (["seed=2"], {width: sa - 0.02 for width, sa in split.items()}),
            (["seed=1", "algorithm=heterofl"], hetero),
            (["seed=2", "algorithm=heterofl"], hetero),
            (["seed=3", "algorithm=fedavg", "algorithm.width=0.125"], {0.125: 0.4}),
            (["seed=1", "algorithm=fedavg"], {1.0: 0.9}),
            (["seed=1", "algorithm=fedrolex"], hetero, {"budgets": [1.0, 1.0, 1.0, 1.0]}),
        ),
    )
    table, widths = part.tables
    lines = {line["method"]: line for line in lines_of(table)}
    assert list(lines) == ["Split-Mix", "HeteroFL", "FedAvg (×0.125)"]
    # The first two clients are a tenth above the mean, the others a tenth below: the mean over widths stays.
    assert lines["Split-Mix"]["mean"] == pytest.approx((0.7 + 0.72 + 0.75 + 0.8) / 4 - 0.01)
    assert lines["HeteroFL"]["mean"] == pytest.approx((0.5 + 0.6 + 0.75 + 0.85) / 4)
    assert lines["HeteroFL"]["widest"] == pytest.approx(0.85) and lines["HeteroFL"]["bytes_up"] == 1_875_000
    # Four clients cannot tell a difference from chance: the smallest p of Wilcoxon's test is 1/8.
    assert lines["HeteroFL"]["p"] == pytest.approx(float(wilcoxon([0.19, 0.11, -0.01, -0.06]).pvalue))
    assert [row[1].best for row in table.entries()] == [True, True, False]
    assert any("over the budget of some clients" in note for note in table.notes)
    assert any("other clients or budgets" in note and "FedRolex" in note for note in table.notes)
    assert "gets most from Split-Mix" in part.lead[0] and "which chance may explain" in part.lead[0]
    # Split-Mix trains one base model at a time, HeteroFL a slice as wide as the budget.
    assert 0 < 2 * lines["Split-Mix"]["memory"] < lines["HeteroFL"]["memory"]
    assert widths.header == ["method", "×0.125", "×0.25", "×0.5", "×1"]
    texts = [[str(cell) for cell in row] for row in widths.rows]
    assert [row[0] for row in texts] == list(lines)
    at = {(line["method"], line["width"]): line["mean"] for line in lines_of(widths)}
    assert at["Split-Mix", 0.125] == pytest.approx(0.69) and at["HeteroFL", 1.0] == pytest.approx(0.85)
    best = [[entry.best for entry in row[1:]] for row in widths.entries()]
    assert best == [[True, True, False, False], [False, False, True, True], [False] * 4]
    with pytest.raises(CannotShow, match="two methods at equal budgets"):
        make("league", compare((["seed=1"], split)))


def test_the_league_tells_chance_from_a_difference_and_corrects_for_the_number_of_methods():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 30)

    def frame(shift):
        accuracies = base - shift + rng.normal(0, 0.01, 30)
        return pd.DataFrame({"seed": 1, "client": range(30), "accuracy": accuracies})

    best, others = frame(0.0), {"far": frame(0.05), "near": frame(0.0), "elsewhere": frame(0.1).assign(seed=2)}
    found = p_values(best, others)
    raw = {name: paired_p(best, others[name]) for name in ("far", "near")}
    assert found["far"] == pytest.approx(2 * raw["far"]) and found["far"] < 1e-4
    assert found["near"] == pytest.approx(raw["near"]) and found["near"] > 0.05
    assert found["elsewhere"] is None and paired_p(best, best) == 1.0
