"""Put before a node's path as sitecustomize.py: the node answers one round's training with something else.

BAD_NODE says with what (`nan`, `shape` or `gigabyte`), BAD_ROUND in which round, counted from 1.
"""

import importlib.abc
import importlib.util
import os
import sys


class Spoil(importlib.abc.MetaPathFinder):
    """Lets the node's module be imported as ever, and then stands between it and the server."""

    def find_spec(self, name, path, target=None):
        if name != "splitmix.deploy.node":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            answer = module.Node.answer
            module.Node.answer = lambda node, request: spoiled(answer(node, request))

        spec.loader.exec_module = loaded
        return spec


def spoiled(answer):
    """The answer, with one tensor of its update changed where it is of the bad round."""
    import numpy as np

    from splitmix.algorithms.plain_data import from_bytes, to_bytes

    content = from_bytes(answer)
    if content["kind"] != "train" or content["update"]["task"]["round"] + 1 != int(os.environ["BAD_ROUND"]):
        return answer
    tensors = content["update"]["tensors"]
    name = sorted(tensors)[0]
    changes = {
        "nan": lambda value: np.full_like(value, np.nan),
        "shape": lambda value: value[..., :1],
        "gigabyte": lambda value: np.zeros(10**9 // 4, np.float32),
    }
    tensors[name] = changes[os.environ["BAD_NODE"]](tensors[name])
    return to_bytes(content)


sys.meta_path.insert(0, Spoil())
