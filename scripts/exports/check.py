"""Exported files, loaded in fresh environments that hold one runtime alone, against PyTorch; prints a table.

    python scripts/exports/check.py outputs/splitmix/<date> outputs/mini_robust_joint_splitmix/1

makes a virtual environment for each runtime (several gigabytes, since ExecuTorch and PyTorch are large), lets make.py
export the runs and answers.py load the files, and removes everything again. Pip is used as it is configured here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
ENVIRONMENTS = {
    "splitmix.runtime": ["numpy", "onnxruntime"],
    "onnxruntime": ["onnxruntime"],
    "torch": ["torch", "numpy"],
    "executorch": ["executorch", "torch"],
}
"""What is installed for each runtime; for the first also splitmix itself, without what it depends on.
ExecuTorch's Python side needs PyTorch for its tensors, and does not bring it."""


def main() -> int:
    """Returns 1 if any file answers other than PyTorch by more than the tolerance."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("runs", nargs="+", type=Path)
    options.add_argument("--images", type=int, default=1000, help="test images, equally many of every client")
    options.add_argument("--widths", help="of the fixed models, such as 0.125,1; all by default")
    options.add_argument("--levels", help="of the fixed models, such as 0,1; all by default")
    options.add_argument("--runtimes", default=",".join(ENVIRONMENTS), help="some of them: " + ", ".join(ENVIRONMENTS))
    options.add_argument("--tolerance", type=float, default=1e-4)
    options.add_argument("--folder", type=Path, help="keep environments and files here, and use those that are there")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return check(given, given.folder or Path(temporary))


def check(given: argparse.Namespace, folder: Path) -> int:
    """Make what is missing in the folder, compare, and print."""
    runtimes = given.runtimes.split(",")
    exporter = Path(sys.executable)
    if "executorch" in runtimes and find_spec("executorch") is None:
        exporter = environment(folder, "exporter", [f"{CHECKOUT}[onnx,executorch]"])
    pythons = {name: environment(folder, name, ENVIRONMENTS[name]) for name in runtimes}
    worst = 0.0
    print("| run | runtime | packages | files | positions | largest difference |\n|---|---|---|---|---|---|")
    for run in given.runs:
        made = folder / f"of_{run.resolve().name}"
        words = [str(run.resolve()), str(made), str(given.images), ",".join(runtimes)]
        subprocess.run([exporter, HERE / "make.py", *words, given.widths or "", given.levels or ""], check=True)
        for name, python in pythons.items():
            done = subprocess.run(
                [python, "-I", HERE / "answers.py", name, made], check=True, capture_output=True, text=True, cwd=folder
            )
            packages = json.loads(done.stdout)
            for kind, difference, count in differences(made, name):
                row = [run.resolve().name, name, ", ".join(packages), kind, str(count), f"{difference:.1e}"]
                print(f"| {' | '.join(row)} |", flush=True)
                worst = max(worst, difference)
    print(f"\nlargest difference {worst:.1e}, tolerance {given.tolerance:g}")
    return int(not worst <= given.tolerance)


def environment(folder: Path, name: str, packages: list[str]) -> Path:
    """The interpreter of a virtual environment, made if it is not there."""
    place = folder / f"env_{name}"
    python = place / "bin" / "python"
    if not python.exists():
        print(f"making an environment: {name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        if name == "splitmix.runtime":
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", CHECKOUT], check=True)
    return python


def differences(made: Path, name: str) -> list[tuple[str, float, int]]:
    """Of each kind of file the largest difference to PyTorch (of logits, relative where they are above 1), and how
    many positions of the dials were compared."""
    found: dict[str, list[float]] = {}
    with np.load(made / f"{name}.npz") as answers, np.load(made / "expected.npz") as expected:
        for key in answers.files:
            kind, _, position = key.partition("@")
            logits = expected[f"{'bundle' if kind in ('model.onnx', 'parts/') else 'fixed'}@{position}"]
            assert answers[key].shape == logits.shape and len(logits) >= 2
            found.setdefault(kind, []).append(np.abs(answers[key] - logits).max() / max(1.0, np.abs(logits).max()))
    return [(kind, float(max(values)), len(values)) for kind, values in found.items()]


if __name__ == "__main__":
    sys.exit(main())
