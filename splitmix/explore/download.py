"""The bundle of the explored run as one zip file, made when it is first asked for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from splitmix.bundle.extras import require
from splitmix.explore.explorer import Explorer

CHECKED_IMAGES = 200
"""Test images on which the bundle is checked before it is offered."""


@dataclass
class Download:
    """Makes the bundle.

    Attributes:
        explorer: of the run.
        folder: where the file is put.
    """

    explorer: Explorer
    folder: Path
    lock: Lock = field(default_factory=Lock)

    def path(self) -> Path:
        """The zip file, whose one folder is the bundle.

        Raises:
            UserError: packages of the extra `onnx` are missing, or the run has no bundle.
        """
        run, calibration = self.explorer.run, self.explorer.models.calibration
        require("onnx", "the bundle")
        from splitmix.bundle.bundle import write_bundle
        from splitmix.bundle.deployed import deployed

        name = f"{run.folder.absolute().name}_bundle"
        file = self.folder / f"{name}.zip"
        with self.lock:
            if not file.is_file():
                ready = deployed(run, calibration, str(calibration))
                write_bundle(ready, self.folder / name, CHECKED_IMAGES, lambda text: None)
                made = shutil.make_archive(str(self.folder / f".{name}"), "zip", self.folder, name)
                Path(made).replace(file)
                shutil.rmtree(self.folder / name)
        return file
