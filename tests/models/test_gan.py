import pytest
import torch

from dlcli.errors import UsageError

SHAPES = {"points": (2,), "signals": (1, 40), "gray": (1, 28, 28), "odd": (3, 17, 20)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "weight"])
def test_the_generator_makes_examples_and_the_discriminator_scores_each(build_model, shape, normalization):
    model = build_model("gan", shape, normalization=normalization, width=8, spectral=True)
    examples = model.generate(torch.randn(6, 16))
    assert examples.shape == (6, *shape)
    assert model.judge(examples).shape == (6,)


def test_drawn_examples_come_from_the_average(build_model):
    model, latents = build_model("gan", (2,)), torch.randn(5, 16)
    with torch.no_grad():
        for weight in model.generator.parameters():
            weight.zero_()
    assert model(latents).abs().sum() > 0 and model.generate(latents).abs().sum() == 0
    model.average.follow(model.generator)
    assert torch.equal(model(latents), model.generate(latents))


def test_only_the_players_have_parameters(build_model):
    names = {name.split(".")[0] for name, _ in build_model("gan", (2,)).named_parameters()}
    assert names == {"generator", "discriminator"}


def test_a_pack_is_consecutive_examples_judged_together(build_model):
    model = build_model("gan", (3, 8, 8), pack=2, width=4)
    examples = torch.randn(5, 3, 8, 8)  # the odd one out is left out
    scores = model.judge(examples)
    expected = model.discriminator(torch.cat([examples[0:4:2], examples[1:4:2]], 1)).squeeze(1)
    assert scores.shape == (2,) and torch.equal(scores, expected)


def test_spectral_normalization_leaves_no_layer_that_stretches(build_model):
    model = build_model("gan", (2,), spectral=True, depth=3, width=32)
    for _ in range(200):  # power iterations, one per pass
        model.judge(torch.zeros(1, 2))
    weights = [layer.weight for layer in model.eval().discriminator if hasattr(layer, "weight")]
    assert len(weights) == 4
    assert [torch.linalg.matrix_norm(weight, 2).item() for weight in weights] == pytest.approx([1] * 4, abs=1e-3)


def test_sigmoid_outputs_are_pixels(build_model):
    pixels = build_model("gan", (1, 8, 8), output="sigmoid", width=4).generate(10 * torch.randn(50, 16))
    assert pixels.min() >= 0 and pixels.max() <= 1


def test_maps_that_cannot_be_halved_so_often_are_refused(build_model):
    with pytest.raises(UsageError) as refusal:
        build_model("gan", (1, 8, 8), depth=4)
    assert refusal.value.message == "model 'gan' with model.depth=4 halves the maps of 'toy' (8x8) away to nothing"
    assert refusal.value.hint == "use model.depth=3"
