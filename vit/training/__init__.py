"""How a model learns.

`recipe`: every setting, and the named recipes. `plan`: sizes that follow the data, and what it will cost.
`augment`: what is done to the pictures. `mimetic`: a start for attention. `optim`: AdamW and Muon. `trainer`:
one step. `finetune`: going on from a trained model. `run`: a whole run; `checkpoint`: its folder; `signals`:
how it stops; `baselines`: what it must be better than.
"""

from vit.training.augment import Augment, hashed, reseed
from vit.training.checkpoint import LAST, hardware, read_checkpoint
from vit.training.optim import bf16_pays, hidden_matrices, parameter_groups
from vit.training.recipe import RECIPES, Recipe, get_recipe
from vit.training.run import train
from vit.training.trainer import Trainer, evaluate

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
