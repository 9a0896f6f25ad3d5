"""Update rules over flat vectors.

Each is elementwise on `parameters.weights` (..., size), with reductions over the last dimension only and
hyper-parameters that may be tensors (runs, 1), so that one rule serves a single run and a stack of runs alike.
None imports `torch.optim`, which would bring in a compiler that costs seconds at start.
"""
