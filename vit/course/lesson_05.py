"""Exercises of lesson 5: the whole model."""

import torch
import torch.nn.functional as F

from vit.config import get_config
from vit.cost import count_parameters
from vit.course.exercise import Lesson
from vit.course.inputs import noisy, tiny
from vit.model import VisionTransformer, create_model
from vit.patches import patchify

exercise = Lesson(5)


def from_memory():
    yield noisy(create_model("vit_nano_4"), 0.05).state_dict(), torch.rand(2, 3, 32, 32)


def loaded(answer, state, images):
    with torch.no_grad():
        model = answer()
        model.load_state_dict(state)
        return model.eval()(images)


class Model(VisionTransformer):
    """A ViT with the names of this lesson, built without arguments.

    32 pixels, patches of 4, D = 128, six blocks of four heads and an MLP of 256, ten classes.
    """

    def __init__(self):
        with torch.device("meta"):  # the numbers are loaded
            super().__init__(get_config("vit_nano_4"))
        self.to_empty(device="cpu")


Model.__name__ = "Yours"
Yours = exercise(
    1, from_memory, probe=loaded, atol=1e-4, notice="Every tensor found its place, and does what it should."
)(Model)


@Yours.mistake("The class token went to the end. It stands first, and the first position is its own.")
class _(Model):
    def embed(self, images):
        patches = self.patch_embed(images)
        x = torch.cat([patches, self.cls_token.expand(len(images), -1, -1)], dim=1) + self.pos_embed
        return torch.cat([x[:, -1:], x[:, :-1]], dim=1)


@Yours.mistake("The last norm is made and not used, between the blocks and the head.")
class _(Model):
    def forward_features(self, images):
        return self.blocks[5](self._before(images))

    def _before(self, images):
        x = self.embed(images)
        for block in self.blocks[:5]:
            x = block(x)
        return x


@Yours.mistake("You averaged the tokens. Here the head reads the class token, which is number 0.")
class _(Model):
    def forward_head(self, x, pre_logits=False):
        return self.head(x.mean(1))


@Yours.mistake("The blocks forget what came in: each branch is added to its input, and does not replace it.")
class _(Model):
    def forward_features(self, images):
        x = self.embed(images)
        for block in self.blocks:
            x = block.mlp(block.norm2(block.attn(block.norm1(x))))
        return self.norm(x)


@Yours.mistake("The positions are made and not added.")
class _(Model):
    def embed(self, images):
        return super().embed(images) - self.pos_embed


TOY = torch.tensor([[1.0, 1, 0, 2], [1, 1, 0, 2], [2, 2, 0, 1], [0, 0, 1, 2]])
SEES = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])


def toy_images():
    flat = TOY.clone()
    flat[2:, :2] = 1
    yield from [(TOY,), (flat,), (torch.randint(0, 4, (4, 4)).float(),)]


def normed(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def toy_model(image, D=3, first=normed, last=normed):
    """Scores of the lesson's toy with D components."""
    tokens = patchify(image[None, None], 2)[0] @ F.pad(SEES, (0, D - 2))
    z = torch.cat([torch.zeros(1, D), tokens])
    y = last(first(z).mean(0))
    return y[0], -y[1]


@exercise(2, toy_images, atol=1e-4, notice="The tie is gone, and the missing edge is noticed.")
def scores(image):
    """The toy's two scores, vertical and horizontal, for an image (4, 4), with a third component of zeros."""
    return toy_model(image)


scores.mistake(
    "Your norms still see two components, so that all that is left of a token is a sign.",
    lambda image: toy_model(image, 2),
)
scores.mistake("The final norm is missing.", lambda image: toy_model(image, last=lambda x: x))
scores.mistake(
    "The norm before attention is missing: large tokens count for more.",
    lambda image: toy_model(image, first=lambda x: x),
)
scores.mistake("You exchanged the two scores.", lambda image: toy_model(image)[::-1])


def million(answer):
    deep, wide = (getattr(item, "config", item) for item in answer())  # of models, too
    sizes = [count_parameters(config) for config in (deep, wide)]
    return {
        "both are for 32 pixels and ten classes": all(
            (config.img_size, config.num_classes) == ((32, 32), 10) for config in (deep, wide)
        ),
        "both have more than 900,000 parameters": min(sizes) > 900_000,
        "both have less than a million": max(sizes) < 1_000_000,
        "deep has more blocks than wide": deep.depth > wide.depth,
    }


def pair(deep, wide):
    return lambda: [get_config("vit_nano_4", embed_dim=D, depth=L, num_heads=3) for D, L in (deep, wide)]


@exercise(3, probe=million, notice="Which is better no counting can say: training them decides.")
def designs():
    """(deep, wide): two configs, or models, of 900,000 to a million parameters, for 32 pixels and ten
    classes."""
    return pair((96, 12), (192, 3))()


designs.mistake("Both are in the budget, but deep has no more blocks than wide.", pair((192, 3), (192, 3)))
designs.mistake(
    "One is too large: 8D²L, so half the depth pays for a width that is only √2 times as large.",
    pair((96, 12), (192, 6)),
)
designs.mistake("One is too small: there is money left.", pair((96, 12), (192, 2)))


def pooled():
    model = tiny(class_token=False, global_pool="avg", fc_norm=True)
    model.norm, model.fc_norm = model.fc_norm, model.norm
    for B in (2, 3):
        yield model, torch.randn(B, 3, 16, 16)


def after_blocks(model, images):
    x = model.embed(images)
    for block in model.blocks:
        x = block(x)
    return x


@exercise(4, pooled, notice="This is timm's order. In vit, the field fc_norm asks for it.")
def mean_then_norm(model, images):
    """Logits (B, K) of a mean-pooled model that averages after the blocks, and then applies model.norm."""
    return model.head(model.norm(after_blocks(model, images).mean(1)))


mean_then_norm.mistake(
    "You applied the norm and then averaged, which is our order and the paper's.",
    lambda model, images: model.head(model.norm(after_blocks(model, images)).mean(1)),
)
mean_then_norm.mistake(
    "The norm is missing.", lambda model, images: model.head(after_blocks(model, images).mean(1))
)
mean_then_norm.mistake(
    "You read token 0. This model has no class token: it averages.",
    lambda model, images: model.head(model.norm(after_blocks(model, images)[:, 0])),
)


def registers():
    model = tiny()
    for B, R in ((2, 4), (1, 1)):
        yield model, torch.randn(B, 3, 16, 16), torch.randn(1, R, 16)


def run_with(model, images, registers, where, keep=True):
    x, extra = model.embed(images), registers.expand(len(images), -1, -1)
    x = torch.cat([x[:, :where], extra, x[:, where:]], dim=1)
    for block in model.blocks:
        x = block(x if keep else x[:, :5])
    return model.forward_head(model.norm(x))


@exercise(5, registers, notice="Nobody reads them at the end, but all the others have looked at them.")
def with_registers(model, images, registers):
    """Logits of a model whose tokens are followed by registers (1, R, D), through all blocks."""
    return run_with(model, images, registers, 5)


with_registers.mistake(
    "The registers went first, so the head reads one of them in place of the class token.",
    lambda model, images, registers: run_with(model, images, registers, 0),
)
with_registers.mistake(
    "The registers are thrown away before a block has seen them.",
    lambda model, images, registers: run_with(model, images, registers, 5, keep=False),
)
with_registers.mistake(
    "Positions were added to the registers. They stand for no place.",
    lambda model, images, registers: run_with(
        model, images, registers + model.pos_embed[:, : registers.shape[1]], 5
    ),
)


def saving():
    yield tiny(), torch.rand(8, 3, 16, 16)
    yield tiny(depth=3), torch.rand(4, 3, 16, 16)


def saved(model, images, parameters=False, shared=False):
    """Bytes of what autograd keeps; with parameters, or with what shares a storage counted as often as
    it is kept."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(images)
    places = [(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) for t in kept]
    places = [place for place in places if parameters or place[0] not in own]
    del logits
    return sum(size for _, size in (places if shared else set(places)))


@exercise(6, saving, notice="It grows with the batch: a few images outweigh the model.")
def saved_bytes(model, images):
    """The bytes that model(images) keeps for the backward pass: no storage twice, and no parameters."""
    return saved(model, images)


saved_bytes.mistake("You counted the parameters, too.", lambda model, images: saved(model, images, True))
saved_bytes.mistake(
    "You counted what shares a storage more than once.",
    lambda model, images: saved(model, images, shared=True),
)
saved_bytes.mistake(
    "You counted storages twice, and the parameters besides.",
    lambda model, images: saved(model, images, True, True),
)
