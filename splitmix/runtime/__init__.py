"""Bundles without PyTorch: this package needs numpy and onnxruntime alone.

    from splitmix import runtime

    model = runtime.load("my_bundle")
    model.set(width=0.5, adv_lambda=0.2)
    print(model.predict(image).label)

`pip install --no-deps splitmix` and `pip install numpy onnxruntime` are all that a small device needs.
"""

from splitmix.runtime.anytime import AnytimeModel, Prediction
from splitmix.runtime.model import RuntimeModel, load

__all__ = ["AnytimeModel", "Prediction", "RuntimeModel", "load"]
