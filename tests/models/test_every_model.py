"""What holds for each model of targets with each normalization on each kind of input."""

import copy
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from dlcli import registry
from dlcli.errors import UsageError

SHAPES = {"table": (7,), "signal": (1, 40), "gray": (1, 20, 20), "color": (3, 20, 20)}
MODELS = [name for name, entry in registry.catalogue("model").items() if "tasks" not in entry.meant_for]
NORMALIZATIONS = sorted(registry.catalogue("normalization").keys() - {"auto"})  # which is one of the others
CONVOLUTIONAL = {"airbench", "cnn", "lenet", "resnet"}
RECURRENT = {"gru", "lstm", "rnn"}
SMALL = {"airbench": {"width": 8}, "resnet": {"depth": 8}, "kernel": {"width": 64}, "linear": {"depth": 1}}


def refused(model, normalization, kind):
    no_positions = (kind == "table" and model in CONVOLUTIONAL | {"vit"}) or (kind, model) == ("signal", "airbench")
    position_by_position = RECURRENT | {"transformer", "vit"}
    no_average = normalization == "instance" and model in {"mlp", "lenet"} | position_by_position
    return no_positions or no_average or (normalization == "weight" and model in RECURRENT)


TRIPLES = [(m, n, k) for m in MODELS for n in NORMALIZATIONS for k in SHAPES]
LEGAL = [triple for triple in TRIPLES if not refused(*triple)]


def test_the_collection_is_not_empty():
    assert len(MODELS) >= 6 and len(NORMALIZATIONS) >= 7 and len(LEGAL) > 100


@pytest.mark.parametrize(("name", "normalization", "kind"), LEGAL)
def test_predictions_are_finite_and_one_row_per_example(build_model, name, normalization, kind):
    model = build_model(name, SHAPES[kind], 5, normalization, **SMALL.get(name, {}))
    prediction = model(torch.randn(3, *SHAPES[kind]))
    assert prediction.shape == (3, 5) and prediction.isfinite().all()


@pytest.mark.parametrize(("name", "normalization", "kind"), LEGAL)
def test_every_parameter_receives_a_gradient(build_model, name, normalization, kind):
    model = build_model(name, SHAPES[kind], 5, normalization, **SMALL.get(name, {}))
    model(torch.randn(8, *SHAPES[kind])).square().sum().backward()
    trained = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None or not gradient.isfinite().all()] == []


@pytest.mark.parametrize(("name", "normalization", "kind"), LEGAL)
def test_in_evaluation_a_prediction_does_not_depend_on_the_rest_of_the_batch(build_model, name, normalization, kind):
    model = build_model(name, SHAPES[kind], 5, normalization, **SMALL.get(name, {})).eval()
    inputs = torch.randn(4, *SHAPES[kind])
    with torch.no_grad():
        alone = torch.cat([model(one) for one in inputs.split(1)])
        assert torch.allclose(alone, model(inputs), atol=1e-5)


@pytest.mark.parametrize(("name", "normalization", "kind"), sorted(set(TRIPLES) - set(LEGAL)))
def test_what_does_not_fit_is_refused_in_one_line_with_a_hint(build_model, name, normalization, kind):
    with pytest.raises(UsageError) as refusal:
        build_model(name, SHAPES[kind], 5, normalization, **SMALL.get(name, {}))
    assert len(refusal.value.message) <= 200 and 0 < len(refusal.value.hint) <= 200


@pytest.mark.parametrize("name", sorted(CONVOLUTIONAL | {"vit"}))
def test_convolutions_on_a_table_name_both_and_list_what_fits(build_model, name):
    with pytest.raises(UsageError) as refusal:
        build_model(name, (13,), dataset="wine")
    assert refusal.value.message == f"model '{name}' needs signals or images, and 'wine' is a table of 13 features"
    assert refusal.value.hint == "models that fit 'wine': mlp, linear, kernel"


@pytest.mark.parametrize("name", sorted(set(MODELS) - RECURRENT - {"transformer"}))
def test_models_of_numbers_on_tokens_name_both_and_list_what_fits(build_language_model, name):
    with pytest.raises(UsageError) as refusal:
        build_language_model(name)
    assert refusal.value.message == f"model '{name}' reads numbers, and 'toy' is made of tokens"
    assert refusal.value.hint == "models that fit 'toy': transformer, lstm, gru, rnn"


@pytest.mark.parametrize(("name", "more"), [*((name, {}) for name in MODELS), ("kernel", {"exact": True})])
def test_one_batch_can_be_overfitted(build_model, name, more):
    generator = torch.Generator().manual_seed(1)
    side = 20 if name == "airbench" else 8
    inputs = torch.randn(16, 1, side, side, generator=generator)
    labels = torch.randint(4, (16,), generator=generator)
    settings = SMALL.get(name, {}) | more
    normalization = {"resnet": "batch", "transformer": "layer", "vit": "layer"}.get(name, "none")
    model = build_model(name, (1, side, side), 4, normalization, examples=inputs, **settings)
    first = F.cross_entropy(model(inputs), labels).item()
    adam(model, lambda: F.cross_entropy(model(inputs), labels), steps=120)
    assert F.cross_entropy(model(inputs), labels).item() < 0.1 * first


def adam(model, loss, steps, lr=0.02):
    memory = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in model.parameters() if p.requires_grad]
    for step in range(1, steps + 1):
        gradients = torch.autograd.grad(loss(), [p for p, _, _ in memory])
        with torch.no_grad():
            for (p, mean, square), gradient in zip(memory, gradients, strict=True):
                mean.lerp_(gradient, 0.1)
                square.lerp_(gradient.square(), 0.01)
                p -= lr * (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_state_predicts_what_the_saved_one_did(build_model, name):
    shape, settings = (1, 20, 20), SMALL.get(name, {})
    examples, inputs = torch.randn(9, *shape), torch.randn(3, *shape)
    saved = build_model(name, shape, normalization="batch", examples=examples, **settings)
    with torch.no_grad():
        for tensor in saved.state_dict().values():
            tensor.add_(0.1 * torch.rand_like(tensor))
    fresh = build_model(name, shape, normalization="batch", examples=examples, **settings)
    fresh.load_state_dict(saved.state_dict())
    assert torch.equal(fresh.eval()(inputs), saved.eval()(inputs))


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_a_deep_copy_predicts_the_same_with_weights_of_its_own(build_model, normalization):
    model, inputs = build_model("cnn", (1, 40), normalization=normalization), torch.randn(3, 1, 40)
    before = model(inputs)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(twin(inputs), before)


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_a_plain_linear_layer_behind_the_body(build_model, name):
    inputs = torch.randn(3, 1, 20, 20)
    normalization = "none" if name in RECURRENT else "weight"
    model = build_model(name, (1, 20, 20), 5, normalization, **SMALL.get(name, {}))
    assert type(model.head) is torch.nn.Linear
    assert torch.equal(F.linear(model.body(inputs), model.head.weight, model.head.bias), model(inputs))


def test_building_does_not_import_the_compiler():
    program = (
        "import sys; from dlcli import registry;"
        "from dlcli.protocols import DataSpec;"
        "weight = registry.build('normalization', {'name': 'weight'});"
        "section = {'name': 'mlp', 'width': 4, 'depth': 1, 'activation': 'relu', 'dropout': 0.0};"
        "model = registry.build('model', section, spec=DataSpec('toy', (3,), outputs=2), normalization=weight);"
        "registry.build('initialization', {'name': 'orthogonal', 'scale': 1.0})(model);"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
