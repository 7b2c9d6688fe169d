"""Runs of earlier versions name classes where they stood then."""

import yaml
from run_folders import config_of

from splitmix.binding import FORMER_TARGETS
from splitmix.commands.trust import trusted_targets
from splitmix.config import load_run_config
from splitmix.config_hash import config_hash
from splitmix.engine.optimizers import SGD
from splitmix.runs.folders import read_config


def test_a_config_with_former_names_is_read_trusted_and_has_the_same_hash(tmp_path):
    config = config_of(())
    current_names = {current: former for former, current in FORMER_TARGETS.items()}
    former = {
        key: {**node, "_target_": current_names.get(node["_target_"], node["_target_"])}
        if isinstance(node, dict) and "_target_" in node
        else node
        for key, node in config.items()
    }
    assert former["optimizer"]["_target_"] == "splitmix.federation.optimizers.SGD"
    assert config_hash(former) == config_hash(config)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(former))
    assert read_config(tmp_path) == config
    assert isinstance(load_run_config(read_config(tmp_path), trusted_targets()).optimizer, SGD)
