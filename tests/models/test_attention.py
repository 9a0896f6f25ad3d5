import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlcli import registry
from dlcli.models.attention import Block, Shape

LAYER = {"name": "layer", "eps": 1e-5}


def block(**changes):
    torch.manual_seed(0)
    shape = Shape(24, 2, 4, 40, False, True, True, 0.0, False)._replace(**changes)
    return Block(shape, None, registry.build("normalization", LAYER))


def shaken(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("prenorm", [False, True])
def test_it_agrees_with_the_encoder_layer_of_torch_on_copied_weights(prenorm, causal):
    ours = shaken(block(prenorm=prenorm, causal=causal))
    theirs = nn.TransformerEncoderLayer(24, 4, 40, 0.0, "gelu", batch_first=True, norm_first=prenorm)
    pairs = {
        "self_attn.in_proj_": ours.attention.project,
        "self_attn.out_proj.": ours.attention.out,
        "linear1.": ours.feedforward.into,
        "linear2.": ours.feedforward.out,
        "norm1.": ours.attention_norm.inner,
        "norm2.": ours.feedforward_norm.inner,
    }
    copied = {f"{name}{kind}": getattr(layer, kind) for name, layer in pairs.items() for kind in ("weight", "bias")}
    theirs.load_state_dict(copied)
    inputs = torch.randn(5, 9, 24)
    mask = nn.Transformer.generate_square_subsequent_mask(9) if causal else None
    assert torch.allclose(ours(inputs), theirs(inputs, src_mask=mask, is_causal=causal), atol=1e-5)


def test_a_gated_network_multiplies_one_half_by_the_silu_of_the_other():
    network = shaken(block(gated=True)).feedforward
    inputs = torch.randn(2, 3, 24)
    gate, value = F.linear(inputs, network.into.weight, network.into.bias).split(40, dim=2)
    assert torch.allclose(network(inputs), network.out(gate * torch.sigmoid(gate) * value), atol=1e-6)


def test_layers_that_end_a_branch_start_smaller_by_the_root_of_twice_the_depth():
    made = block(width=240, depth=8, hidden=400)
    for inner, last in ((made.attention.project, made.attention.out), (made.feedforward.into, made.feedforward.out)):
        assert inner.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert last.weight.std().item() == pytest.approx(0.02 / 4, rel=0.02)
        assert not inner.bias.any() and not last.bias.any()


def test_attention_weights_are_dropped_in_training_only():
    made = block(dropout=0.5)
    inputs = torch.randn(2, 3, 24)
    assert not torch.equal(made.attention(inputs), made.attention(inputs))
    assert torch.equal(made.eval().attention(inputs), made.attention(inputs))
