"""What a model sees.

`files`: one picture file, decoded. `folders`: which folders are parts and classes, and what is in them.
`images`: a set in memory, a set on disk. `shapes`: an endless data set that is drawn. `sets`: photographs,
`shapes`, CIFAR-10 and folders of images, each with training, validation and test parts.
"""

from vit.data.files import decode
from vit.data.images import FileImages, MemoryImages, Preprocessing
from vit.data.sets import PHOTOGRAPHS, Dataset, load_data, photograph, photograph_cuts

__all__ = [
    "PHOTOGRAPHS",
    "Dataset",
    "FileImages",
    "MemoryImages",
    "Preprocessing",
    "decode",
    "load_data",
    "photograph",
    "photograph_cuts",
]
