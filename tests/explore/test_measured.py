"""Numbers on the page are those of the test records."""

from pathlib import Path

from run_folders import attacked, record

from splitmix.explore.attacks import attack_of
from splitmix.explore.measured import measured, nearest, nearest_record
from splitmix.explore.picture import draw
from splitmix.robustness.attacks import LinfPGD

GRID = {(0.5, 0.0): (0.7, 0.3), (0.5, 1.0): (0.6, 0.4), (1.0, 0.0): (0.8, 0.35), (1.0, 1.0): (0.75, 0.45)}


def results_of(*records):
    return {"tests": list(records)}


def test_each_place_shows_the_record_of_most_images_of_this_checkpoint():
    found = measured(
        results_of(
            record(0.5, 0.50, n_images=400),
            record(0.5, 0.51, n_images=100),
            record(0.5, 0.52, n_images=900, checkpoint="last"),
            record(0.5, 0.53, n_images=900, sort_base_models=True),
            record(0.5, 0.54, n_images=900, round=3),
            record(0.5, 0.55, n_images=900, bn="post"),
            record(1.0, 0.60, bn="post"),
        ),
        "best",
        rounds=4,
    )
    assert found.clean_at(0.5, 0.0)["accuracy"] == 0.50
    assert found.clean_at(1.0, 0.0)["accuracy"] == 0.60  # none with statistics as trained
    assert found.clean_at(0.25, 0.0) is None and found.attacks == () and found.points(None) == []


def test_between_tested_levels_the_nearest_one_counts():
    found = measured(results_of(*attacked(GRID)), "best", rounds=1)
    [attack] = found.attacks
    assert found.clean_at(0.5, 0.3)["accuracy"] == 0.7 and found.clean_at(0.5, 0.55)["accuracy"] == 0.6
    assert found.attacked_at(attack, 1.0, 0.9)["accuracy"] == 0.45
    assert found.attacked_at(None, 1.0, 0.9) is None and nearest_record({}, 1.0, 0.0) is None
    assert nearest([0.2, 0.8], 0.5) == 0.2


def test_an_attack_of_two_sizes_is_two_attacks():
    stronger = [{**one, "attack": {**one["attack"], "eps": 16.0}} for one in attacked(GRID) if len(one["attack"]) > 1]
    found = measured(results_of(*attacked(GRID), *stronger), "best", rounds=1)
    assert [attack.label for attack in found.attacks] == ["linf_pgd, ε 8/255, 7 steps", "linf_pgd, ε 16/255, 7 steps"]


def test_attacks_are_read_back_from_records_and_from_nothing_else():
    assert attack_of({"name": "linf_pgd", "eps": 4.0, "steps": 3}) == LinfPGD(eps=4.0, steps=3)
    assert attack_of({"name": "none"}) is None
    assert attack_of({"name": "../dataset/digits"}) is None and attack_of({"name": "mine"}) is None
    assert attack_of({"name": "linf_pgd", "eps": -1.0}) is None and attack_of({"name": "linf_pgd", "new": 1}) is None
    assert attack_of({"name": "square"}) is None  # minutes, for a page


def test_the_picture_knows_where_its_points_lie():
    found = measured(results_of(*attacked(GRID)), "best", rounds=1)
    picture = draw(found, {0.5: 5e6, 1.0: 1e7}, found.attacks[0])
    assert picture.png.startswith(b"\x89PNG") and set(picture.places) == set(GRID)
    assert all(0 < x < 1 and 0 < y < 1 for x, y in picture.places.values())
    by_sa = sorted(GRID, key=lambda place: GRID[place][0])
    by_ra = sorted(GRID, key=lambda place: -GRID[place][1])
    assert sorted(GRID, key=lambda place: picture.places[place][0]) == by_sa  # left to right
    assert sorted(GRID, key=lambda place: picture.places[place][1]) == by_ra  # top to bottom


def test_without_an_attack_the_picture_shows_macs_and_without_a_test_there_is_none():
    clean = measured(results_of(record(0.5, 0.5), record(1.0, 0.6)), "best", rounds=1)
    picture = draw(clean, {0.5: 5e6, 1.0: 1e7}, None)
    assert picture.places[0.5, 0.0][0] < picture.places[1.0, 0.0][0] and "no attack" in picture.caption
    assert draw(measured(results_of(), "best", rounds=1), {0.5: 5e6}, None) is None


def test_the_style_is_local():
    css = (Path(__file__).parents[2] / "splitmix" / "explore" / "page.css").read_text()
    assert "url(" not in css and "@import" not in css
