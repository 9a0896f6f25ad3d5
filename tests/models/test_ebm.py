import pytest
import torch


@pytest.mark.parametrize("shape", [(2,), (1, 40), (3, 16, 16)])
def test_it_gives_an_energy_to_each_example_alone(build_model, shape):
    model, inputs = build_model("ebm", shape, width=8), torch.randn(4, *shape)
    assert model(inputs).shape == (4,)
    assert torch.allclose(torch.cat([model(one) for one in inputs.split(1)]), model(inputs), atol=1e-5)


def test_without_a_network_it_is_the_gaussian_of_the_base(build_model):
    model, inputs = build_model("ebm", (2,), base=3.0), torch.randn(4, 2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.allclose(model(inputs), inputs.square().sum(1) / 18)


def test_the_chains_are_kept_with_the_weights(build_model):
    model = build_model("ebm", (2,), chains=7)
    assert model.state_dict()["chains"].shape == (7, 2)
    assert "chains" not in dict(model.named_parameters())
