"""Every verb is a Hydra application: runs one, and turns the user's mistakes into one line and exit code 2."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import wraps
from io import TextIOBase
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra._internal.utils import get_args
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from splitmix.binding import nearest
from splitmix.commands.help import option_names, print_help
from splitmix.config import conf_dir, resolve
from splitmix.errors import UserError

log = logging.getLogger("splitmix")


def run_application(
    verb: str, argv: list[str], task: Callable[[DictConfig], None], before: Callable[[list[str]], bool] | None = None
) -> int:
    """Run `task` on the composed config of `verb`.

    Args:
        argv: what stands after the verb on the command line.
        before: looks at the command line first; true means that all is done already.

    Returns:
        0; 2 after a mistake of the user's, told in one line; 130 after Ctrl-C. A bug keeps its traceback.
    """
    sys.argv = [f"splitmix {verb}", *argv]
    # Hydra would otherwise catch exceptions, print its own message, and exit.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    log_to_console()
    of_task: list[OSError] = []

    @wraps(task)
    def run(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except OSError as error:
            of_task.append(error)
            raise

    try:
        if "--help" in argv or "-h" in argv:
            arguments = get_args(argv)
            print_help(verb, arguments.overrides, arguments.config_dir)
        elif before is None or not before(argv):
            main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(run)
            with redirect_stderr(WithoutErrorLine(sys.stderr)):
                main()
    except (UserError, HydraException, OmegaConfBaseException, YAMLError) as error:
        print(f"splitmix {verb}: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        # Hydra makes the run folder itself.
        if error.filename is None or error in of_task or not in_hydra(error):
            raise
        print(
            f"splitmix {verb}: cannot write {error.filename} ({error.strerror}); choose another hydra.run.dir",
            file=sys.stderr,
        )
        return 2
    except ValueError as error:
        # What Hydra raises for group=null.
        if not str(error).startswith("Config group override"):
            raise
        print(f"splitmix {verb}: a group cannot be null; choose one of its options", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        GlobalHydra.instance().clear()
    return 0


class WithoutErrorLine(TextIOBase):
    """A stream without Hydra's line "Error executing job with overrides", which would stand beside ours."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        if not text.startswith("Error executing job with overrides"):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def in_hydra(error: OSError) -> bool:
    """Whether the last frames of a traceback are Hydra's making of folders."""
    trace, files = error.__traceback__, []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return any(f"hydra{os.sep}core{os.sep}utils" in file for file in files[-6:])


def log_to_console() -> None:
    """Messages to standard output, anew (a stream may have been replaced since)."""
    log.handlers.clear()
    console = logging.StreamHandler(sys.stdout)
    console.setLevel(logging.INFO)
    log.addHandler(console)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for noisy in ("lightning_fabric", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def log_to_file(path: Path) -> None:
    """The same messages to a file beside them, and to no file of an earlier job of a sweep."""
    for old in [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]:
        log.removeHandler(old)
        old.close()
    try:
        handler = logging.FileHandler(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another hydra.run.dir") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)


def one_line(error: Exception) -> str:
    """The message of a mistake in one line, with the nearest name where a name is unknown."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return text
    keys: list[str] = option_names()
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"unknown key {found[1]}{nearest(found[1], keys)}; splitmix <verb> --help lists the keys"
    if found := re.search(r"[Cc]ould not find '([^']+)/([^'/]+)'", text):
        group, option = found[1], found[2]
        # Hydra's own list, which knows a user's options too.
        options = sorted(getattr(error, "options", None) or [])
        return f"{group}={option}: no such option{nearest(option, options)}; choose among {', '.join(options)}"
    if found := re.search(r"Could not override '?([\w/.]+)'?\.? ?No match", text):
        return f"unknown key {found[1]}{nearest(found[1], keys)}; splitmix <verb> --help lists the keys"
    return text


def values_of(cfg: DictConfig, keys: Sequence[str]) -> dict[str, Any]:
    """A composed config as plain values; UserError for a key that is not one of these."""
    values = resolve(cfg)
    for key in values:
        if key not in keys:
            raise UserError(f"unknown key {key}{nearest(key, keys)}; known: {', '.join(keys)}")
    return values


def overrides_of(argv: list[str]) -> dict[str, str]:
    """`key=value` words of a command line."""
    words: dict[str, Any] = {}
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and not word.startswith("-"):
            words[key.lstrip("+")] = value
    return words
