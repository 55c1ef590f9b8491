"""What a size costs, from the configuration alone: arithmetic, memory, and traffic between processes.

Legend: T tokens, D width, M hidden width of the MLP, h heads, L depth. Sizes are in bytes, times in seconds.
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


def training_flops(config: ViTConfig, images: int = 1) -> int:
    """FLOPs of forward and backward passes over so many images.

    Each product of the forward pass comes back twice, once for the gradient of either factor, but the patch
    projection once: no one asks for the gradient of the pixels. What is computed again to save memory is left
    out, as in model FLOPs utilisation (Chowdhery et al., 2022, appendix B).
    """
    macs = count_macs(config)
    return 2 * images * (3 * sum(macs.values()) - macs["patch_embed"])


def _block_parameters(config: ViTConfig) -> int:
    d, hidden = config.embed_dim, config.mlp_dim
    norms, attention = 4 * d, 3 * d * d + 3 * d * config.qkv_bias + d * d + d
    scales = 0 if config.init_values is None else 2 * d
    return norms + attention + scales + 2 * d * hidden + hidden + d


def count_parameters(config: ViTConfig) -> int:
    """Learned numbers of the model: weights, biases, class token, registers, positions."""
    d = config.embed_dim
    count = config.depth * _block_parameters(config) + 2 * d  # the final norm
    count += config.patch_size**2 * config.in_chans * d + d + config.num_prefix_tokens * d
    count += config.num_tokens * d if config.pos_embed == "learned" else 0
    count += d * d + d if config.head == "mlp" else 0
    return count + (0 if config.head == "none" else (d + 1) * config.num_classes)


def activation_bytes(config: ViTConfig, batch: int = 1, *, fused: bool = True, bf16: bool = True) -> int:
    """Bytes that autograd keeps of `batch` images, from the forward pass until the backward pass.

    Under autocast (`bf16`) what enters a matrix product or GELU takes two bytes, what enters a norm four.
    Explicit attention keeps its T×T weights, fused attention one number for each row of them. Dropout and
    stochastic depth, which keep their masks, are not counted, and neither is the loss.
    """
    n, d, heads = config.num_tokens, config.embed_dim, config.num_heads
    narrow = 2 if bf16 else 4
    # Inputs of qkv, proj and fc1, then q, k and v: 6 D. Inputs of GELU and fc2: 2 M.
    token = narrow * (6 * d + 2 * config.mlp_dim)
    token += 4 * (2 * d + 4)  # inputs of both norms, each with its mean and deviation
    token += 4 * heads if fused else narrow * heads * n
    token += 0 if config.init_values is None else 2 * narrow * d  # what LayerScale multiplies
    # The class token is a view, and a view keeps all that it is cut from; autocast makes a copy.
    view = config.global_pool == "token"
    kept = config.depth * n * token
    kept += 4 * ((n if view else 1) * d + 2) if config.fc_norm else 4 * n * (d + 2)  # the final norm
    kept += narrow * config.in_chans * config.img_size[0] * config.img_size[1]
    if config.head != "none":
        view = view and not bf16 and not config.fc_norm
        kept += narrow * (n * d if view else d) + (narrow * d if config.head == "mlp" else 0)
    return batch * kept


def training_memory(
    config: ViTConfig, batch: int, world: int = 1, *, sharded: bool = False, fused: bool = True
) -> dict[str, int]:
    """Bytes on each of `world` GPUs, by purpose, for AdamW under bf16 autocast with `batch` images on each.

    A parameter costs 4 (fp32 weight) + 4 (gradient) + 8 (two moments) + 2 (bf16 copy). Replicated (DDP),
    every GPU holds it all. `sharded` (FSDP, that is ZeRO stage 3: Rajbhandari et al., 2020, section 5.3),
    each holds 1/world of the first three, and the copies of two blocks only: the one at work, and the next.
    """
    count, parts = count_parameters(config), world if sharded else 1
    return {
        "weights": -(-4 * count // parts),
        "gradients": -(-4 * count // parts),
        "moments": -(-8 * count // parts),
        "bf16 copies": 2 * (2 * _block_parameters(config) if sharded else count),
        "activations": activation_bytes(config, batch, fused=fused),
    }


def ring_bytes(nbytes: float, world: int) -> float:
    """Bytes that each of `world` processes sends in a ring all-reduce of `nbytes`.

    It is the least possible (Patarasuk and Yuan, 2009). An all-gather or a reduce-scatter sends one half.
    """
    return 2 * nbytes * (world - 1) / world


def traffic(parameters: int, world: int, *, sharded: bool = False, weight_bytes: int = 2) -> float:
    """Bytes that each process sends for one step, of one backward pass, over rings; gradients have 4 bytes.

    Replicated (DDP): an all-reduce of the gradients. `sharded` (FSDP): an all-gather of the weights before
    the forward and again before the backward pass, and a reduce-scatter of the gradients.
    """
    once = ring_bytes(parameters, world) / 2  # to gather or to scatter one byte for every parameter
    return once * (2 * weight_bytes + 4 if sharded else 2 * 4)


def step_seconds(
    flops: float, nbytes: float, *, peak: float, utilisation: float, bandwidth: float, hidden: float = 0.0
) -> float:
    """Time of a step in which a process does `flops` and sends `nbytes`.

    Args:
        flops: what it computes, per process and step.
        nbytes: what it sends, per process and step.
        peak: what the processor does at best, FLOP/s.
        utilisation: the part of it that the model reaches, 0 to 1.
        bandwidth: bytes per second in one direction, for each process.
        hidden: part of the computing time, 0 to 1, during which messages may already travel: 0 if it first
            computes, then sends; 2/3 if it sends during the backward pass, as DDP does.
    """
    compute = flops / (peak * utilisation)
    return compute + max(0.0, nbytes / bandwidth - hidden * compute)
