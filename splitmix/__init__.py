"""Split-Mix federated learning: one federation, trained once, customised in situ to any width and robustness.

The names below are the library's front door: datasets, methods, networks and all else that a config group names. They
are imported when first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from splitmix.homes import HOMES

if TYPE_CHECKING:
    from splitmix.algorithms.aggregation import Bulyan, Krum, Mean, Median, MultiKrum, NormClip, TrimmedMean
    from splitmix.algorithms.calfat import CalFAT
    from splitmix.algorithms.clustering import ClippedClustering
    from splitmix.algorithms.depthfl import DepthFL
    from splitmix.algorithms.fedavg import FedAvg
    from splitmix.algorithms.fedavg_oat import FedAvgOAT
    from splitmix.algorithms.fedprox import FedProx
    from splitmix.algorithms.fedrolex import FedRolex
    from splitmix.algorithms.fiarse import FIARSE
    from splitmix.algorithms.fjord import FjORD
    from splitmix.algorithms.heterofl import HeteroFL
    from splitmix.algorithms.inclusivefl import InclusiveFL
    from splitmix.algorithms.malicious import Backdoor, GaussianNoise, Honest, LabelFlip, ModelReplacement, SignFlip
    from splitmix.algorithms.nefl import NeFL
    from splitmix.algorithms.principal_direction import PrincipalDirection
    from splitmix.algorithms.scaffold import Scaffold
    from splitmix.algorithms.scalefl import ScaleFL
    from splitmix.algorithms.server_optimizers import (
        NoServerOptimizer,
        ServerAdagrad,
        ServerAdam,
        ServerMomentum,
        ServerYogi,
    )
    from splitmix.algorithms.sheterofl import SHeteroFL
    from splitmix.algorithms.splitmix import SplitMix
    from splitmix.algorithms.values import ServerState
    from splitmix.bundle.elastic import ElasticModel
    from splitmix.data.cifar10 import CIFAR10
    from splitmix.data.csv_images import CsvImages
    from splitmix.data.dataset import Dataset, ImageSet
    from splitmix.data.digits import Digits
    from splitmix.data.domainnet import DomainNet
    from splitmix.data.folder import ImageFolder
    from splitmix.data.huggingface import HuggingFaceImages
    from splitmix.data.minidigits import MiniDigits
    from splitmix.data.partition import Uniform
    from splitmix.data.partition_classes import Classes
    from splitmix.data.partition_dirichlet import Dirichlet
    from splitmix.data.partition_label_dirichlet import LabelDirichlet
    from splitmix.data.torchvision_sets import TorchvisionSet
    from splitmix.engine.optimizers import SGD, Adam
    from splitmix.engine.settings import EngineSettings
    from splitmix.errors import UserError
    from splitmix.evaluation.accuracy import Accuracy
    from splitmix.evaluation.customize import customize
    from splitmix.federation.budgets import Groups
    from splitmix.federation.federation import Federation
    from splitmix.federation.history import FitRound, History
    from splitmix.federation.round_metrics import RoundMetrics
    from splitmix.federation.schedules import Constant, Cosine, Exponential, MultiStep
    from splitmix.models.alexnet import AlexNet
    from splitmix.models.digit_cnn import DigitCNN
    from splitmix.models.module import Module
    from splitmix.models.preresnet18 import PreResNet18
    from splitmix.models.vit import ViT
    from splitmix.privacy.settings import DPFedAvg, NoPrivacy
    from splitmix.reporting.live_figure import LiveFigure
    from splitmix.robustness.attacks import FGSM, L2PGD, MIM, LinfPGD, NoAttack
    from splitmix.robustness.autoattack import AutoAttack, Square
    from splitmix.robustness.early_stop import LinfPGDStop
    from splitmix.robustness.fgsm_rs import FGSMRS
    from splitmix.robustness.kl_pgd import KLPGD
    from splitmix.runs.loaded import LoadedRun, load

__version__ = "0.1.0"

__all__ = [
    "CIFAR10",
    "FGSM",
    "FGSMRS",
    "FIARSE",
    "KLPGD",
    "L2PGD",
    "MIM",
    "SGD",
    "Accuracy",
    "Adam",
    "AlexNet",
    "AutoAttack",
    "Backdoor",
    "Bulyan",
    "CalFAT",
    "Classes",
    "ClippedClustering",
    "Constant",
    "Cosine",
    "CsvImages",
    "DPFedAvg",
    "Dataset",
    "DepthFL",
    "DigitCNN",
    "Digits",
    "Dirichlet",
    "DomainNet",
    "ElasticModel",
    "EngineSettings",
    "Exponential",
    "FedAvg",
    "FedAvgOAT",
    "FedProx",
    "FedRolex",
    "Federation",
    "FitRound",
    "FjORD",
    "GaussianNoise",
    "Groups",
    "HeteroFL",
    "History",
    "Honest",
    "HuggingFaceImages",
    "ImageFolder",
    "ImageSet",
    "InclusiveFL",
    "Krum",
    "LabelDirichlet",
    "LabelFlip",
    "LinfPGD",
    "LinfPGDStop",
    "LiveFigure",
    "LoadedRun",
    "Mean",
    "Median",
    "MiniDigits",
    "ModelReplacement",
    "Module",
    "MultiKrum",
    "MultiStep",
    "NeFL",
    "NoAttack",
    "NoPrivacy",
    "NoServerOptimizer",
    "NormClip",
    "PreResNet18",
    "PrincipalDirection",
    "RoundMetrics",
    "SHeteroFL",
    "Scaffold",
    "ScaleFL",
    "ServerAdagrad",
    "ServerAdam",
    "ServerMomentum",
    "ServerState",
    "ServerYogi",
    "SignFlip",
    "SplitMix",
    "Square",
    "TorchvisionSet",
    "TrimmedMean",
    "Uniform",
    "UserError",
    "ViT",
    "customize",
    "load",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'splitmix' has no attribute {name!r}")
    return getattr(import_module(f"splitmix.{HOMES[name]}"), name)
