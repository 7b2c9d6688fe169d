"""RA against SA: which records make a curve, which are left out."""

import pytest
from PIL import Image

from splitmix.reporting.tradeoff import draw_tradeoffs


def record(attack, width, level, accuracy):
    return {"attack": {"name": attack}, "width": width, "adv_lambda": level, "accuracy": accuracy}


@pytest.mark.slow
def test_every_attack_with_clean_records_and_several_levels_is_drawn(tmp_path):
    records = [
        record(attack, width, level, 0.9 - 0.1 * level if attack == "none" else 0.3 + 0.2 * level)
        for attack in ("none", "linf_pgd", "fgsm")
        for width in (0.125, 1.0)
        for level in (0.0, 0.5, 1.0)
    ]
    written = draw_tradeoffs(records, tmp_path / "figures")
    assert [path.name for path in written] == ["tradeoff_linf_pgd.png", "tradeoff_fgsm.png"]
    for path in written:
        with Image.open(path) as image:
            assert image.size[0] > 600
    assert len(list((tmp_path / "figures").iterdir())) == 2


def test_nothing_to_trade_draws_nothing(tmp_path):
    one_level = [record("none", 1.0, 0.0, 0.9), record("linf_pgd", 1.0, 0.0, 0.5)]
    no_clean = [record("linf_pgd", 1.0, level, 0.5) for level in (0.0, 1.0)]
    assert draw_tradeoffs(one_level, tmp_path / "figures") == draw_tradeoffs(no_clean, tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()
