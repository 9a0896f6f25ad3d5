import math

import numpy as np
import pytest
import torch

from dlcli import registry
from dlcli.datasets.bundled import digits
from dlcli.datasets.prepare import prepare
from dlcli.datasets.resident import Resident
from dlcli.decomposition.floors import bernoulli_entropy
from dlcli.decomposition.linear_vae import linear_vae
from dlcli.errors import UsageError
from dlcli.protocols import Batch, DataSpec, Examples, Source
from dlcli.tasks.reconstruction import importance_weighted, reconstruction, terms
from dlcli.training.evaluate import evaluate
from dlcli.training.randomness import FixedNoise, FreshNoise

SETTINGS = {"likelihood": "auto", "beta": 1.0, "free_bits": 0.0, "importance_samples": 4}
PLAIN = {
    "train_fraction": 1.0,
    "label_noise": 0.0,
    "binarize": False,
    "standardize": "all",
    "standardize_targets": False,
    "validation_fraction": 0.0,
    "test_fraction": 0.2,
    "seed": 0,
}
CPU = torch.device("cpu")


def built(data, latents=3, depth=1, **settings):
    task = reconstruction(data.spec, **{**SETTINGS, **settings})
    torch.manual_seed(0)
    section = {
        "name": "vae",
        "architecture": "mlp",
        "width": 30,
        "depth": depth,
        "latents": latents,
        "activation": "relu",
    }
    none = registry.build("normalization", {"name": "none"})
    return task, registry.build("model", section, spec=task.spec, normalization=none)


@pytest.fixture(scope="module")
def images():
    return prepare(digits(), "digits", PLAIN)


@pytest.mark.parametrize("examples", [1, 2, 3, 90])
def test_a_split_of_any_size_has_its_pictures(images, examples):
    task, model = built(images)
    few = Resident(images.train.inputs[:examples], images.train.targets[:examples], *images.train.parts()[1:])
    drawn = task.pictures(model, few, FreshNoise(64, CPU))
    assert set(drawn) == {"samples", "reconstructions", "interpolation"}


def test_the_risk_of_an_affine_decoder_is_the_expectation_over_its_latents(images):
    task, model = built(images, depth=0, likelihood="gaussian")
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.3)
        batch = images.train.batch(slice(20))
        found = task.predict(model, batch, FixedNoise(0, 20, CPU))
        drawn = torch.stack([terms(task.likelihood, model, batch.inputs, FreshNoise(20, CPU)) for _ in range(4000)])
    error = drawn[..., 0].std(0) / 4000**0.5
    assert (drawn[..., 0].mean(0) - found[:, 0]).abs().div(error).max() < 4
    assert torch.allclose(drawn[0, :, 1:].double(), found[:, 1:], rtol=1e-4)


def exact(model, data):
    """The mean negative ELBO of a linear model with a Gaussian likelihood: the expectation over the latents is exact.

    E|x - Wz - b|^2 = |x - W mean - b|^2 + sum of the latents' variances times the squared columns of W.
    """
    inputs = data.train.batch(slice(None)).inputs.to(model.shared.dtype)
    mean, log_variance = model.encode(inputs)
    (columns,) = (layer.weight for layer in model.decoder if isinstance(layer, torch.nn.Linear))
    squares = (inputs - model.decode(mean)).square().flatten(1).sum(1) + log_variance.exp() @ columns.square().sum(0)
    size, volume = inputs[0].numel(), inputs[0].numel() * math.log(data.spec.scale[0])
    likelihood = 0.5 * (size * (math.log(2 * math.pi) + model.shared[0]) + squares / model.shared[0].exp()) + volume
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    return (likelihood + divergence).mean()


def test_the_risk_of_a_linear_model_is_the_same_whatever_is_drawn(images):
    task, model = built(images, depth=0, likelihood="gaussian")
    with torch.no_grad():
        model.shared.fill_(-0.5)
        one, other = (evaluate(model, task, images.train, draw=draw)["loss"].mean() for draw in (0, 1))
        assert one == other == pytest.approx(exact(model, images).item(), rel=1e-6)


def pooled():
    """The digits in 4x4 averages: small enough for a solver."""
    source = digits()
    coarse = source.train.inputs.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16)
    few = PLAIN | {"train_fraction": 0.1}
    return prepare(Source(Examples(coarse, source.train.targets), classes=source.classes), "coarse", few)


@pytest.mark.parametrize(
    ("data", "latents"),
    [(pooled, 2), pytest.param(lambda: prepare(digits(), "digits", PLAIN), 8, marks=pytest.mark.slow)],
    ids=["coarse", "digits"],
)
def test_the_best_linear_model_is_probabilistic_pca(data, latents):
    """The class holds the optimum, nothing in it is better, and a solver finds it."""
    data = data()
    _, model = built(data, latents, depth=0, likelihood="gaussian")
    model = model.double()
    solver = torch.optim.LBFGS(
        model.parameters(), max_iter=1500, history_size=50, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure():
        solver.zero_grad()
        loss = exact(model, data)
        loss.backward()
        return loss

    solver.step(closure)
    inputs = data.spec.to_source(data.train.batch(slice(None)).inputs.double()).numpy()
    optimum = linear_vae(inputs, latents).low
    assert optimum < 0  # a density: zero is no floor
    assert optimum - 1e-6 < exact(model, data).item() < optimum + 1e-5 * abs(optimum)


def test_grey_pixels_have_the_entropy_of_their_targets_as_floor(images):
    task, model = built(images)
    pixels = images.spec.to_source(images.train.batch(slice(None)).inputs)
    floor, constant = task.bounds(model, images.train)
    assert floor.side == "lower" and floor.value == pytest.approx(bernoulli_entropy(pixels.numpy()).value, rel=1e-6)
    means = pixels.mean(0).flatten().numpy()
    assert constant.side == "upper" and constant.value == pytest.approx(bernoulli_entropy(means[None]).value, rel=1e-5)
    rows = evaluate(model, task, images.train)
    assert rows["reconstruction"].min() > 0 and rows["loss"].mean() > floor.value


def test_the_pixel_independent_baseline_is_a_member_of_the_class(images):
    task, model = built(images, depth=1)
    _, constant = task.bounds(model, images.train)
    share = images.spec.to_source(images.train.batch(slice(None)).inputs).mean(0).clamp(1e-9, 1 - 1e-9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder[-2].bias.copy_(torch.logit(share.double()).flatten())
        model.encoder[-1].bias[3:] = math.log(math.e - 1)  # a deviation of 1
    rows = evaluate(model, task, images.train)
    assert rows["kl"] == pytest.approx(0, abs=1e-6)
    assert rows["loss"].mean() == pytest.approx(constant.value, rel=1e-5)


def test_binary_pixels_have_no_floor_but_zero():
    data = prepare(digits(), "digits", PLAIN | {"binarize": True})
    task, model = built(data)
    assert data.spec.levels == 2 and task.bounds(model, data.train)[0].value == 0


def test_the_importance_weighted_bound_falls_with_the_draws_and_one_draw_is_the_elbo(images):
    task, model = built(images)
    batch = images.train.batch(slice(0, 1000))
    with torch.no_grad():
        bounds = {}
        for samples in (1, 4, 32):
            noise = FixedNoise(0, 1000, CPU, draw=3)
            bounds[samples] = importance_weighted(task.likelihood, model, batch.inputs, noise, samples).mean().item()
        elbos = [
            terms(task.likelihood, model, batch.inputs, FixedNoise(0, 1000, CPU, d)).sum(1).mean() for d in range(9)
        ]
    assert bounds[32] < bounds[4] < bounds[1]
    assert bounds[1] == pytest.approx(np.mean(elbos), abs=0.1)


def test_with_the_exact_posterior_every_number_of_draws_gives_the_likelihood():
    """One latent, x = w z + noise: the posterior is N(w x / (w^2 + s2), s2 / (w^2 + s2)), the likelihood Gaussian."""
    spec = DataSpec("line", (1,))
    task = reconstruction(spec, **SETTINGS)

    class Exact(torch.nn.Module):
        latents, constant, shared = 1, True, torch.tensor([math.log(0.25)])

        def encode(self, inputs):
            return 0.6 * inputs / 0.61, torch.full_like(inputs, math.log(0.25 / 0.61))

        def decode(self, latents):
            return 0.6 * latents

    inputs = torch.linspace(-2, 2, 9)[:, None]
    expected = 0.5 * (inputs[:, 0] ** 2 / 0.61 + math.log(2 * math.pi * 0.61))
    for samples in (1, 5):
        found = importance_weighted(task.likelihood, Exact(), inputs, FreshNoise(9, CPU), samples)
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_density_is_one_of_the_numbers_of_the_data_set_whatever_the_standardization(images):
    raw = prepare(digits(), "digits", PLAIN | {"standardize": "none"})
    inputs, scale = images.train.batch(slice(9)).inputs, images.spec.scale[0]
    (task, model), (other, _) = built(images, likelihood="gaussian"), built(raw, likelihood="gaussian")
    noise = torch.randn(9, 1, 8, 8)
    with torch.no_grad():
        ours = task.likelihood.rows(model, inputs + noise, inputs)
        model.shared.fill_(2 * math.log(scale))
        theirs = other.likelihood.rows(model, images.spec.to_source(inputs + noise), images.spec.to_source(inputs))
    assert torch.allclose(ours, theirs, atol=1e-2, rtol=1e-4)


def test_beta_and_free_bits_change_what_is_minimized_and_not_what_is_reported(images):
    batch = images.train.batch(slice(0, 200))
    losses = {}
    for name, settings in {"plain": {}, "beta": {"beta": 3.0}, "free": {"free_bits": 50.0}}.items():
        task, model = built(images, **settings)
        torch.manual_seed(1)
        with torch.no_grad():
            losses[name] = task.phases[0].loss(model, batch, FreshNoise(200, CPU)).item()
            reported = evaluate(model, task, images.train)
        losses[f"{name} reported"] = reported["loss"].mean()
        kl = terms(task.likelihood, model, batch.inputs, FixedNoise(0, 200, CPU))[:, 1:].sum(1).mean().item()
    assert losses["beta"] == pytest.approx(losses["plain"] + 2 * kl, rel=1e-4)
    assert losses["free"] == pytest.approx(losses["plain"] - kl + 3 * 50, rel=1e-4)
    assert losses["plain reported"] == losses["beta reported"] == losses["free reported"]


def test_the_risk_does_not_depend_on_the_evaluation_batch_size(images):
    task, model = built(images)
    whole = evaluate(model, task, images.test)
    for chunk in (7, 100):
        parts = evaluate(model, task, images.test, chunk=chunk)
        assert all(parts[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-5) for name in whole)


def test_a_bernoulli_likelihood_of_numbers_is_refused():
    with pytest.raises(UsageError) as refusal:
        reconstruction(DataSpec("wine", (13,)), **{**SETTINGS, "likelihood": "bernoulli"})
    assert refusal.value.message == "task.likelihood=bernoulli needs pixels, and data set wine is made of numbers"


def test_one_batch_can_be_overfitted():
    inputs = (torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    split = Resident(inputs, torch.zeros(8).long())
    data = prepare(digits(), "digits", PLAIN | {"standardize": "none", "binarize": True})
    task, model = built(data, latents=8)
    batch, solver = Batch(inputs, split.targets), torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(600):
        solver.zero_grad()
        task.phases[0].loss(model, batch, FreshNoise(8, CPU)).backward()
        solver.step()
    assert evaluate(model, task, split)["reconstruction"].mean() < 0.05 * 64 * math.log(2)
