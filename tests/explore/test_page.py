"""The page is made for every kind of run, and offers what that run has."""

import pytest
from explorers import explorer_of

from splitmix.algorithms.fedavg import FedAvg
from splitmix.algorithms.heterofl import HeteroFL
from splitmix.algorithms.splitmix import SplitMix
from splitmix.models.digit_cnn import DigitCNN

pytestmark = pytest.mark.slow  # importing Gradio takes seconds


def visible(blocks):
    """Labels and values of the parts that are shown."""
    parts = [part for part in blocks.blocks.values() if getattr(part, "visible", False) is True]
    return {str(getattr(part, "label", None) or getattr(part, "value", "")) for part in parts}


@pytest.mark.parametrize(
    ("components", "width", "level", "bundle"),
    [
        ((SplitMix(adv_lambda=0.5), DigitCNN(bn="tracked")), True, True, True),
        ((SplitMix(),), True, False, True),
        ((SplitMix(), DigitCNN(bn="local")), True, False, True),
        ((HeteroFL(),), True, False, False),
        ((FedAvg(width=0.5),), False, False, False),
    ],
)
def test_dials_and_bundle_are_those_of_the_run(components, width, level, bundle, federation, tmp_path):
    pytest.importorskip("gradio", reason="needs the extra explore")
    from splitmix.explore.download import Download
    from splitmix.explore.page import page

    bn = next((part.bn for part in components if isinstance(part, DigitCNN)), "batch")
    explorer = explorer_of(federation(*components), tmp_path / "run", bn=bn)
    shown = visible(page(explorer, Download(explorer, tmp_path)))
    assert ("width (share of the full network)" in shown) is width
    assert ("robustness λ (0 standard, 1 robust)" in shown) is level
    assert ("Make the bundle" in shown) is bundle
    [attack] = explorer.attacks
    numbers = explorer.numbers(explorer.run.widths[-1], 0.0, attack)
    assert numbers.sa is None and numbers.latency_ms > 0 and explorer.picture(attack) is None
    assert len(explorer.test_images("a", 0, explorer.run.widths[0], 0.0, attack)) == 8


def test_the_dial_steps_by_the_smallest_gap():
    pytest.importorskip("gradio", reason="needs the extra explore")
    from splitmix.explore.page import head, step_of

    assert step_of((0.125, 0.25, 0.5, 1.0)) == 0.125 and step_of((0.5,)) == 1.0
    assert head().startswith("<style>") and "url(" not in head()
