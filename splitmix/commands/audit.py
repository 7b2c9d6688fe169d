"""`splitmix audit`: what a client's upload gives away of its images, by the inversion influence function."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

from omegaconf import DictConfig

from splitmix.binding import Component
from splitmix.commands.application import run_application, settings_of
from splitmix.commands.messages import log
from splitmix.commands.trust import trusted_targets
from splitmix.config import load_run_config
from splitmix.errors import UserError
from splitmix.files import refuse_links, remove_temporary
from splitmix.runs.folders import find_run, read_config


@dataclass(frozen=True)
class Keys:
    """The keys of `conf/audit.yaml`."""

    run: str
    clients: tuple[str, ...] | str
    checkpoints: tuple[str, ...]
    trust: tuple[str, ...]
    audit: Component


def main(argv: list[str]) -> int:
    """Run the verb; returns the exit code."""
    return run_application("audit", argv, audit)


def audit(cfg: DictConfig) -> None:
    """Audit the run that the config names."""
    keys = settings_of(cfg, Keys)
    settings = keys.audit
    settings.check()
    ids = (keys.clients,) if isinstance(keys.clients, str) else keys.clients
    if not ids or not keys.checkpoints:
        raise UserError("clients and checkpoints: give at least one of each")
    folder = find_run("run", keys.run)
    refuse_links(folder)
    remove_temporary(folder)
    config = load_run_config(read_config(folder), trusted_targets(keys.trust))
    from splitmix.leakage.validation import agreement
    from splitmix.reporting.audit_figures import draw_agreement, draw_pictures
    from splitmix.reporting.audit_table import agreement_table, audit_table
    from splitmix.reporting.tables import print_table
    from splitmix.runs.auditing import NOT_SAID, run_audit

    figures = folder / "figures"
    command = shlex.join(["splitmix", "audit", *sys.argv[1:]])
    clients = None if ids == ("auto",) else ids
    records, attacked = run_audit(config, folder, keys.checkpoints, clients, settings, command)
    print_table(audit_table(records, settings.convention))
    if attacked:
        levels = agreement(attacked)
        print_table(agreement_table(levels, settings.attack))
        log.info(f"prediction against reconstruction: {draw_agreement(attacked, levels, figures / 'audit.png')}")
        log.info(f"true and reconstructed images: {draw_pictures(attacked, figures / 'audit_pictures.png')}")
    log.info(f"{NOT_SAID} Recorded in {folder / 'audit.json'}")
