"""The vocabulary that every room shares: what a batch, a task, an optimizer is. Shapes are written here once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


class Vocabulary(Protocol):
    """The tokens of a text or of another discrete sequence; a token is its index."""

    tokens: Sequence[str]  # how each is shown
    characters: Sequence[int]  # how many characters of the text each begins

    def encode(self, text: str) -> np.ndarray: ...  # (n,) int32; DataError for a character that is not in it
    def decode(self, tokens: Sequence[int]) -> str: ...


class DataSpec(NamedTuple):
    """What a data set tells the model that reads it."""

    name: str
    shape: tuple[int, ...]  # of one input: (features,), (channels, length), (channels, height, width); (length,) tokens
    classes: tuple[str, ...] = ()  # names of the classes; empty for a regression
    targets: int = 1  # numbers per example of a regression
    outputs: int = 0  # numbers that a model predicts per example; the task decides
    vocabulary: Vocabulary | None = None  # of token inputs, shape (length,); None: the inputs are numbers
    causal: bool = False  # `outputs` numbers at each position, from the positions up to it; the task decides
    levels: int = 0  # values of a pixel of the source, 0, 1 / (levels - 1) ... 1; 0: the numbers are no pixels
    mean: tuple[float, ...] = (0.0,)  # number of the source = input * scale + mean; one for all or one per channel
    scale: tuple[float, ...] = (1.0,)
    target_mean: tuple[float, ...] = (0.0,)  # target of the source = target * target_scale + target_mean
    target_scale: float = 1.0

    def to_source(self, inputs: Tensor) -> Tensor:
        """(batch, *shape), as a model reads them -> in the numbers of the source."""
        mean, scale = self._per_channel(inputs)
        return inputs * scale + mean

    def from_source(self, numbers: Tensor) -> Tensor:
        mean, scale = self._per_channel(numbers)
        return (numbers - mean) / scale

    def _per_channel(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """(channels or 1, 1 ...) each."""
        sizes = (-1, *(1 for _ in self.shape[1:]))
        return like.new_tensor(self.mean).view(sizes), like.new_tensor(self.scale).view(sizes)


class Column(NamedTuple):
    """A feature of a table."""

    name: str
    categories: tuple[str, ...] | None  # of texts, one input each; None: a number


class Form(NamedTuple):
    """How files become inputs, as the training split settled it; new files are read alike, nothing is fitted anew."""

    columns: tuple[Column, ...] = ()  # of a table, in the order of the inputs
    layout: str = "auto"  # which axis of an array is what (dlcli/datasets/layout.py)
    size: int | None = None  # side to which pictures are resized and cropped
    binary: int | None = None  # seed by which pixels were drawn black or white; None: they were not


class Batch(NamedTuple):
    inputs: Tensor  # (batch, *spec.shape) float32, or int64 tokens
    targets: Tensor  # (batch,) int64 classes, (batch, length) int64 tokens, or (batch, spec.targets) float32


class Examples(NamedTuple):
    """One split as a source delivers it."""

    # (n, *shape), uint8 images or floats, or an array on disk; with a vocabulary (n, length) tokens, or a text (n,)
    inputs: np.ndarray
    targets: np.ndarray  # (n,) integer classes, (n, targets) floats, or (n, length) tokens; of a text the next tokens


class Network(NamedTuple):
    """A fully connected network in the numbers of a source: affine layers, and this activation between them."""

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # weights (outputs, inputs) and biases (outputs,) of each
    activation: Literal["relu", "tanh"]


class Source(NamedTuple):
    """A data set as it stands on disk or comes out of its generator, before any preparation."""

    train: Examples
    test: Examples | None = None  # None: a test split is cut by the stated rule
    validation: Examples | None = None
    classes: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None  # the inputs are tokens of it
    levels: int = 0  # values of a pixel: 0, 1 / (levels - 1) ... 1 of floats; uint8 inputs have 256 unless stated
    window: int = 0  # tokens of one example, cut from a text; 0: the rows of the inputs are the examples
    # What is known of the generator, plain JSON. bayes_error: least 0-1 error (fraction); bayes_loss: least risk under
    # the default loss (cross-entropy in nats, or squared error averaged over the targets), both on clean new data;
    # bayes_error_se and bayes_loss_se: standard errors, where the value is an average; method: in words.
    # entropy: of the inputs, nats, the least -log density. modes (k, 2), deviation: of equally likely Gaussians.
    truth: Mapping[str, Any] = {}
    teacher: Network | None = None  # that makes the targets: numbers without their noise, or scores of the classes
    form: Form = Form()  # what its reader settled
    origin: str = ""  # where the numbers come from, for the report
    notes: tuple[str, ...] = ()  # what its reader should know, e.g. a category that only the test split has


class Split(Protocol):
    """Examples on the device, or read from disk and brought there, by index."""

    cuts: int  # ways in which a text falls into examples, index i + k * len(self) is example i of cut k; else 1
    contiguous: bool  # neighbouring examples are pieces of one text, and depend on each other
    device: Any  # where indices are wanted
    targets: Tensor  # all of them, as batches have them; no input is read

    def __len__(self) -> int: ...
    def batch(self, indices: Tensor | slice, then: Iterable[Tensor | slice] = ()) -> Batch:
        """then: what will be asked for afterwards, of which a split on disk reads some ahead."""

    def to(self, device: Any) -> Split: ...


class Data(NamedTuple):
    spec: DataSpec
    train: Split
    validation: Split | None
    test: Split
    facts: Mapping[str, Any]  # plain JSON: sizes, hashes, noise, duplicates, rules, truth
    form: Form = Form()
    teacher: Network | None = None  # as in the source

    def splits(self) -> dict[str, Split]:
        """Those that there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


class Noise(Protocol):
    """Random numbers of the examples of a batch. In evaluation an example has the same ones however a split is batched
    and whatever is trained, so that a risk is that of one fixed function; in training they are new in each step."""

    def normal(self, *shape: int) -> Tensor: ...  # (batch, *shape), standard normal
    def uniform(self, *shape: int) -> Tensor: ...  # (batch, *shape), in [0, 1)


class Phase(NamedTuple):
    """One optimizer's turn within a step; phases take their turns in order."""

    name: str  # key of its optimizer, schedule and log entries
    module: str  # which part of the model moves; "" is all of it
    loss: Callable[[Any, Batch, Noise], Tensor]  # -> mean loss over the batch, scalar; nats unless stated
    lr: float = 1.0  # factor on the optimizer's learning rate
    every: int = 1  # it takes its turn at the end of every so many steps; 1 for the first phase, which is shown
    slope: Slope | None = None  # of the loss, where it asks nothing of the model but model(batch.inputs)


class Metric(Protocol):
    """A loss or a score per example; one reduction at the end, so that batching can never change it."""

    unit: str  # "nats", "fraction", "squared units"
    floor: float | None  # greatest lower bound that holds for every prediction; None: unbounded below
    decide: Callable[[Tensor], Tensor] | None  # prediction -> classes (batch,) int64; None: nothing is decided
    probabilities: Callable[[Tensor], Tensor] | None  # prediction -> (batch, ..., classes); None: no loss of such
    slope: Slope | None  # of its mean, which may take a smoothing; None: left to autograd

    def rows(self, prediction: Tensor, batch: Batch) -> Tensor: ...  # (batch,) or (batch, k), float32 or better
    def reduce(self, rows: np.ndarray) -> float: ...  # (n,) or (n, k) float64 -> one number
    def constant_risk(self, targets: np.ndarray) -> float | None: ...  # least mean over all constant predictions


class Architecture(NamedTuple):
    """What is known of the set of functions that a model can compute under a task; the defaults claim nothing.

    Where `frozen` or `affine`, `model.place(weights, bias)` puts a map into the model, and where there are `latents`
    `model.place(weights, bias, variance)` the map of those; where there are `hidden` layers, `model.embed(state)` puts
    a narrower or shallower model of the kind into it, as the same function.
    """

    frozen: bool = False  # members differ in the last layer only: body(x) is the same in all of them
    affine: bool = False  # the members are the affine maps of the inputs whose rank is at most head.in_features
    hidden: tuple[int, ...] = ()  # widths of fully connected hidden layers, linear maps and activations alone
    breakpoints: int | None = None  # of that activation, where it is piecewise linear
    rectified: bool = False  # it is max(0, .), which passes its own values on: a layer can be added
    # Inputs (n, *shape) -> what alone the members see of them: f(x) = f(canonical(x)); and what that leaves out.
    canonical: Callable[[Tensor], Tensor] | None = None
    invariance: str = ""
    latents: int = 0  # an example is an affine map of so many standard normal numbers, and noise of one variance


class Visit(NamedTuple):
    """Which examples a batch has, and how often each was seen before."""

    examples: Tensor | slice  # (batch,) indices into the training set
    epoch: int


class Task(Protocol):
    """What is predicted, what is minimized, and which loss defines the risk."""

    spec: DataSpec  # with `outputs` filled in
    phases: tuple[Phase, ...]
    metrics: Mapping[str, Metric]  # "loss" is the risk that is decomposed; "error" the 0-1 error, where there is one
    undefined: str  # why the decomposition has no meaning here, in words; "" where it has one, which needs a "loss"
    random: bool  # whether `predict` draws from the noise, so that risks carry a Monte-Carlo error
    drawn: int  # so many new examples are the predictions, held against as many given ones; 0: nothing is drawn

    def predict(self, model: nn.Module, batch: Batch, noise: Noise) -> Tensor:
        """What the metrics score, one row per example."""

    def head(self, model: nn.Module) -> nn.Linear | None:
        """The last layer, where predictions are head(model.body(inputs)), nothing bounds its weights, and the loss is
        convex in them; else None."""

    def architecture(self, model: nn.Module) -> Architecture:
        """What is known of the class of `model`, as far as this task leaves its last layer free."""

    def bounds(self, model: nn.Module, train: Split) -> tuple[Bound, ...]:
        """What is known of min_F L_tr of "loss" from the training examples, beside the floor of the metric."""

    def afterwards(self, model: nn.Module, batch: Batch, noise: Noise) -> Mapping[str, Tensor]:
        """Further losses of test examples by name, (batch,) in the unit of "loss", too dear to be evaluated often."""

    def sample(self, model: nn.Module, count: int, noise: Noise) -> Tensor:
        """New examples, (count, *spec.shape), in the numbers of the source. UsageError where nothing can be drawn."""

    def pictures(self, model: nn.Module, split: Split, noise: Noise) -> Mapping[str, np.ndarray]:
        """What there is to look at while training, (height, width, 3) uint8 by name. The noise is for 64 examples,
        the same at each look."""


class Normalization(NamedTuple):
    """One axis for every model: `wrap` reparametrizes a layer, `after` makes the module placed behind it."""

    wrap: Callable[[nn.Module], nn.Module]
    after: Callable[[int, int], nn.Module]  # (channels, spatial dimensions: 0, 1 or 2) -> module


class Parameters(Protocol):
    """The trainable numbers of one phase, laid out as one vector so that a rule is a few tensor operations.

    Matrices and convolution kernels (two or more dimensions) come first, vectors (biases, norm scales) last.
    """

    weights: Tensor  # (size,)
    gradients: Tensor  # (size,), of the mean loss of the current batch
    matrices_size: int  # weights[:matrices_size] belongs to matrices and kernels
    matrices: list[tuple[Tensor, Tensor]]  # shaped views (weight, gradient) of those


AVERAGE = "average_of_weights"


class Optimizer(Protocol):
    """An update rule over flat tensors. Its memory is a dict of tensors, so a checkpoint needs nothing else.

    What it remembers as AVERAGE, (size,), are the weights that are evaluated and saved in place of those that move.
    """

    lr: float  # base learning rate; the schedule multiplies it
    full_batch: bool  # True: the rule is defined on the whole training set (gradient descent, L-BFGS)

    def init(self, parameters: Parameters) -> dict[str, Tensor]: ...

    def update(self, parameters: Parameters, state: dict[str, Tensor], lr: float, again: Callable[[], Tensor]) -> None:
        """Move the weights in place. `again()` evaluates loss and gradients anew at the current weights,
        on the same batch with the same noise (for line searches and SAM)."""


class Progress(NamedTuple):
    """Where a run stands, as schedules see it."""

    step: int  # steps taken so far
    steps: int  # steps of the whole run
    epoch_steps: int
    validation: tuple[tuple[int, float], ...] = ()  # (step, validation risk) so far, oldest first


# (prediction, batch) -> mean loss and its gradient there; of several batches, (runs, batch, ...) each, that of each.
Slope = Callable[..., tuple["Tensor", "Tensor"]]
Schedule = Callable[[Progress], float]  # -> factor on the learning rate
Augmentation = Callable[["Tensor", Any, "Visit"], "Tensor"]  # (inputs, generator, visit) -> inputs
Initialization = Callable[["nn.Module"], None]  # draws from torch's default generator, in place


class Bound(NamedTuple):
    """One bound of min_F L_tr and where it comes from. Plain JSON, so that it can be kept in a file."""

    side: Literal["lower", "upper"]
    value: float
    kind: Literal["exact", "certified", "statistical", "heuristic"]  # a heuristic never ends an interval
    method: str  # in words, for the report: "nonnegativity", "last-layer refit"
    attained: bool | None = None  # False: an infimum that no member of F reaches; None: not known
    level: float | None = None  # confidence of a statistical bound
    witness: str = ""  # hash of the weights that reach an upper bound
    seconds: float = 0.0  # what it cost
    evidence: Mapping[str, Any] = {}  # numbers that let a reader check it
