import pytest
import torch
from torch import nn

from dlcli.errors import UsageError

FAMILIES = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("name", FAMILIES)
def test_it_agrees_with_the_stacked_bidirectional_module_of_torch_on_copied_weights(build_model, name):
    model = build_model(name, (2, 9), outputs=4, width=5, depth=3, bidirectional=True)
    reference = FAMILIES[name](2, 5, num_layers=3, batch_first=True, bidirectional=True)
    ours = [weight for layer in model.body[1:4] for weight in layer.recurrence.parameters()]
    for mine, theirs in zip(ours, reference.parameters(), strict=True):
        theirs.data.copy_(mine.data)
    inputs = torch.randn(6, 2, 9)
    state = reference(inputs.transpose(1, 2))[1]
    hidden = state[0] if name == "lstm" else state  # (layers * directions, batch, width)
    assert torch.allclose(model(inputs), model.head(torch.cat([hidden[-2], hidden[-1]], 1)), atol=1e-5)


def cell(name, x, h, c, w, u, b, d):
    """One step as the sources write it, with the framework's order of the gates."""
    left, right = x @ w.T + b, h @ u.T + d
    if name == "rnn":
        return torch.tanh(left + right), c
    if name == "gru":
        (lr, lz, ln), (rr, rz, rn) = left.chunk(3, 1), right.chunk(3, 1)
        reset, update = torch.sigmoid(lr + rr), torch.sigmoid(lz + rz)
        return (1 - update) * torch.tanh(ln + reset * rn) + update * h, c
    i, f, g, o = (left + right).chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


@pytest.mark.parametrize("name", FAMILIES)
def test_it_agrees_with_the_equations_step_by_step(build_model, name):
    model = build_model(name, (1, 11), outputs=3, width=4)
    weights = list(model.body[1].parameters())
    inputs = torch.randn(5, 1, 11)
    h = c = torch.zeros(5, 4)
    for step in range(11):
        h, c = cell(name, inputs[:, :, step], h, c, *weights)
    assert torch.allclose(model(inputs), model.head(h), atol=1e-6)


def test_the_gru_of_the_mnist1d_paper_has_its_5134_parameters(build_model, count):
    assert count(build_model("gru", (1, 40), width=6, bidirectional=True, readout="all")) == 5134


def test_the_forget_gate_starts_with_its_bias_and_no_other_gate_does(build_model):
    plain, open_gate = (
        build_model("lstm", (1, 9), width=4, forget_bias=bias).body[1].recurrence for bias in (0.0, 3.0)
    )
    added = (open_gate.bias_ih_l0 + open_gate.bias_hh_l0) - (plain.bias_ih_l0 + plain.bias_hh_l0)
    assert torch.equal(added[4:8], torch.full((4,), 3.0)) and not added[:4].any() and not added[8:].any()


@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "rms", "group"])
@pytest.mark.parametrize("name", FAMILIES)
def test_on_text_a_score_does_not_depend_on_later_tokens(build_language_model, name, normalization):
    model = build_language_model(name, normalization, depth=2).eval()
    tokens = torch.randint(7, (3, 12))
    changed = tokens.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 7
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert before.shape == (3, 12, 7)
    assert torch.equal(before[:, :8], after[:, :8]) and not torch.allclose(before[:, 8:], after[:, 8:])


def test_reading_backwards_is_refused_where_the_next_token_is_predicted(build_language_model):
    with pytest.raises(UsageError) as refusal:
        build_language_model("gru", bidirectional=True)
    assert refusal.value.message == ("model.bidirectional=true would show model 'gru' the tokens that it is to predict")


def test_dropout_acts_in_training_only(build_model):
    model = build_model("gru", (1, 9), width=1000, dropout=0.3)
    kept = (model.body(torch.ones(1, 1, 9)) != 0).float().mean().item()
    assert 0.6 < kept < 0.8 and (model.eval().body(torch.ones(1, 1, 9)) != 0).all()
