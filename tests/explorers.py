"""What `splitmix explore` shows, of federations without a run folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from splitmix.explore.explorer import Explorer
from splitmix.federation.federation import Federation
from splitmix.runs.loaded import LoadedRun


def explorer_of(federation: Federation, folder: Path, *tests: dict[str, Any], bn: str = "batch") -> Explorer:
    """An explorer of an untrained federation with these test records."""
    dataset = federation.dataset
    config: Any = SimpleNamespace(
        dataset=SimpleNamespace(name="noise", domains=dataset.domains, classes=("<zero>", *dataset.classes[1:])),
        algorithm=SimpleNamespace(label="Split-Mix"),
        model=SimpleNamespace(name="digit_cnn", bn=bn),
        scalars=SimpleNamespace(seed=0),
    )
    results = {"tests": list(tests)}
    run = LoadedRun(folder, {}, config, results, federation.method, federation.initial_state(), "best")
    run.__dict__["federation"] = federation
    return Explorer(run)
