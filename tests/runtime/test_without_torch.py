"""The runtime needs numpy and onnxruntime alone: PyTorch and splitmix's other dependencies are never imported."""

import subprocess
import sys

BLOCKED = [
    "torch",
    "omegaconf",
    "hydra",
    "PIL",
    "msgspec",
    "yaml",
    "pandas",
    "pytorch_lightning",
    "sklearn",
    "onnx",
    "safetensors",
]
PROGRAM = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import splitmix, splitmix.runtime
from splitmix.runtime import images, parts
outside = {{n.partition(".")[0] for n in sys.modules}} - set(sys.stdlib_module_names)
assert not outside & set({BLOCKED}), outside
try:
    splitmix.runtime.load(".")
except splitmix.UserError as error:
    print(error)
"""


def test_importing_it_imports_numpy_alone(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(". is no bundle (manifest.json is missing)")
