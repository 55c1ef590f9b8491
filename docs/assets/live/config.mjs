// vit/config.py and vit/cost.py a second time: what the package refuses, in its own words, and what a size costs.
// tests/test_live.py holds both against the package, number by number and letter by letter.

// A Python number as Python prints it: 1e-07 where JavaScript says 1e-7.
const py = (v) => (Array.isArray(v) ? `(${v.map(py).join(", ")})` : typeof v === "string" ? `'${v}'` : v === true ? "True" : v === false ? "False" : v === null ? "None"
  : String(v).replace(/e([+-])(\d)$/, "e$10$2"))

const KINDS = { pos_embed: ["none", "learned", "sincos1d", "sincos2d"], global_pool: ["token", "avg"], head: ["linear", "mlp", "none"], gelu: ["none", "tanh"] }

// A configuration made whole, as ViTConfig does it: `given` are its fields, `defaults` what it has for the others.
// Throws an Error with the package's message.
export function configure(given, defaults) {
  const c = { ...defaults, ...given }
  const refuse = (message) => {
    throw new Error(message)
  }
  for (const name of ["img_size", "patch_size", "pos_size"]) {
    const size = c[name]
    c[name] = Number.isInteger(size) ? [size, size] : size
    if (size !== null && (c[name].length !== 2 || Math.min(...c[name]) <= 0)) refuse(`${name} must be a positive int or (height, width), got ${py(size)}`)
  }
  const [P, other] = c.patch_size
  if (other !== P) refuse(`patches are square: expected patch_size to be one side, got ${P}x${other}`)
  if (!String(c.pos_embed).includes("sincos") || String(c.pos_size) === String(c.img_size)) c.pos_size = null
  c.patch_size = P
  if (!c.num_classes) c.head = "none"
  for (const name of ["in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio", "norm_eps", "init_values"])
    if (c[name] !== null && c[name] <= 0) refuse(`${name} must be positive, got ${py(c[name])}`)
  for (const name of ["num_classes", "reg_tokens"]) if (c[name] < 0) refuse(`${name} must not be negative, got ${py(c[name])}`)
  for (const [name, choices] of Object.entries(KINDS)) if (!choices.includes(c[name])) refuse(`${name} must be one of ${py(choices)}, got ${py(c[name])}`)
  if (c.global_pool === "token" && !c.class_token) refuse('without a class token there is none to read: expected global_pool="avg"')
  for (const name of ["drop_rate", "attn_drop_rate", "drop_path_rate"]) if (!(c[name] >= 0 && c[name] < 1)) refuse(`${name} must lie in [0, 1), got ${py(c[name])}`)
  for (const [H, W] of [c.img_size, c.pos_size ?? c.img_size]) if (H % P || W % P) refuse(`expected image sides to be multiples of patch_size=${P}, got ${H}x${W}`)
  if (c.embed_dim % c.num_heads) refuse(`embed_dim must be a multiple of num_heads=${c.num_heads}, got ${c.embed_dim}`)
  c.grid_size = c.img_size.map((side) => side / P)
  c.num_patches = c.grid_size[0] * c.grid_size[1]
  c.num_prefix_tokens = Number(c.class_token) + c.reg_tokens
  c.num_tokens = c.num_patches + c.num_prefix_tokens
  c.mlp_dim = Math.trunc(c.embed_dim * c.mlp_ratio)
  return c
}

// Multiply-accumulates of one forward pass of one image, by part.
export function count_macs(c) {
  const n = c.num_tokens, d = c.embed_dim, L = c.depth
  const macs = {
    patch_embed: c.num_patches * c.patch_size ** 2 * c.in_chans * d,
    "attn.qkv": L * n * d * 3 * d,
    "attn.scores": L * n * n * d,
    "attn.values": L * n * n * d,
    "attn.proj": L * n * d * d,
    mlp: L * n * 2 * d * c.mlp_dim,
  }
  if (c.head !== "none") macs.head = d * c.num_classes + (c.head === "mlp" ? d * d : 0)
  return macs
}

// Learned numbers, by the parts of lesson 5's table. Their sum is the package's count_parameters.
export function parameters(c) {
  const d = c.embed_dim, L = c.depth
  return {
    embedding: c.patch_size ** 2 * c.in_chans * d + d + c.num_prefix_tokens * d + (c.pos_embed === "learned" ? c.num_tokens * d : 0),
    attention: L * (3 * d * d + 3 * d * Number(c.qkv_bias) + d * d + d),
    mlp: L * (2 * d * c.mlp_dim + c.mlp_dim + d),
    norms: L * 4 * d + 2 * d + (c.init_values === null ? 0 : L * 2 * d),
    head: c.head === "none" ? 0 : (d + 1) * c.num_classes + (c.head === "mlp" ? d * d + d : 0),
  }
}

// Bytes that autograd keeps of `batch` images until the backward pass.
export function activation_bytes(c, batch = 1, { fused = true, bf16 = true } = {}) {
  const n = c.num_tokens, d = c.embed_dim, narrow = bf16 ? 2 : 4
  let token = narrow * (6 * d + 2 * c.mlp_dim) + 4 * (2 * d + 4)
  token += fused ? 4 * c.num_heads : narrow * c.num_heads * n
  token += c.init_values === null ? 0 : 2 * narrow * d
  let view = c.global_pool === "token"
  let kept = c.depth * n * token
  kept += c.fc_norm ? 4 * ((view ? n : 1) * d + 2) : 4 * n * (d + 2)
  kept += narrow * c.in_chans * c.img_size[0] * c.img_size[1]
  if (c.head !== "none") {
    view = view && !bf16 && !c.fc_norm
    kept += narrow * (view ? n * d : d) + (c.head === "mlp" ? narrow * d : 0)
  }
  return batch * kept
}

// Bytes for AdamW under bf16 autocast, by purpose, on one machine.
export function training_memory(c, batch) {
  const count = total(parameters(c))
  return { weights: 4 * count, gradients: 4 * count, moments: 8 * count, "bf16 copies": 2 * count, activations: activation_bytes(c, batch) }
}

export const total = (parts) => Object.values(parts).reduce((a, b) => a + b, 0)
