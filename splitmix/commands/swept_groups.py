"""Composition of what the jobs of a sweep share, where the command line sets keys of a group that the sweep chooses.

`malicious=noise,sign_flip malicious.share=0.3` sets a key that both options have, and the group's default has not: each
job can be composed, and what they share cannot, since Hydra takes the default where a sweep chooses the option.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from splitmix.commands.composing import composing, read_words


def compose_shared(
    compose: Callable[[list[str]], DictConfig], words: Sequence[str]
) -> tuple[DictConfig, tuple[str, ...]]:
    """What the jobs of these words share, and the words that are for the jobs alone.

    Raises:
        UserError, or an exception of Hydra's or OmegaConf's: the words cannot be composed.
    """
    overrides = read_words(words)
    swept = [override.get_key_element() for override in overrides if override.is_sweep_override()]
    shared, alone = divided(words, swept)
    try:
        return composing(compose, shared), alone
    except ConfigCompositionException:
        # An experiment's own grid may choose the option, and says so once it is composed without such keys.
        config = composing(compose, [word for word in shared if "." not in key_of(word) or is_hydra_s(word)])
        shared, alone = divided(words, [*swept, *(config.hydra.sweeper.get("params") or {})])
        return composing(compose, shared), alone


def divided(words: Sequence[str], swept: Collection[str]) -> tuple[list[str], tuple[str, ...]]:
    """The words that all jobs share, and those that set keys inside what is swept."""
    inside = tuple(f"{key}." for key in swept)
    alone = tuple(word for word in words if key_of(word).startswith(inside) and not is_hydra_s(word))
    return [word for word in words if word not in alone], alone


def key_of(word: str) -> str:
    """The key or group that a word sets, groups with a dot as their keys have."""
    return str(read_words([word])[0].get_key_element()).lstrip("+").replace("/", ".")


def is_hydra_s(word: str) -> bool:
    """Whether a word is about Hydra itself."""
    return key_of(word).startswith("hydra.")
