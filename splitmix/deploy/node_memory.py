"""What a client remembers between rounds, on its own disk, round by round: the server may have to repeat one."""

from __future__ import annotations

import re
from pathlib import Path

from splitmix.algorithms.plain_data import arrays, from_bytes, tensors_of, to_bytes
from splitmix.errors import UserError
from splitmix.files import write_atomically
from splitmix.models.network import Tensors

NAME = re.compile(r"after-round-(\d+)\.npz")


class NodeMemory:
    """The memory of one client in one run.

    A round counts only once the server has taken its update: the server says which was the last such round, and the
    memory of later ones is left aside.

    Args:
        folder: of this run alone.
        first: memory before the first round, `[base models, ...]`; empty for a method without client memory.
        keep_all: keep every round's memory, since the model of any round may be evaluated with it (BN mode `local`).
    """

    def __init__(self, folder: Path, first: Tensors, keep_all: bool):
        self.folder, self.first, self.keep_all = folder, first, keep_all

    def load(self, accepted: int | None) -> Tensors:
        """The memory after round `accepted` (0-based); None is before the first.

        Raises:
            UserError: it is no longer there, or damaged.
        """
        if accepted is None or not self.first:
            return {name: value.clone() for name, value in self.first.items()}
        path = self.folder / f"after-round-{accepted}.npz"
        try:
            memory = tensors_of(from_bytes(path.read_bytes()))
        except Exception as error:  # whatever numpy and json meet in a damaged file
            raise UserError(
                f"{path}: what this client remembers of round {accepted + 1} is lost ({type(error).__name__})"
            ) from error
        if {name: value.shape for name, value in memory.items()} != {n: v.shape for n, v in self.first.items()}:
            raise UserError(f"{path}: what this client remembers does not fit the run")
        return memory

    def save(self, round_index: int, memory: Tensors, accepted: int | None) -> None:
        """Keep the memory after a round, beside that after `accepted`; others go where no evaluation needs them.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        if not self.first:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"memory={self.folder}: cannot write there ({error.strerror})") from error
        content = to_bytes(arrays(memory))
        write_atomically(self.folder / f"after-round-{round_index}.npz", lambda file: file.write(content))
        for path in [] if self.keep_all else list(self.folder.iterdir()):
            match = NAME.fullmatch(path.name)
            if match and int(match[1]) not in (round_index, accepted):
                path.unlink(missing_ok=True)
