import math

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import laplacian_kernel, rbf_kernel

from dlcli.errors import UsageError
from dlcli.models.kernel import kernel_values, scale_gamma
from dlcli.models.random_features import random_features

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
Y = torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
KERNELS = [("rbf", 1), ("laplace", 1), ("arccosine", 0), ("arccosine", 1)]


@pytest.mark.parametrize(("kernel", "reference"), [("rbf", rbf_kernel), ("laplace", laplacian_kernel)])
def test_values_are_those_of_scikit_learn(kernel, reference):
    ours = kernel_values(X.double(), Y.double(), kernel, 0.3, order=1, depth=1)
    assert np.allclose(ours, reference(X.double(), Y.double(), gamma=0.3), atol=1e-12)


def test_gamma_scale_is_one_over_features_times_variance():
    assert scale_gamma(X) == pytest.approx(1 / (5 * X.numpy().var()), rel=1e-6)


def test_gamma_scale_of_constant_inputs_is_one():
    assert scale_gamma(torch.ones(3, 2)) == 1.0


@pytest.mark.parametrize(("order", "expected"), [(0, 0.5), (1, 2 * 3 / math.pi)])
def test_arccosine_of_orthogonal_vectors(order, expected):
    x, y = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert kernel_values(x, y, "arccosine", 1.0, order, 1).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("order", "expected"), [(0, 1.0), (1, 13.0)])
@pytest.mark.parametrize("depth", [1, 3])
def test_arccosine_of_a_vector_with_itself_is_its_length_to_twice_the_order(order, expected, depth):
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    assert kernel_values(x, x, "arccosine", 1.0, order, depth).item() == pytest.approx(expected, rel=1e-6)


def test_arccosine_of_the_zero_vector_is_finite():
    assert kernel_values(torch.zeros(1, 3), X[:, :3], "arccosine", 1.0, 1, 2).isfinite().all()


def test_depth_two_applies_the_arccosine_to_the_cosine_of_the_first_level():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    angle = math.acos(1 / math.pi)
    expected = (math.sin(angle) + (math.pi - angle) / math.pi) / math.pi
    assert kernel_values(x, y, "arccosine", 1.0, 1, 2).item() == pytest.approx(expected, rel=1e-6)


def test_a_composed_gaussian_is_the_gaussian_of_the_distance_between_the_images():
    once = torch.from_numpy(rbf_kernel(X.double(), Y.double(), gamma=0.3))
    twice = kernel_values(X.double(), Y.double(), "rbf", 0.3, 1, depth=2)
    assert torch.allclose(twice, torch.exp(-(2 - 2 * once)))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("kernel", "order"), KERNELS)
def test_inner_products_of_random_features_converge_to_the_kernel(kernel, order, depth):
    exact = kernel_values(X, Y, kernel, 0.1, order, depth)
    errors = []
    for width in (64, 4096):
        generator = torch.Generator().manual_seed(3)
        features = torch.nn.Sequential(*random_features(generator, 5, kernel, 0.1, order, width, depth))
        errors.append(((features(X) @ features(Y).T - exact).abs().mean() / exact.max()).item())
    assert errors[1] < errors[0] / 4 and errors[1] < 2 / 4096**0.5  # Monte Carlo: an eighth is expected


def test_the_exact_model_with_the_coefficients_of_kernel_ridge_predicts_what_it_predicts(build_model):
    targets = np.sin(X.sum(1).numpy())
    ridge = KernelRidge(kernel="rbf", gamma=0.3, alpha=0.1).fit(X.numpy(), targets)
    model = build_model("kernel", (5,), outputs=1, examples=X, exact=True, gamma=0.3)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(ridge.dual_coef_)[None])
        model.head.bias.zero_()
        assert np.allclose(model(Y)[:, 0], ridge.predict(Y.numpy()), atol=1e-5)


def test_training_examples_are_no_part_of_the_saved_state(build_model):
    assert set(build_model("kernel", (5,), examples=X, exact=True).state_dict()) == {"head.weight", "head.bias"}


def test_the_features_do_not_depend_on_the_seed_of_the_run(build_model):
    first = build_model("kernel", (5,), examples=X)
    torch.manual_seed(17)
    second = build_model("kernel", (5,), examples=X)
    assert torch.equal(first.body(Y), second.body(Y))


def test_drawing_the_features_does_not_disturb_the_generator_of_the_weights(build_model):
    narrow, wide = (build_model("kernel", (5,), examples=X, exact=exact, width=12) for exact in (True, False))
    assert torch.equal(narrow.head.weight, wide.head.weight)


def test_another_features_seed_is_another_set_of_functions(build_model):
    first, second = (build_model("kernel", (5,), examples=X, features_seed=seed) for seed in (0, 1))
    assert not torch.equal(first.body(Y), second.body(Y))


def test_features_are_the_same_under_autocast(build_model):
    model = build_model("kernel", (5,), examples=X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model.body(Y)
    assert torch.equal(mixed, model.body(Y))


def test_too_many_examples_for_an_exact_kernel_are_refused(build_model):
    with pytest.raises(UsageError) as refusal:
        build_model("kernel", (2,), examples=torch.zeros(20001, 2), exact=True, dataset="big")
    assert refusal.value.message == (
        "model 'kernel' with model.exact=true holds at most 20000 examples; 'big' has 20001"
    )
    assert "model.exact=false" in refusal.value.hint
