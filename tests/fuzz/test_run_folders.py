"""Readers of run folders under damage: each returns, or raises UserError, and soon. More examples, as for a night:

SPLITMIX_FUZZ_EXAMPLES=20000 pytest tests/fuzz/test_run_folders.py
"""

import io
import json
import os
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from run_folders import attacked, measured, record, write_run

from splitmix.algorithms.base import Problem
from splitmix.algorithms.fedavg import FedAvg
from splitmix.commands.differences import command_of, differences
from splitmix.commands.run_files import load_run
from splitmix.errors import UserError
from splitmix.models.digit_cnn import DigitCNN
from splitmix.printing import printable
from splitmix.reporting import summary
from splitmix.reporting.metric_tables import details
from splitmix.reporting.tables import print_table, text_table
from splitmix.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from splitmix.runs.csv_logger import CSVLogger
from splitmix.runs.folders import read_config
from splitmix.runs.metrics import read_metrics
from splitmix.runs.results_file import read_results

EXAMPLES = int(os.environ.get("SPLITMIX_FUZZ_EXAMPLES", "25"))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=30_000, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)

FIELDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from(["", "[/red]", "\x1b[31m", "\ud800", "\0", "$\\frac$", "${oc.env:HOME}", "${", "1", "nan"]),
    st.text(max_size=20),
    st.recursive(st.none(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)),
)
TOKENS = st.sampled_from([b"[", b"{", b"&a ", b"*a", b"!!x ", b"\xff", b"\0", b"\n", b",", b'"', b"nan", b"1e999"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a checkpoint of a small network, and the content of each of its files."""
    more = record(1.0, 0.5, bn="post", **measured())
    points = {(1.0, adv_lambda): (0.8, 0.3) for adv_lambda in (0.0, 1.0)}
    folder = write_run(
        tmp_path_factory.mktemp("fuzz") / "run", [], {0.5: 0.8, 1.0: 0.9}, tests=[*attacked(points), more]
    )
    own = {"hydra": {"runtime": {"config_sources": [{"provider": "command-line", "path": "mine"}]}}}
    (folder / ".hydra" / "hydra.yaml").write_text(OmegaConf.to_yaml(own))
    (folder / "checkpoints").mkdir()
    method = FedAvg(width=0.125).bind(DigitCNN(), Problem((3, 8, 8), 10, (0.125,)))
    save_checkpoint(folder / "checkpoints" / "last.ckpt", Checkpoint(method.initial_state(1), -1, -1.0, 0.0, {"a": 2}))
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return folder, method, files


def read_all(folder: Path) -> None:
    """What `show`, and much of `report`, does with a run folder, and what `resume` does with its metrics."""
    results, config = read_results(folder / "results.json"), read_config(folder)
    bound = load_run(folder, results)
    lines = [*summary.facts(bound).values(), *differences(config), command_of(folder, config)]
    stream = io.StringIO()
    kinds = (summary.width_rows, summary.test_rows, summary.metric_rows, summary.client_rows)
    for rows in (*(kind(bound) for kind in kinds), *(rows for rows, *_ in details(bound.records))):
        if rows:
            print_table(text_table(rows, "caption"), stream)
    said = "\n".join(map(printable, lines)) + stream.getvalue()
    said.encode()
    assert not set(said) & {"\x1b", "\0", "\r", "\x9b", "\u202e"}


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """The content with one change: a bit, a cut, a part twice, a token put in."""
    start, end = sorted(data.draw(st.integers(0, len(content))) for _ in range(2))
    kind = data.draw(st.sampled_from(["bit", "cut", "twice", "token"]))
    if kind == "bit":
        position = min(start, len(content) - 1)
        return content[:position] + bytes([content[position] ^ 1 << end % 8]) + content[position + 1 :]
    if kind == "cut":
        return content[:start]
    if kind == "twice":
        return content[:end] + content[start:]
    return content[:start] + data.draw(TOKENS) * data.draw(st.sampled_from([1, 40, 5000])) + content[start:]


@pytest.mark.parametrize("name", ["results.json", "config.yaml", "metrics.csv", ".hydra/overrides.yaml"])
def test_damaged_text_is_read_or_told(run, name):
    folder, _, files = run
    path = folder / name

    @FUZZ
    @given(st.data())
    def check(data):
        path.write_bytes(damaged(data, files[path]))
        try:
            read_all(folder)
            read_metrics(folder / "metrics.csv")
        except UserError as error:
            assert len(str(error).splitlines()) == 1

    check()
    path.write_bytes(files[path])


@pytest.mark.parametrize("name", ["results.json", "config.yaml"])
def test_replaced_fields_are_read_or_told(run, name):
    folder, _, files = run
    path = folder / name

    @FUZZ
    @given(st.data())
    def check(data):
        text = files[path].decode()
        content = json.loads(text) if name == "results.json" else yaml.safe_load(text)
        place, key = content, None
        while isinstance(place, dict | list) and place and (key is None or data.draw(st.booleans())):
            parent, keys = place, list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            place = parent[key]
        parent[key] = data.draw(FIELDS)
        path.write_text(json.dumps(content))
        try:
            read_all(folder)
        except UserError as error:
            assert len(printable(str(error)).splitlines()) == 1

    check()
    path.write_bytes(files[path])


def test_damaged_metrics_never_go_on_silently(run, tmp_path):
    text = "round,loss,val_sa/1.0\n" + "".join(f"{n},{1 / (n + 1)},0.5\n" for n in range(6))
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    whole = read_metrics(path)

    @FUZZ
    @given(st.data())
    def check(data):
        path.write_bytes(damaged(data, text.encode()))
        try:
            CSVLogger(path).truncate(4)
            rows = read_metrics(path)
        except UserError:
            return
        # A number may have become another; rounds neither vanish nor repeat, but for those before a new header.
        rounds = [row["round"] for row in rows]
        assert rounds == [row["round"] for row in whole if rounds and row["round"] >= rounds[0]][: len(rounds)]
        assert not rows or rounds[-1] == 3

    check()


def test_a_damaged_checkpoint_is_told_or_loads_as_it_was_saved(run, tmp_path):
    folder, method, files = run
    path = tmp_path / "last.ckpt"
    whole = method.initial_state(1).tensors

    @FUZZ
    @given(st.data())
    def check(data):
        path.write_bytes(damaged(data, files[folder / "checkpoints" / "last.ckpt"]))
        try:
            loaded = load_checkpoint(path, method)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            return
        assert all(torch.equal(loaded.state.tensors[name], value) for name, value in whole.items())

    check()
