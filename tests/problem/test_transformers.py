"""Hugging Face's transformers, built from small configurations; nothing is downloaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import eigenboundary as eb
from eigenboundary.curvature.operators import products

try:
    importlib.import_module("torchvision")
except (ImportError, RuntimeError):
    # One that was built for another torch would keep transformers from being imported.
    sys.modules["torchvision"] = None  # type: ignore[assignment]

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

N, LENGTH, WORDS = 15, 6, 11
TEXT = {"vocab_size": WORDS, "num_labels": 3}


def bert(**options: Any) -> nn.Module:
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=6,
            max_position_embeddings=LENGTH,
            initializer_range=0.4,
            **TEXT,
            **options,
        )
    )


def distilbert() -> nn.Module:
    return transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(
            dim=8,
            n_layers=1,
            n_heads=2,
            hidden_dim=6,
            max_position_embeddings=LENGTH,
            initializer_range=0.4,
            **TEXT,
        )
    )


def gpt2() -> nn.Module:
    return transformers.GPT2ForSequenceClassification(
        transformers.GPT2Config(
            n_embd=8,
            n_layer=1,
            n_head=2,
            n_positions=LENGTH,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
            initializer_range=0.4,
            **TEXT,
        )
    )


def vit() -> nn.Module:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=6,
            image_size=4,
            patch_size=2,
            num_channels=1,
            num_labels=3,
            initializer_range=0.4,
        )
    )


MODELS: dict[str, Callable[..., nn.Module]] = {
    "bert": bert,
    "distilbert": distilbert,
    "gpt2": gpt2,
    "vit": vit,
}


def build(name: str) -> tuple[nn.Module, Any]:
    """A network, and samples with their labels; the first five sentences have no padding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MODELS[name]().double().eval()
        labels = torch.arange(N) % 3
        if name == "vit":
            pixels = torch.randn(N, 1, 4, 4, dtype=torch.float64)
            return model, transformers.BatchFeature({"pixel_values": pixels, "labels": labels})
        lengths = torch.randint(2, LENGTH + 1, (N,))
        lengths[:5] = LENGTH
        mask = (torch.arange(LENGTH) < lengths.unsqueeze(1)).long()
        ids = torch.randint(2, WORDS, (N, LENGTH)) * mask
    return model, transformers.BatchEncoding(
        {"input_ids": ids, "attention_mask": mask, "labels": labels}
    )


def double_backward(model: nn.Module, data: Any, v: Tensor) -> Tensor:
    """The Hessian's product with v from transformers' own loss and its plain attention."""
    if not isinstance(model, transformers.ViTForImageClassification):
        model.set_attn_implementation("eager")  # ViT's would be in single precision
    weights = [p for p in model.parameters() if p.requires_grad]
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        gradient = torch.autograd.grad(model(**data).loss, weights, create_graph=True)
    flat = torch.cat([piece.flatten() for piece in gradient])
    pieces = torch.autograd.grad(flat @ v, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([piece.flatten() for piece in pieces])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_products_by_every_route_are_those_of_double_backward(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = build(name)
    problem = eb.Problem(model, data, batch_size=5)
    generator = torch.Generator().manual_seed(2)
    v = torch.randn(problem.n_parameters, generator=generator, dtype=torch.float64)
    operator = eb.HessianOperator(problem)
    found, routes = [], []
    traced = name == "gpt2"  # which takes seconds
    for cost in (1e30, 1e30, 0.0)[: 2 + traced]:
        monkeypatch.setattr(products, "_WORK_PER_OPERATION", cost)
        found.append(operator @ v)
        routes.append(operator.record.route)
    assert routes == ["recomputed", "double backward", "linearized"][: 2 + traced]
    expected = double_backward(model, data, v)
    for product in found:
        torch.testing.assert_close(product, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_an_analysis_is_complete_and_uses_no_slow_way(name: str) -> None:
    model, data = build(name)
    analysis = eb.analyze(model, data, k=2, curvature="gauss_newton")
    with torch.no_grad():
        outputs = model(**data)
    np.testing.assert_array_equal(analysis.predictions, outputs.logits.argmax(1))
    assert analysis.loss_value == pytest.approx(float(outputs.loss), rel=1e-10)
    assert analysis.converged.all()
    assert not analysis.problem.network.reverse_only
    np.testing.assert_allclose(analysis.alignment(data), analysis.training_alignment, atol=1e-12)


def test_a_fine_tuned_head_is_all_that_is_analysed_where_the_rest_is_frozen() -> None:
    model, data = build("bert")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    problem = eb.Problem(model, data)
    assert problem.parameter_names == ("classifier.weight", "classifier.bias")
    v = torch.linspace(-1, 1, problem.n_parameters, dtype=torch.float64)
    product = eb.HessianOperator(problem) @ v
    torch.testing.assert_close(product, double_backward(model, data, v))


def test_kernels_without_second_derivatives_are_swapped_for_ones_that_have_them() -> None:
    _, data = build("bert")
    torch.manual_seed(1)
    model = bert(attn_implementation="flex_attention").double()
    problem = eb.Problem(model, data)
    assert problem.network.module.config._attn_implementation == "sdpa"
    assert model.config._attn_implementation == "flex_attention"


def test_how_transformers_makes_masks_is_left_as_it_was() -> None:
    makers = transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    before = makers["sdpa"]
    eb.Problem(*build("distilbert"))
    assert makers["sdpa"] is before
