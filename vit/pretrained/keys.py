"""What libraries call the tensors of a Vision Transformer, in tables.

Libraries also differ in how they resize positions, in the epsilon of layer norm, and in the form of GELU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

# Our key -> theirs. {i} counts blocks, and * stands for "weight" and "bias"; Flax says "kernel", or in norms
# "scale", for the first. Of (q|k|v) there are three, one after the other in one tensor of ours.
TORCHVISION = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed.proj.*": "conv_proj.*",
    "blocks.{i}.norm1.*": "encoder.layers.encoder_layer_{i}.ln_1.*",
    "blocks.{i}.attn.qkv.*": "encoder.layers.encoder_layer_{i}.self_attention.in_proj_*",
    "blocks.{i}.attn.proj.*": "encoder.layers.encoder_layer_{i}.self_attention.out_proj.*",
    "blocks.{i}.norm2.*": "encoder.layers.encoder_layer_{i}.ln_2.*",
    "blocks.{i}.mlp.fc1.*": "encoder.layers.encoder_layer_{i}.mlp.0.*",
    "blocks.{i}.mlp.fc2.*": "encoder.layers.encoder_layer_{i}.mlp.3.*",
    "norm.*": "encoder.ln.*",
    "pre_logits.fc.*": "heads.pre_logits.*",
    "head.*": "heads.head.*",
}
TORCHVISION_OLD = TORCHVISION | {  # as in the files of before 2022, which are the published ones
    "blocks.{i}.mlp.fc1.*": "encoder.layers.encoder_layer_{i}.mlp.linear_1.*",
    "blocks.{i}.mlp.fc2.*": "encoder.layers.encoder_layer_{i}.mlp.linear_2.*",
}
SCALES = [f"blocks.{{i}}.ls{k}.gamma" for k in (1, 2)]
TIMM = {ours: ours for ours in (*TORCHVISION, "reg_token", *SCALES, "fc_norm.*")}  # our names are theirs
HUGGINGFACE = {  # as in the files on the Hub; a model without a classifier has no "vit." in front
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.*": "vit.embeddings.patch_embeddings.projection.*",
    "blocks.{i}.norm1.*": "vit.encoder.layer.{i}.layernorm_before.*",
    "blocks.{i}.attn.qkv.*": "vit.encoder.layer.{i}.attention.attention.(query|key|value).*",
    "blocks.{i}.attn.proj.*": "vit.encoder.layer.{i}.attention.output.dense.*",
    "blocks.{i}.norm2.*": "vit.encoder.layer.{i}.layernorm_after.*",  # after attention, that is
    "blocks.{i}.mlp.fc1.*": "vit.encoder.layer.{i}.intermediate.dense.*",
    "blocks.{i}.mlp.fc2.*": "vit.encoder.layer.{i}.output.dense.*",
    "norm.*": "vit.layernorm.*",
    "pre_logits.fc.*": "vit.pooler.dense.*",
    "head.*": "classifier.*",
}
HUGGINGFACE_5 = HUGGINGFACE | {  # as in a model's state_dict() since transformers 5
    "blocks.{i}.norm1.*": "vit.layers.{i}.layernorm_before.*",
    "blocks.{i}.attn.qkv.*": "vit.layers.{i}.attention.(q|k|v)_proj.*",
    "blocks.{i}.attn.proj.*": "vit.layers.{i}.attention.o_proj.*",
    "blocks.{i}.norm2.*": "vit.layers.{i}.layernorm_after.*",
    "blocks.{i}.mlp.fc1.*": "vit.layers.{i}.mlp.fc1.*",
    "blocks.{i}.mlp.fc2.*": "vit.layers.{i}.mlp.fc2.*",
}
DINOV2 = HUGGINGFACE | {  # what Hugging Face's DINOv2 calls otherwise, its "dinov2." being "vit." here
    "reg_token": "vit.embeddings.register_tokens",
    "blocks.{i}.norm1.*": "vit.encoder.layer.{i}.norm1.*",
    "blocks.{i}.norm2.*": "vit.encoder.layer.{i}.norm2.*",
    "blocks.{i}.mlp.fc1.*": "vit.encoder.layer.{i}.mlp.fc1.*",
    "blocks.{i}.mlp.fc2.*": "vit.encoder.layer.{i}.mlp.fc2.*",
    SCALES[0]: "vit.encoder.layer.{i}.layer_scale1.lambda1",
    SCALES[1]: "vit.encoder.layer.{i}.layer_scale2.lambda1",
}
DINOV2_5 = DINOV2 | {
    "blocks.{i}.attn.qkv.*": "vit.encoder.layer.{i}.attention.(q|k|v)_proj.*",
    "blocks.{i}.attn.proj.*": "vit.encoder.layer.{i}.attention.o_proj.*",
}
DINOV2_META = TIMM | {"reg_token": "register_tokens"}  # as its authors name it
FLAX_ATTENTION = "Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1"
GOOGLE = {  # the numbers count the layers of a Flax block: 2 is the norm before the MLP
    "cls_token": "cls",
    "pos_embed": "Transformer/posembed_input/pos_embedding",
    "patch_embed.proj.*": "embedding/*",
    "blocks.{i}.norm1.*": "Transformer/encoderblock_{i}/LayerNorm_0/*",
    "blocks.{i}.attn.qkv.*": f"{FLAX_ATTENTION}/(query|key|value)/*",
    "blocks.{i}.attn.proj.*": f"{FLAX_ATTENTION}/out/*",
    "blocks.{i}.norm2.*": "Transformer/encoderblock_{i}/LayerNorm_2/*",
    "blocks.{i}.mlp.fc1.*": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/*",
    "blocks.{i}.mlp.fc2.*": "Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/*",
    "norm.*": "Transformer/encoder_norm/*",
    "pre_logits.fc.*": "pre_logits/*",
    "head.*": "head/*",
}
# All of such a part may be absent.
OPTIONAL = ("cls_token", "reg_token", "qkv.bias", "ls1.", "ls2.", "pre_logits.", "head.", "fc_norm.")
UNUSED = ("mask_token", "vit.embeddings.mask_token")  # what patches were hidden by while DINOv2 learned
PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile, and a model inside another


@dataclass(frozen=True)
class Source:
    """A library's habits."""

    keys: dict[str, str]
    resize: dict[str, Any]  # of positions: arguments of `F.interpolate`
    norm_eps: float = 1e-6
    gelu: Literal["none", "tanh"] = "none"  # PyTorch's words: "none" is the exact form
    flax: bool = False  # inputs before outputs, and heads apart


SOURCES = {
    "timm": Source(TIMM, {"mode": "bicubic", "antialias": True}),
    "torchvision": Source(TORCHVISION, {"mode": "bicubic", "align_corners": True}),
    "torchvision-old": Source(TORCHVISION_OLD, {"mode": "bicubic", "align_corners": True}),
    "huggingface": Source(HUGGINGFACE, {"mode": "bicubic"}, norm_eps=1e-12),
    "huggingface-5": Source(HUGGINGFACE_5, {"mode": "bicubic"}, norm_eps=1e-12),
    "dinov2": Source(DINOV2, {"mode": "bicubic"}),
    "dinov2-5": Source(DINOV2_5, {"mode": "bicubic"}),
    # Its own code adds 0.1 to the new grid's sides, which shifts the table by a hair; the others do not.
    "dinov2-meta": Source(DINOV2_META, {"mode": "bicubic"}),
    # scipy.ndimage.zoom(order=1) in the original, which puts corners on corners: this is the same.
    "google": Source(GOOGLE, {"mode": "bilinear", "align_corners": True}, gelu="tanh", flax=True),
}


def key_map(source: str, depth: int) -> dict[str, tuple[str, ...]]:
    """Every key of our state dict -> the key in `source` that holds it, or the three of q, k and v."""
    keys = {}
    for ours, theirs in SOURCES[source].keys.items():
        before, _, rest = theirs.partition("(")
        apart, _, after = rest.partition(")")
        names = [before + part + after for part in apart.split("|")]
        for i in range(depth if "{i}" in ours else 1):
            for end in ("weight", "bias") if "*" in ours else ("",):
                flax = "scale" if "norm" in ours else "kernel"
                their_end = flax if SOURCES[source].flax and end == "weight" else end
                full = (name.format(i=i).replace("*", their_end) for name in names)
                keys[ours.format(i=i).replace("*", end)] = tuple(full)
    return keys


def full_names(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hugging Face's keys with "vit." in front: models without classifier lack it, DINOv2 has its own."""
    for name in ("", "dinov2.", "dinov2_with_registers."):
        if f"{name}embeddings.cls_token" in state:
            bodies = {key: f"vit.{key.removeprefix(name)}" for key in state if key.startswith(name)}
            return {bodies.get(key, key): value for key, value in state.items()}
    return state


def find_source(state: Mapping[str, Any]) -> str:
    """The name in `SOURCES` of the library that a state dict comes from, told by its keys.

    Raises:
        ValueError: if it is none of them.
    """
    state = full_names(state)
    if "mask_token" in state or "register_tokens" in state:
        return "dinov2-meta"
    telling = ("blocks.0.norm1.bias", "blocks.0.attn.proj.weight", "blocks.0.mlp.fc2.weight")
    keys = {source: [key_map(source, 1)[ours][0] in state for ours in telling] for source in SOURCES}
    for enough in (all, any):  # with `any`, a file that lacks something is told what it lacks
        for source in SOURCES:
            if enough(keys[source]):
                return source
    raise ValueError(
        f"expected weights of a Vision Transformer from {', '.join(SOURCES)}, got the keys "
        f"{', '.join(sorted(state)[:4])} ..."
    )
