import pytest
import torch
from torch.nn import functional as F

from dlcli import registry
from dlcli.errors import UsageError
from dlcli.models.attention import attend

SAMPLES = torch.randn(3, 1, 12)
ORDER = torch.randperm(12)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary", "none"])
@pytest.mark.parametrize("normalization", sorted(set(registry.catalogue("normalization")) - {"auto", "instance"}))
def test_on_text_a_score_does_not_depend_on_later_tokens(build_language_model, positions, normalization):
    model = build_language_model("transformer", normalization, positions=positions).eval()
    tokens = torch.randint(7, (3, 12))
    changed = tokens.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 7
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert before.shape == (3, 12, 7)
    assert torch.allclose(before[:, :8], after[:, :8], atol=1e-6)
    assert not torch.allclose(before[:, 8:], after[:, 8:], atol=1e-3)


def test_a_shorter_text_gets_the_scores_of_the_beginning(build_language_model):
    model, tokens = build_language_model("transformer", "layer", positions="rotary").eval(), torch.randint(7, (2, 12))
    assert torch.allclose(model(tokens[:, :5]), model(tokens)[:, :5], atol=1e-6)


def test_without_positions_the_encoder_does_not_see_the_order_of_the_steps(build_model):
    model = build_model("transformer", (1, 12), normalization="layer", positions="none")
    assert torch.allclose(model(SAMPLES), model(SAMPLES[:, :, ORDER]), atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_with_positions_it_does(build_model, positions):
    model = build_model("transformer", (1, 12), normalization="layer", positions=positions)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert not torch.allclose(model(SAMPLES), model(SAMPLES[:, :, ORDER]), atol=1e-3)


def test_tied_scores_are_products_with_the_embeddings_and_the_risk_is_not_convex_in_them(build_language_model, count):
    tied, free = (build_language_model("transformer", "layer", tied=tied) for tied in (True, False))
    tokens = torch.randint(7, (2, 12))
    assert torch.allclose(tied(tokens), tied.body(tokens) @ tied.body[0].weight.T)
    assert count(free) - count(tied) == 7 * 64 + 7
    assert tied.head is None and free.head is not None


def test_the_small_character_model_of_nanogpt_has_its_parameters(build_language_model, count):
    """12 width^2 per block, two scales per block and one at the end, 7 embeddings, 12 positions."""
    model = build_language_model("transformer", "rms", width=128, depth=4, heads=4, bias=False)
    assert count(model) == 4 * (12 * 128**2 + 2 * 128) + 128 + 7 * 128 + 12 * 128


def test_a_gated_network_costs_as_many_weights_as_the_plain_one(build_model, count):
    plain, gated = (count(build_model("transformer", (1, 12), width=96, feedforward=f)) for f in ("gelu", "swiglu"))
    assert gated == pytest.approx(plain, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 5}, "model 'transformer': model.heads=5 do not divide model.width=64"),
        (
            {"width": 36, "positions": "rotary"},
            "model.positions=rotary turns pairs of features, and a head has 9 of them",
        ),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(build_model, settings, message):
    with pytest.raises(UsageError) as refusal:
        build_model("transformer", (1, 12), **settings)
    assert refusal.value.message == message


def test_attention_stays_in_float32_on_a_cpu_that_trains_in_bfloat16(monkeypatch):
    """In both passes; the maps around it are in bfloat16."""
    kinds, original = [], F.scaled_dot_product_attention

    def seen(queries, keys, values, **settings):
        kinds.append((queries.dtype, keys.dtype, values.dtype))
        return original(queries, keys, values, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", seen)
    parts = torch.randn(3, 2, 2, 5, 4, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    expected = original(*parts.float(), is_causal=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*parts, 0.0, True)
    assert kinds == [(torch.float32,) * 3] and torch.equal(found, expected)
    assert torch.equal(torch.autograd.grad(found.sum(), parts)[0], torch.autograd.grad(expected.sum(), parts)[0])
