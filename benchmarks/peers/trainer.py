"""The Trainer of Hugging Face transformers."""

import tempfile

import torch
from serve import serve
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from torch_models import BATCH, CLIP, build
from transformers import Trainer, TrainerCallback, TrainingArguments


class Rows(Dataset):
    def __init__(self, inputs, targets):
        self.inputs, self.targets = torch.from_numpy(inputs), torch.from_numpy(targets)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return {"inputs": self.inputs[index], "labels": self.targets[index]}


class Scored(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs, labels):
        scores = self.model(inputs)
        return {"loss": cross_entropy(scores, labels), "logits": scores}


class Timed(TrainerCallback):
    def __init__(self, clock):
        self.on_train_begin, self.on_train_end = (lambda *_, **__: clock.start()), (lambda *_, **__: clock.stop())


def prepare(task, inputs, targets, clock):
    rows = Rows(inputs, targets)
    model = Scored(build(task, rows.targets))

    def advance(steps):
        with tempfile.TemporaryDirectory() as folder:
            decay = {"adam_beta2": 0.99, "weight_decay": 0.1} if task == "transformer" else {}
            settings = TrainingArguments(
                folder,
                max_steps=steps,
                per_device_train_batch_size=BATCH[task],
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                max_grad_norm=CLIP.get(task, 0.0),
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                logging_steps=steps,
                **decay,
            )
            return Trainer(model, settings, train_dataset=rows, callbacks=[Timed(clock)]).train().training_loss

    return advance


if __name__ == "__main__":
    serve(prepare, "torch", "transformers")
