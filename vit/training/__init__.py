"""How a model learns.

`recipe`: every setting, and the named recipes. `augment`: what is done to the pictures. `trainer`: one step.
`plan`: what it will cost. `run`: a whole run and its folder. `checkpoint`: what it goes on from after a stop.
"""

from vit.training.augment import Augment, hashed, reseed
from vit.training.checkpoint import LAST, hardware, read_checkpoint
from vit.training.recipe import RECIPES, Recipe, get_recipe, hidden_matrices, parameter_groups
from vit.training.run import train
from vit.training.trainer import Trainer, bf16_pays, evaluate

__all__ = [
    "LAST",
    "RECIPES",
    "Augment",
    "Recipe",
    "Trainer",
    "bf16_pays",
    "evaluate",
    "get_recipe",
    "hardware",
    "hashed",
    "hidden_matrices",
    "parameter_groups",
    "read_checkpoint",
    "reseed",
    "train",
]
