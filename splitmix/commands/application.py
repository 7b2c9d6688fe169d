"""Every verb is a Hydra application: runs one, and turns the user's mistakes into one line and exit code 2."""

from __future__ import annotations

import errno
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import wraps

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from splitmix.binding import Settings, bind_settings
from splitmix.commands.command_line import add_own_code, in_order, parsed
from splitmix.commands.composing import MISTAKES, check_words, raised_by_hydra
from splitmix.commands.help import print_help
from splitmix.commands.messages import log_to_console, one_line
from splitmix.commands.single import config_of_single, run_once
from splitmix.commands.streams import complain, failure_of_output
from splitmix.commands.sweep import Plan, run_sweep
from splitmix.config import conf_dir, resolve
from splitmix.engine.before_torch import choose_instructions
from splitmix.printing import printable
from splitmix.quoting import with_quoted_path

BEYOND_US = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""Failures of the file system that no code can prevent: a name too long, no right, a full disk."""
TOO_MANY = (errno.EMFILE, errno.ENFILE)
"""A limit of open files, of the process or of the machine, is reached."""


def run_application(
    verb: str,
    argv: list[str],
    task: Callable[[DictConfig], None],
    before: Callable[[Namespace, DictConfig | None], bool] | None = None,
    plan: Plan | None = None,
) -> int:
    """Run `task` on the composed config of `verb`, or on every config of a sweep.

    Args:
        argv: what stands after the verb on the command line.
        before: looks at the parsed command line and its config first, None for a sweep; true means that all is done.
        plan: decides what the jobs of a sweep are; see `run_sweep`.

    Returns:
        0; 2 after a mistake of the user's, told in one line; 130 after Ctrl-C. A bug keeps its traceback; in a sweep
        it leaves the other jobs running, and the code is 1.
    """
    argv = [with_quoted_path(word) for word in argv]
    # Hydra would otherwise catch exceptions, print its own message, and exit.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    log_to_console()
    of_task: list[OSError] = []
    sweep = False

    @wraps(task)
    def run(cfg: DictConfig) -> None:
        try:
            task(cfg)
            sys.stdout.flush()  # Hydra would flush it next, and hide a failure
        except OSError as error:
            of_task.append(error)
            raise

    try:
        arguments = parsed(argv)
        check_words(verb, arguments.overrides)
        sys.argv = [f"splitmix {verb}", *in_order(arguments)]
        add_own_code(arguments.config_dir)
        if arguments.help:
            print_help(verb, arguments.overrides, arguments.config_dir)
            return 0
        config = config_of_single(verb, arguments)
        sweep = config is None
        if before is not None and before(arguments, config):
            return 0
        if config is None:
            return run_sweep(verb, arguments, task, plan)
        if arguments.cfg or arguments.info or arguments.hydra_help:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(task)()
        else:
            run_once(verb, config, run)
    except MISTAKES as error:
        complain(f"splitmix {verb}: {one_line(error, verb)}")
        return 2
    except OSError as error:
        by_hydra = error not in of_task and raised_by_hydra(error)
        if not by_hydra and (failure := failure_of_output(error)):
            raise failure from error
        message = file_system_mistake(error, argv)
        if by_hydra:
            # Hydra makes the run folder itself.
            key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
            message = f"cannot write {error.filename or 'the run folder'} ({error.strerror}); choose another {key}"
        if message is None:
            raise
        complain(f"splitmix {verb}: {printable(message)}")
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as stop:
        # Hydra's own end after a message of its own, such as that of --package with an unknown key.
        return 2 if stop.code else 0
    finally:
        GlobalHydra.instance().clear()
    return 0


def settings_of(cfg: DictConfig, schema: type[Settings]) -> Settings:
    """The keys of a verb, bound to their dataclass; UserError for an unknown key or a wrong type."""
    values = resolve(cfg)
    choose_instructions(values.get("engine"))
    return bind_settings(schema, values)


def file_system_mistake(error: OSError, words: Sequence[str]) -> str | None:
    """A name, a right or a disk that the user must see to, in words; None for any other failure to read or write."""
    if error.errno in TOO_MANY:
        return f"{error.strerror}: raise the limit (ulimit -n)"
    if error.errno not in BEYOND_US:
        return None
    name = str(error.filename or "")
    named = [word for word in words if len(value := word.partition("=")[2]) > 2 and value in name]
    text = named[0] if named else name or "a file"
    return f"{text if len(text) < 200 else f'{text[:60]}…'}: {error.strerror}; choose another name or place"
