"""Attention that has forward-mode and second derivatives, instead of the fused kernels."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


@contextlib.contextmanager
def twice_differentiable_attention() -> Iterator[None]:
    """Within, attention is computed by operations that torch differentiates in every way."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), _masks_kept():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


@contextlib.contextmanager
def _masks_kept() -> Iterator[None]:
    """Make transformers apply a mask whatever it holds.

    It leaves out masks that hide nothing. A choice by what tensors hold can be neither traced nor
    vectorised over samples.
    """
    masking: Any = sys.modules.get("transformers.masking_utils")
    makers = getattr(masking, "ALL_MASK_ATTENTION_FUNCTIONS", {})
    if "sdpa" not in makers:
        yield
        return
    usual = makers["sdpa"]

    def kept(*arguments: Any, **options: Any) -> Any:
        options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        return usual(*arguments, **options)

    makers["sdpa"] = kept
    try:
        yield
    finally:
        makers["sdpa"] = usual


def unfuse(module: nn.Module) -> None:
    """Take transformers' other kernels (Flash, Flex) out of a network that was built with them."""
    for part in module.modules():
        used = getattr(getattr(part, "config", None), "_attn_implementation", None)
        change: Any = getattr(part, "set_attn_implementation", None)
        if change is not None and used not in (None, "eager", "sdpa"):
            change("sdpa")
