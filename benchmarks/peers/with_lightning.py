"""Lightning as it comes: progress bar, logger and checkpoint of its defaults, in a folder that is thrown away."""

import tempfile

import lightning
import torch
from serve import serve
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torch_models import BATCH, CLIP, build, optimizer


class Module(lightning.LightningModule):
    def __init__(self, task, targets):
        super().__init__()
        self.task, self.model = task, build(task, targets)

    def training_step(self, batch, _):
        loss = cross_entropy(self.model(batch[0]), batch[1])
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return optimizer(self.task, self)


class Timed(lightning.Callback):
    def __init__(self, clock):
        self.clock = clock

    def on_train_start(self, *_):
        self.clock.start()

    def on_train_epoch_end(self, *_):
        self.clock.stop()


def prepare(task, inputs, targets, clock):
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets))
    module = Module(task, data.tensors[1])

    def advance(steps):
        with tempfile.TemporaryDirectory() as folder:
            trainer = lightning.Trainer(
                accelerator="cpu",
                max_epochs=1,
                limit_train_batches=steps,
                gradient_clip_val=CLIP.get(task),
                callbacks=[Timed(clock)],
                default_root_dir=folder,
                enable_model_summary=False,
            )
            trainer.fit(module, DataLoader(data, batch_size=BATCH[task], shuffle=True))
        return trainer.callback_metrics["loss"]

    return advance


if __name__ == "__main__":
    serve(prepare, "torch", "lightning")
