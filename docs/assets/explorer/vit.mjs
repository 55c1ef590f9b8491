// The Vision Transformer of this site a second time, in plain JavaScript: (C, H, W) -> (K).
//
// Written to be read beside vit/: the names are the same, and so are the numbers (tests/explorer.test.mjs).
// Legend: B batch, always 1 here and so left out; C channels, H, W image size, P patch side, N tokens, D width,
// h heads, d = D/h, L depth, K classes. A tensor is a Float32Array, row after row; its shape stands beside it.

// ---- layers: vit/attention.py and vit/encoder.py -------------------------------------------------------------

// The same `linear` four times as fast, where a browser runs it: simd.mjs. Without, everything below is all there is.
let simd = null
export const accelerate = (accelerator) => (simd = accelerator)

// x Wᵀ + b for every row of x: (N, I), (O, I), (O,) -> (N, O). Four rows by four columns at a time, so that each
// number that is fetched is used four times: twice as fast as the three plain loops.
export function linear(x, { weight, bias }) {
  const O = bias.length, I = weight.length / O, N = x.length / I
  const fast = weight.buffer === simd?.buffer && simd.linear(x, { weight, bias }, N)
  if (fast) return fast
  const y = new Float32Array(N * O)
  let n = 0
  for (; n + 4 <= N; n += 4) {
    const x0 = n * I, x1 = x0 + I, x2 = x1 + I, x3 = x2 + I
    let o = 0
    for (; o + 4 <= O; o += 4) {
      const w0 = o * I, w1 = w0 + I, w2 = w1 + I, w3 = w2 + I
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0
      let c0 = 0, c1 = 0, c2 = 0, c3 = 0, d0 = 0, d1 = 0, d2 = 0, d3 = 0
      for (let i = 0; i < I; i++) {
        const p = weight[w0 + i], q = weight[w1 + i], r = weight[w2 + i], s = weight[w3 + i]
        let v = x[x0 + i]
        a0 += v * p; a1 += v * q; a2 += v * r; a3 += v * s
        v = x[x1 + i]
        b0 += v * p; b1 += v * q; b2 += v * r; b3 += v * s
        v = x[x2 + i]
        c0 += v * p; c1 += v * q; c2 += v * r; c3 += v * s
        v = x[x3 + i]
        d0 += v * p; d1 += v * q; d2 += v * r; d3 += v * s
      }
      const e = bias[o], f = bias[o + 1], g = bias[o + 2], k = bias[o + 3]
      let to = n * O + o
      y[to] = a0 + e; y[to + 1] = a1 + f; y[to + 2] = a2 + g; y[to + 3] = a3 + k
      to += O
      y[to] = b0 + e; y[to + 1] = b1 + f; y[to + 2] = b2 + g; y[to + 3] = b3 + k
      to += O
      y[to] = c0 + e; y[to + 1] = c1 + f; y[to + 2] = c2 + g; y[to + 3] = c3 + k
      to += O
      y[to] = d0 + e; y[to + 1] = d1 + f; y[to + 2] = d2 + g; y[to + 3] = d3 + k
    }
    for (; o < O; o++) for (let m = n; m < n + 4; m++) y[m * O + o] = bias[o] + dot(x, m * I, weight, o * I, I)
  }
  for (; n < N; n++) for (let o = 0; o < O; o++) y[n * O + o] = bias[o] + dot(x, n * I, weight, o * I, I)
  return y
}

export function dot(a, i, b, j, length) {
  let sum = 0
  for (let c = 0; c < length; c++) sum += a[i + c] * b[j + c]
  return sum
}

// Every token to mean 0 and deviation 1, then the learned scale and shift: (N, D) -> (N, D).
export function layer_norm(x, { weight, bias }, eps) {
  const D = weight.length, y = new Float32Array(x.length)
  for (let n = 0; n < x.length; n += D) {
    let mean = 0, variance = 0
    for (let c = 0; c < D; c++) mean += x[n + c] / D
    for (let c = 0; c < D; c++) variance += (x[n + c] - mean) ** 2 / D
    const scale = 1 / Math.sqrt(variance + eps)
    for (let c = 0; c < D; c++) y[n + c] = (x[n + c] - mean) * scale * weight[c] + bias[c]
  }
  return y
}

// x Φ(x), the exact form. The error function by formula 7.1.26 of Abramowitz and Stegun, good to 1.5e-7.
export function gelu(x) {
  const y = new Float32Array(x.length)
  for (let i = 0; i < x.length; i++) {
    const z = Math.abs(x[i]) / Math.SQRT2, t = 1 / (1 + 0.3275911 * z)
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    const erf = 1 - tail * Math.exp(-z * z)
    y[i] = 0.5 * x[i] * (1 + (x[i] < 0 ? -erf : erf))
  }
  return y
}

// In place: `length` numbers from `start` become positive and sum to 1.
export function softmax(x, start = 0, length = x.length) {
  let most = -Infinity, sum = 0
  for (let i = start; i < start + length; i++) most = Math.max(most, x[i])
  for (let i = start; i < start + length; i++) sum += x[i] = Math.exp(x[i] - most)
  for (let i = start; i < start + length; i++) x[i] /= sum
  return x
}

// Every token looks at every token: (N, D) -> (N, D), the weights (h, N, N), and qkv (N, 3D) for who wants to look.
// A matrix product is a `linear` without bias: of queries with keys, and of weights with values, laid on their side.
export function attention(x, attn, h) {
  const D = attn.proj.bias.length, d = D / h, N = x.length / D, scale = d ** -0.5
  const qkv = linear(x, attn.qkv) // (N, 3D): of each token its query, its key, its value; in each, head after head
  const weights = new Float32Array(h * N * N)
  const out = new Float32Array(N * D)
  for (let head = 0; head < h; head++) {
    const q = new Float32Array(N * d), k = new Float32Array(N * d), v = new Float32Array(d * N)
    for (let n = 0; n < N; n++)
      for (let c = 0; c < d; c++) {
        const from = n * 3 * D + head * d + c
        q[n * d + c] = qkv[from] * scale
        k[n * d + c] = qkv[from + D]
        v[c * N + n] = qkv[from + 2 * D] // (d, N)
      }
    const rows = linear(q, { weight: k, bias: new Float32Array(N) }) // scores (N, N)
    for (let n = 0; n < N; n++) softmax(rows, n * N, N)
    weights.set(rows, head * N * N)
    const mixed = linear(rows, { weight: v, bias: new Float32Array(d) }) // (N, d)
    for (let n = 0; n < N; n++) out.set(mixed.subarray(n * d, (n + 1) * d), n * D + head * d)
  }
  return { out: linear(out, attn.proj), weights, qkv }
}

export const mlp = (x, { fc1, fc2 }) => linear(gelu(linear(x, fc1)), fc2) // (N, D) -> (N, hidden) -> (N, D)

export function add(x, y) {
  const sum = new Float32Array(x.length)
  for (let i = 0; i < x.length; i++) sum[i] = x[i] + y[i % y.length]
  return sum
}

// ---- patches and positions: vit/patches.py and vit/positions.py ----------------------------------------------

// (C, H, W) -> (N, C·P·P): patches row by row; inside a patch channel, row, column.
export function patchify(image, [C, H, W], P) {
  const patches = new Float32Array(C * H * W)
  let to = 0
  for (let top = 0; top < H; top += P)
    for (let left = 0; left < W; left += P)
      for (let c = 0; c < C; c++)
        for (let row = 0; row < P; row++)
          for (let column = 0; column < P; column++)
            patches[to++] = image[(c * H + top + row) * W + left + column]
  return patches
}

// Along one axis, which old rows make each new row: bicubic with antialiasing, as PyTorch and Pillow have it.
function bicubic(from, to) {
  const scale = from / to, wide = Math.max(1, scale)
  const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5)
    const first = Math.max(0, Math.trunc(centre - 2 * wide + 0.5))
    const last = Math.min(from, Math.trunc(centre + 2 * wide + 0.5))
    const taps = []
    for (let j = first; j < last; j++) taps.push([j, cubic(Math.abs(j - centre + 0.5) / wide)])
    const sum = taps.reduce((all, [, w]) => all + w, 0)
    return taps.map(([j, w]) => [j, w / sum])
  })
}

// A table of positions for another grid: (1 + gh·gw, D) -> (1 + gh'·gw', D). The class token has no place.
export function interpolate_positions(table, [gh, gw], [new_gh, new_gw], D) {
  if (gh === new_gh && gw === new_gw) return table
  const resized = new Float32Array((1 + new_gh * new_gw) * D)
  resized.set(table.subarray(0, D))
  const rows = bicubic(gh, new_gh), columns = bicubic(gw, new_gw)
  for (let r = 0; r < new_gh; r++)
    for (let c = 0; c < new_gw; c++) {
      const to = (1 + r * new_gw + c) * D
      for (const [i, u] of rows[r])
        for (const [j, w] of columns[c])
          for (let k = 0; k < D; k++) resized[to + k] += u * w * table[(1 + i * gw + j) * D + k]
    }
  return resized
}

// ---- the whole model: vit/model.py ---------------------------------------------------------------------------

export class VisionTransformer {
  // `parameters` has the names of the state dict: "blocks.0.attn.qkv.weight" becomes this.blocks[0].attn.qkv.weight.
  constructor(config, parameters) {
    this.config = config
    for (const [name, values] of Object.entries(parameters)) {
      const path = name.split("."), last = path.pop()
      path.reduce((part, key) => (part[key] ??= {}), this)[last] = values
    }
    this.blocks = Array.from({ length: config.depth }, (_, i) => this.blocks[i])
  }

  // Bytes (H, W, C), as a canvas or a file has them, to what the model was trained on: (C, H, W).
  normalise(bytes, H, W) {
    const { mean, std } = this.config, C = mean.length, image = new Float32Array(C * H * W)
    for (let i = 0; i < H * W; i++)
      for (let c = 0; c < C; c++) image[c * H * W + i] = (bytes[i * C + c] / 255 - mean[c]) / std[c]
    return image
  }

  // Equation 1: patches, class token, positions. (C, H, W) -> (N, D).
  // `order`: which patch of the picture stands at each place. `masked`: places that get the mean colour, which is 0.
  embed(image, H, W, { positions = true, order = null, masked = [] } = {}) {
    const { patch_size: P, embed_dim: D, img_size, mean } = this.config
    const length = mean.length * P * P
    let patches = patchify(image, [mean.length, H, W], P) // (N - 1, C·P·P)
    if (order) {
      const cut = patches
      patches = new Float32Array(cut.length)
      order.forEach((from, to) => patches.set(cut.subarray(from * length, (from + 1) * length), to * length))
    }
    for (const place of masked) patches.fill(0, place * length, (place + 1) * length)
    const tokens = linear(patches, this.patch_embed.proj) // (N - 1, D): the kernel (D, C, P, P) laid flat
    const x = new Float32Array(D + tokens.length)
    x.set(this.cls_token)
    x.set(tokens, D) // (N, D)
    if (!positions) return x
    const old = img_size.map((side) => side / P)
    return add(x, interpolate_positions(this.pos_embed, old, [H / P, W / P], D))
  }

  // Equations 2 to 4. Besides the K logits: the embedding (N, D), every block's attention (h, N, N) and qkv (N, 3D),
  // and `lens`: what final norm and head would answer after 0 to L blocks, (L + 1, K).
  forward(image, H, W, options) {
    const { num_heads: h, norm_eps: eps, embed_dim: D } = this.config
    const maps = [], qkvs = [], lens = []
    const embedded = this.embed(image, H, W, options)
    const answer = (x) => linear(layer_norm(x.subarray(0, D), this.norm, eps), this.head) // the class token: (K,)
    let x = embedded
    lens.push(answer(x))
    for (const block of this.blocks) {
      const { out, weights, qkv } = attention(layer_norm(x, block.norm1, eps), block.attn, h)
      x = add(x, out)
      x = add(x, mlp(layer_norm(x, block.norm2, eps), block.mlp))
      maps.push(weights)
      qkvs.push(qkv)
      lens.push(answer(x))
    }
    return { logits: lens.at(-1), lens, embedded, attention: maps, qkv: qkvs }
  }
}

// Attention rollout (vit/analysis.py): L maps (h, N, N) -> (N, N). Heads are averaged, the residual path is added
// as the identity, and the later block reads the earlier one.
export function rollout(maps, h) {
  const N = Math.sqrt(maps[0].length / h)
  let result = null
  for (const weights of maps) {
    const mixed = new Float32Array(N * N)
    for (let i = 0; i < weights.length; i++) mixed[i % (N * N)] += (0.5 * weights[i]) / h
    for (let i = 0; i < N; i++) mixed[i * N + i] += 0.5
    if (!result) {
      result = mixed
      continue
    }
    const next = new Float32Array(N * N)
    for (let i = 0; i < N; i++)
      for (let k = 0; k < N; k++) {
        const w = mixed[i * N + k]
        for (let j = 0; j < N; j++) next[i * N + j] += w * result[k * N + j]
      }
    result = next
  }
  return result
}

// ---- weights -------------------------------------------------------------------------------------------------

// The file of course/explorer.py: the header's length (uint32), a JSON header, then the tensors. An int8 matrix has
// one scale for each of its rows, and its numbers are bytes times scale.
export function read_weights(buffer) {
  const length = new DataView(buffer).getUint32(0, true)
  const { config, tensors } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))
  const parameters = {}
  for (const { name, dtype, size, offset, scale } of tensors) {
    const values = (parameters[name] = simd ? simd.take(size) : new Float32Array(size))
    if (dtype === "float32") values.set(new Float32Array(buffer, offset, size))
    else {
      const bytes = new Int8Array(buffer, offset, size), rows = new Float32Array(buffer, scale.offset, scale.size)
      const width = size / rows.length
      for (let i = 0; i < size; i++) values[i] = bytes[i] * rows[Math.floor(i / width)]
    }
  }
  return new VisionTransformer(config, parameters)
}

// A model that has learnt nothing, with the shapes of one that has: `init_weights` of vit/model.py, from a seed.
export function random_weights(like, seed) {
  let state = seed >>> 0
  const uniform = () => { // mulberry32
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const normal = () => { // cut at two standard deviations
    for (;;) {
      const z = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
      if (Math.abs(z) < 2) return z
    }
  }
  const noise = (values, std) => values.map(() => std * normal())
  const layer = ({ weight, bias }, std) => ({ weight: noise(weight, std), bias: bias.map(() => 0) })
  const norm = ({ weight, bias }) => ({ weight: weight.map(() => 1), bias: bias.map(() => 0) })
  const { proj } = like.patch_embed
  const model = Object.create(VisionTransformer.prototype)
  return Object.assign(model, {
    config: like.config,
    patch_embed: { proj: layer(proj, (proj.weight.length / proj.bias.length) ** -0.5) },
    cls_token: like.cls_token.map(() => 0),
    pos_embed: noise(like.pos_embed, 0.02),
    blocks: like.blocks.map(({ norm1, attn, norm2, mlp }) => ({
      norm1: norm(norm1),
      attn: { qkv: layer(attn.qkv, 0.02), proj: layer(attn.proj, 0.02) },
      norm2: norm(norm2),
      mlp: { fc1: layer(mlp.fc1, 0.02), fc2: layer(mlp.fc2, 0.02) },
    })),
    norm: norm(like.norm),
    head: layer(like.head, 0.02),
  })
}
