"""Composition of what the jobs of a sweep share, where the command line sets keys of a group that the sweep chooses.

`malicious=noise,sign_flip malicious.share=0.3` sets a key that both options have, and the group's default has not: each
job can be composed, and what they share cannot, since Hydra takes the default where a sweep chooses the option.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from splitmix.commands.composing import composing


def compose_shared(
    compose: Callable[[list[str]], DictConfig], words: Sequence[Override]
) -> tuple[DictConfig, tuple[str, ...]]:
    """What the jobs of these words share, and the words that are for the jobs alone.

    Raises:
        UserError, or an exception of Hydra's or OmegaConf's: the words cannot be composed.
    """
    keyed = [(str(word.input_line), key_of(word)) for word in words]
    swept = [key_of(word) for word in words if word.is_sweep_override()]
    shared, alone = divided(keyed, swept)
    try:
        return composing(compose, shared), alone
    except ConfigCompositionException:
        # An experiment's own grid may choose the option, and says so once it is composed without such keys.
        groups = [word for word, key in keyed if word in shared and ("." not in key or is_hydra_s(key))]
        config = composing(compose, groups)
        shared, alone = divided(keyed, [*swept, *(config.hydra.sweeper.get("params") or {})])
        return composing(compose, shared), alone


def divided(keyed: Sequence[tuple[str, str]], swept: Collection[str]) -> tuple[list[str], tuple[str, ...]]:
    """The words that all jobs share, and those that set keys inside what is swept; each word with its key."""
    inside = tuple(f"{key}." for key in swept)
    alone = tuple(word for word, key in keyed if key.startswith(inside) and not is_hydra_s(key))
    return [word for word, _ in keyed if word not in alone], alone


def key_of(word: Override) -> str:
    """The key or group that a word sets, groups with a dot as their keys have."""
    return str(word.get_key_element()).lstrip("+").replace("/", ".")


def is_hydra_s(key: str) -> bool:
    """Whether a key is Hydra's own."""
    return key.startswith("hydra.")
