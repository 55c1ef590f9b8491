"""What a size costs: multiply-accumulates of a forward pass, from the configuration alone.

Legend: N tokens, D width, L depth.
"""

from vit.config import ViTConfig


def count_macs(config: ViTConfig) -> dict[str, int]:
    """Multiply-accumulates of one forward pass of one image, by part (two FLOPs each).

    Only matrix products are counted, as FLOP counters do: norms, softmax, GELU and additions are left out.
    """
    n, d, depth = config.num_tokens, config.embed_dim, config.depth
    macs = {
        "patch_embed": config.num_patches * config.patch_size**2 * config.in_chans * d,
        "attn.qkv": depth * n * d * 3 * d,
        "attn.scores": depth * n * n * d,  # q·k for every pair, all heads together
        "attn.values": depth * n * n * d,  # the weighted sums of v
        "attn.proj": depth * n * d * d,
        "mlp": depth * n * 2 * d * config.mlp_dim,
    }
    if config.head != "none":
        macs["head"] = d * config.num_classes + (d * d if config.head == "mlp" else 0)
    return macs
