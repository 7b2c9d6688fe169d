"""Every verb is a Hydra application: runs one, and turns the user's mistakes into one line and exit code 2."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import wraps
from io import TextIOBase
from typing import Any, NoReturn, TextIO

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from splitmix.binding import nearest
from splitmix.commands.help import print_help
from splitmix.commands.messages import log as log
from splitmix.commands.messages import log_to_console, one_line
from splitmix.commands.sweep import Plan, is_sweep, run_sweep
from splitmix.config import conf_dir, resolve
from splitmix.errors import UserError
from splitmix.quoting import with_quoted_path


def run_application(
    verb: str,
    argv: list[str],
    task: Callable[[DictConfig], None],
    before: Callable[[Namespace, bool], bool] | None = None,
    plan: Plan | None = None,
) -> int:
    """Run `task` on the composed config of `verb`, or on every config of a sweep.

    Args:
        argv: what stands after the verb on the command line.
        before: looks at the parsed command line first, and whether it is a sweep; true means that all is done already.
        plan: decides what the jobs of a sweep are; see `run_sweep`.

    Returns:
        0; 2 after a mistake of the user's, told in one line; 130 after Ctrl-C. A bug keeps its traceback; in a sweep
        it leaves the other jobs running, and the code is 1.
    """
    argv = [with_quoted_path(word) for word in argv]
    sys.argv = [f"splitmix {verb}", *argv]
    # Hydra would otherwise catch exceptions, print its own message, and exit.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    log_to_console()
    of_task: list[OSError] = []
    sweep = False

    @wraps(task)
    def run(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except OSError as error:
            of_task.append(error)
            raise

    try:
        arguments = parsed(argv)
        if arguments.help:
            print_help(verb, arguments.overrides, arguments.config_dir)
            return 0
        sweep = is_sweep(verb, arguments)
        if before is not None and before(arguments, sweep):
            return 0
        if sweep:
            return run_sweep(verb, arguments, task, plan)
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
        key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
        print(
            f"splitmix {verb}: cannot write {error.filename} ({error.strerror}); choose another {key}", file=sys.stderr
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


def parsed(argv: list[str]) -> Namespace:
    """Hydra's flags and the overrides of a command line; UserError for a flag that it does not know."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; give flags such as -m first, then key=value words; --help lists the keys")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    arguments: Namespace = parser.parse_args(argv)
    return arguments


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
