"""The training loop's body: one optimiser step, one validation, and a state that can be saved.

A step is a function of the state before it and of `(seed, step)`: order, augmentation, mixing, dropout and
stochastic depth draw from random numbers that start anew at each step. So a run that is saved and continued
gives the weights of one that never stopped, without saving any random state.

Legend: B batch, S image side, K classes, D width, T tokens.
"""

import copy
import math
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vit.data.images import FileImages, Images, Preprocessing, batches
from vit.data.sets import Dataset
from vit.inference.weights import renamed
from vit.model import VisionTransformer, create_model
from vit.positions import interpolate_positions
from vit.training.augment import Augment, hashed, reseed
from vit.training.mimetic import mimetic_init
from vit.training.optim import bf16_pays, build_optimizers
from vit.training.recipe import Recipe


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    images: Images,
    preprocessing: Preprocessing,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    batch_size: int = 256,
    rank: int = 0,
    world: int = 1,
) -> dict[str, float]:
    """Loss (nats per image) and accuracy (0 to 1) of `model` on a set, and `correct` of `count` images."""
    was_training, device = model.training, torch.device(device)
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64)  # loss, correct, count
    for pixels, labels in batches(images, batch_size, rank, world):
        labels = labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(preprocessing.normalise(pixels.to(device))).float()  # (B, K)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        sums += torch.stack([loss, (logits.argmax(1) == labels).sum(), logits.new_tensor(len(labels))]).cpu()
    model.train(was_training)
    if world > 1:
        sums = sums.to(device) if device.type == "cuda" else sums
        dist.all_reduce(sums)
    loss, correct, count = sums.tolist()
    return {"loss": loss / count, "accuracy": correct / count, "correct": int(correct), "count": int(count)}


class Trainer:
    """A model, its optimiser and a data set, `step` optimiser steps into a recipe.

    Started by `torchrun`, processes share each batch: it is cut into parts, and each process takes its own.

    Raises:
        ValueError: if the batch cannot be cut into equal parts, or `model` does not fit the data.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        device: torch.device | str = "cpu",
        model: VisionTransformer | None = None,
        preprocessing: Preprocessing | None = None,
    ):
        self.recipe, self.data, self.device = recipe, data, torch.device(device)
        spread = dist.is_available() and dist.is_initialized()
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if spread else (0, 1)
        self.parts = max(recipe.accumulate, self.world)
        self.batch = min(recipe.batch_size, len(data.train) // self.parts * self.parts)
        if self.parts % self.world or self.batch % self.parts or not self.batch:
            raise ValueError(
                f"cannot cut batches of {recipe.batch_size} ({len(data.train)} training images) into "
                f"{self.parts} equal parts for {self.world} process(es)"
            )
        self.per_epoch = len(data.train) // self.batch  # the rest is left out, another one each time
        self.total = recipe.epochs * self.per_epoch
        self.bf16 = bf16_pays(self.device) if recipe.bf16 is None else recipe.bf16
        self.preprocessing = preprocessing or data.preprocessing(recipe.img_size)
        self.augment = Augment(recipe, self.preprocessing, len(data.classes))
        self.train_images, self.val_images = data.train.to(self.device), data.val.to(self.device)

        if model is None:
            reseed(recipe.seed, "weights")
            sizes = {"img_size": recipe.img_size, "num_classes": len(data.classes)}
            try:
                model = create_model(recipe.model, **sizes | renamed(recipe.model_options))
            except TypeError as error:
                raise ValueError(f"model_options {recipe.model_options}: {error}") from None
            if recipe.mimetic:
                mimetic_init(model)
        pixels, _ = self.train_images.batch(torch.tensor([0]))  # (1, C, S, S)
        config, C, S = model.config, pixels.shape[1], recipe.img_size
        K = 0 if getattr(config, "head", "") == "none" else config.num_classes
        if (K, config.in_chans, config.img_size) != (len(data.classes), C, (S, S)):
            raise ValueError(
                f"expected a model for {len(data.classes)} classes, {C} channels and {S} pixels, got {K}, "
                f"{config.in_chans} and {config.img_size}"
            )
        self.model = model.to(self.device).train()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False) if recipe.ema else None
        self.optimizers = build_optimizers(self.model, recipe)
        self.optimizer = self.optimizers[0]
        self.step = 0
        self.totals = torch.zeros(3, device=self.device)  # of this epoch: loss · images, correct, images
        self._wrap()
        self._pool = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future] | None = None

    def _wrap(self) -> None:
        """Build the callable that is trained: the model, shared and compiled as asked."""
        self.forward: nn.Module = self.model
        if self.world > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.forward = DistributedDataParallel(self.model, device_ids=ids)
        if self.recipe.compile:
            self.forward = torch.compile(self.forward)

    def set_size(self, size: int) -> None:
        """Go on with images of another side: positions are interpolated, and so is Adam's memory of them.

        A sine-cosine table stays the finished model's, seen at another size: it was made for `img_size`.
        """
        before, old = self.model.config, self.model.pos_embed
        for model in filter(None, (self.model, self.average)):
            model.set_input_size(size)
        after, new = self.model.config, self.model.pos_embed
        if isinstance(new, nn.Parameter):
            for group in self.optimizer.param_groups:
                group["params"] = [new if p is old else p for p in group["params"]]
            state = self.optimizer.state.pop(old, {})
            for key in state.keys() & {"exp_avg", "exp_avg_sq"}:
                grids = before.grid_size, after.grid_size
                resized = interpolate_positions(state[key], *grids, before.num_prefix_tokens)
                # Bicubic can undershoot, and a mean of squares is not negative.
                state[key] = resized.clamp(min=0) if key == "exp_avg_sq" else resized
            if state:
                self.optimizer.state[new] = state
        self._wrap()

    def share(self) -> None:
        """Weights that were set from outside, in the other processes and in the average, too."""
        for p in self.model.parameters() if self.world > 1 else ():
            dist.broadcast(p.data, 0)
        if self.average is not None:
            self.average.load_state_dict(self.model.state_dict())

    def _fetch(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """This process's parts of the batch of a step: pairs `(b, 3, S, S)` uint8 and `(b,)`."""
        epoch, position = divmod(step, self.per_epoch)
        order = torch.Generator().manual_seed(hashed(self.recipe.seed, "order", epoch))
        index = torch.randperm(len(self.train_images), generator=order)
        index = index[position * self.batch : (position + 1) * self.batch]
        return [self.train_images.batch(part) for part in index.chunk(self.parts)[self.rank :: self.world]]

    def _next(self) -> list[tuple[Tensor, Tensor]]:
        """The same for the step at hand; files of the next step are decoded meanwhile."""
        if not isinstance(self.train_images, FileImages):
            return self._fetch(self.step)
        ready, self._ahead = self._ahead, None
        parts = ready[1].result() if ready and ready[0] == self.step else self._fetch(self.step)
        if self.step + 1 < self.total:
            self._ahead = self.step + 1, self._pool.submit(self._fetch, self.step + 1)
        return parts

    def train_step(self) -> None:
        """One step of the optimiser over one batch."""
        r, progress = self.recipe, self.step / self.total
        size = r.size_at(progress)
        if self.model.config.img_size != (size, size):
            self.set_size(size)
        for group in [g for optimizer in self.optimizers for g in optimizer.param_groups]:
            group["lr"] = r.lr_at((self.step + 1) / self.total) * group.get("lr_scale", 1.0)
        mine = self._next()
        for i, (pixels, labels) in enumerate(mine):
            part = self.rank + i * self.world
            pixels, labels = pixels.to(self.device), labels.to(self.device)
            pixels = self.augment.images(pixels, size, self.step, first=part * len(labels))
            reseed(r.seed, self.step, "step", part)  # for mixing, dropout and stochastic depth
            inputs, targets = self.augment.mix(self.preprocessing.normalise(pixels), labels)
            apart = self.world > 1 and i + 1 < len(mine)  # gradients are exchanged once, with the last part
            with self.forward.no_sync() if apart else nullcontext():
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    logits = self.forward(inputs)  # (b, K)
                loss = F.cross_entropy(logits.float(), targets, label_smoothing=r.label_smoothing)
                (loss / len(mine)).backward()
            with torch.no_grad():
                right = targets.argmax(1) if targets.ndim == 2 else targets
                correct = (logits.argmax(1) == right).sum()
                self.totals += torch.stack([loss * len(labels), correct, correct.new_tensor(len(labels))])
        nn.utils.clip_grad_norm_(self.model.parameters(), r.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            # Early on the average must not remember the random start: it covers a tenth of the steps so far.
            decay = min(r.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for kept, p in zip(self.average.parameters(), self.model.parameters(), strict=True):
                    kept.lerp_(p, 1 - decay)

    def _sum(self) -> Tensor:
        """The totals of all processes together, `(3,)`."""
        totals = self.totals.clone()
        if self.world > 1:
            dist.all_reduce(totals)
        return totals

    def progress(self) -> tuple[float, float]:
        """Mean training loss and accuracy of this epoch so far, on augmented images and over all processes.

        Raises:
            ValueError: if the loss is no longer a number.
        """
        loss, correct, count = self._sum().tolist()
        if not count:
            return 0.0, 0.0
        if not math.isfinite(loss):
            says = f"the loss is no longer a number at step {self.step}: try a smaller lr, or bf16=false"
            raise ValueError(says)
        return loss / count, correct / count

    def finished_model(self) -> VisionTransformer:
        """A copy of what would be used if training stopped here: the average, at the full size."""
        model = copy.deepcopy(self.average if self.average is not None else self.model).eval()
        if model.config.img_size != (self.recipe.img_size,) * 2:
            model.set_input_size(self.recipe.img_size)
        return model

    def end_epoch(self) -> tuple[dict[str, float], VisionTransformer]:
        """Close the books of an epoch: a row of metrics, validation included, and the model validated."""
        loss, accuracy = self.progress()
        self.totals.zero_()
        model, spread = self.finished_model(), {"rank": self.rank, "world": self.world}
        val = evaluate(model, self.val_images, self.preprocessing, self.device, self.bf16, **spread)
        lr, size = self.optimizer.param_groups[0]["lr"], self.model.config.img_size[0]
        row = {"epoch": self.step // self.per_epoch, "step": self.step, "lr": lr, "img_size": size}
        row |= {"train_loss": loss, "train_accuracy": accuracy}
        return row | {"val_loss": val["loss"], "val_accuracy": val["accuracy"]}, model

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on from here; all processes must ask for it together."""
        return {
            "step": self.step,
            "img_size": self.model.config.img_size[0],
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "totals": self._sum(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that a trainer with the same recipe and data saved."""
        if self.model.config.img_size[0] != state["img_size"]:
            self.set_size(state["img_size"])
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.totals.copy_(state["totals"]).mul_(self.rank == 0)  # they are added up again
        self.step = state["step"]
