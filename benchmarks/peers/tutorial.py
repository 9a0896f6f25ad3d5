"""The loop of the tutorials: a DataLoader over tensors, Adam as it comes."""

from itertools import islice

import torch
from serve import serve
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torch_models import BATCH, build, clip, optimizer


def forever(loader):
    while True:
        yield from loader


def prepare(task, inputs, targets, clock):
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets))
    model = build(task, data.tensors[1])
    rule = optimizer(task, model)
    batches = forever(DataLoader(data, batch_size=BATCH[task], shuffle=True))

    def advance(steps):
        total = 0.0
        with clock.running():
            for some, wanted in islice(batches, steps):
                rule.zero_grad()
                loss = cross_entropy(model(some), wanted)
                loss.backward()
                clip(task, model)
                rule.step()
                total += loss.item()
        return total / steps

    return advance


if __name__ == "__main__":
    serve(prepare, "torch")
