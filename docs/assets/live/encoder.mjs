// Lesson 4: how large the stream is after each of many blocks with random matrices, wired as the reader likes.
import { clamp, el, fill, fixed, frame, plot, radios, button, slider, svg, ten } from "./kit.mjs"

// N tokens of D numbers, h heads, an MLP four times as wide, as in the lesson's small blocks but smaller still.
export const SIZE = { N: 16, D: 32, h: 4, hidden: 128 }
const EPS = 1e-6

export function generator(seed) { // mulberry32, and from it normal numbers
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()) }
}

// The tokens, and a function that makes one block after another. Matrices by Xavier's uniform distribution, as in the
// lesson, times `gain`; biases are zero, and scale and shift of the norms as they begin.
export function draw_weights(seed, gain) {
  const { N, D, hidden } = SIZE, { uniform, normal } = generator(seed)
  const matrix = (O, I) => {
    const bound = gain * Math.sqrt(6 / (O + I))
    return Float64Array.from({ length: O * I }, () => bound * (2 * uniform() - 1))
  }
  return {
    tokens: Float64Array.from({ length: N * D }, normal),
    block: () => ({ q: matrix(D, D), k: matrix(D, D), v: matrix(D, D), proj: matrix(D, D), fc1: matrix(hidden, D), fc2: matrix(D, hidden) }),
  }
}

// x Wᵀ in 64 bits: the explorer's own has 32, which end where a stream without addition only begins to shrink.
function times(x, weight, I) {
  const O = weight.length / I, N = x.length / I, y = new Float64Array(N * O)
  for (let n = 0; n < N; n++)
    for (let o = 0; o < O; o++) {
      let sum = 0
      for (let i = 0; i < I; i++) sum += x[n * I + i] * weight[o * I + i]
      y[n * O + o] = sum
    }
  return y
}

function normalise(x) {
  const { D } = SIZE, y = new Float64Array(x.length)
  for (let n = 0; n < x.length; n += D) {
    const row = x.subarray(n, n + D), mean = row.reduce((a, b) => a + b) / D
    const scale = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / D + EPS)
    for (let c = 0; c < D; c++) y[n + c] = (row[c] - mean) * scale
  }
  return y
}

function attention(x, block) {
  const { N, D, h } = SIZE, d = D / h, out = new Float64Array(N * D)
  const [q, k, v] = [block.q, block.k, block.v].map((weight) => times(x, weight, D))
  for (let head = 0; head < D; head += d)
    for (let i = 0; i < N; i++) {
      const e = new Float64Array(N)
      for (let j = 0; j < N; j++) for (let c = 0; c < d; c++) e[j] += (q[i * D + head + c] * k[j * D + head + c]) / Math.sqrt(d)
      const most = Math.max(...e), sum = e.reduce((s, score, j) => s + (e[j] = Math.exp(score - most)), 0)
      for (let j = 0; j < N; j++) for (let c = 0; c < d; c++) out[i * D + head + c] += (e[j] / sum) * v[j * D + head + c]
    }
  return times(out, block.proj, D)
}

// The exact GELU needs the error function: its series near zero, a continued fraction of its tail beyond.
function erf(z) {
  if (z < 0) return -erf(-z)
  if (z > 2.5) {
    let f = 0
    for (let k = 40; k; k--) f = k / 2 / (z + f)
    return 1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + f)
  }
  let term = z, sum = z
  for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) sum += (term *= (-z * z) / n) / (2 * n + 1)
  return (2 / Math.sqrt(Math.PI)) * sum
}
const gelu = (x) => x.map((v) => 0.5 * v * (1 + erf(v / Math.SQRT2)))
const mlp = (x, block) => times(gelu(times(x, block.fc1, SIZE.D)), block.fc2, SIZE.hidden)

// One block. `norm` is "pre", "post" or "none".
export function pass(x, block, residual, norm) {
  for (const part of [attention, mlp]) {
    let y = part(norm === "pre" ? normalise(x) : x, block)
    if (residual) y = y.map((v, i) => v + x[i])
    x = norm === "post" ? normalise(y) : y
  }
  return x
}

// The root mean square of all numbers, and the share of them that is not common to all tokens.
export const size = (x) => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length)
export function difference(x) {
  const { N, D } = SIZE, mean = new Float64Array(D)
  x.forEach((v, i) => (mean[i % D] += v / N))
  return size(x.map((v, i) => v - mean[i % D])) / (size(x) || 1)
}

export function depth_curves(seed, gain, depth, residual, norm) {
  const weights = draw_weights(seed, gain), sizes = [], differences = []
  let x = weights.tokens
  for (let l = 0; l <= depth; l++) {
    if (l) x = pass(x, weights.block(), residual, norm)
    sizes.push(size(x))
    differences.push(difference(x))
  }
  return { sizes, differences }
}

const LOW = -12, HIGH = 6, FLOOR = -16 // powers of ten that the axes show

export function start(root, w) {
  let residual = true, norm = "pre", depth = 24, gain = 1, seed = 1, seen = new Map()
  const left = el("div", { class: "vl-drawing" }), right = el("div", { class: "vl-drawing" }), told = el("p", { class: "vl-told", "aria-live": "polite" })
  const change = (act) => (v) => (act(v), draw())
  const clear = () => (seen = new Map())
  const controls = [
    radios({ label: w.residual, name: "residual", options: { yes: w.with, no: w.without }, value: "yes", on: change((v) => (residual = v === "yes")) }).root,
    radios({ label: w.norm, name: "norm", options: w.norms, value: norm, on: change((v) => (norm = v)) }).root,
    slider({ label: w.depth, name: "depth", min: 2, max: 48, value: depth, text: (v) => fill(w.blocks, { L: v }), on: change((v) => (clear(), (depth = v))) }).root,
    slider({ label: w.gain, name: "gain", min: -8, max: 8, value: 0, text: (v) => `× ${fixed(2 ** (v / 4))}`, on: change((v) => (clear(), (gain = 2 ** (v / 4)))) }).root,
  ]

  function draw() {
    const key = `${residual} ${norm}`
    if (!seen.has(key)) seen.set(key, depth_curves(seed, gain, depth, residual, norm))
    const now = seen.get(key)
    const ticks = depth <= 6 ? 1 : depth <= 12 ? 2 : depth <= 24 ? 6 : 12
    const x = { from: 0, to: depth, ticks: Array.from({ length: Math.floor(depth / ticks) + 1 }, (_, i) => i * ticks), name: w.passed }
    const powers = (low, high, by) => Array.from({ length: (high - low) / by + 1 }, (_, i) => low + i * by)
    const panel = (box, name, low, high, by) => {
      const values = powers(low, high, by).map((n) => [10 ** n, ten(n)])
      const p = plot({ width: Math.max(200, box.clientWidth), height: 230, left: 40, top: 10, x, y: { from: 10 ** (low - 0.6), to: 10 ** (high + 0.4), log: true, ticks: values }, label: fill(w.plot, { what: w[name], from: say(now[name][0]), to: say(now[name].at(-1)), L: depth }) })
      const line = (values, kind) => p.line(values.map((v, l) => [l, clamp(v || 0, 10 ** (low - 0.5), 10 ** (high + 0.35))]), kind)
      for (const [other, curves] of seen) if (other !== key) p.marks.append(line(curves[name], "vl-other"))
      p.marks.append(line(now[name], "vl-strong"), ...now[name].map((v, l) => svg("circle", { class: "vl-bead", cx: p.x(l), cy: p.y(clamp(v || 0, 10 ** (low - 0.5), 10 ** (high + 0.35))), r: depth > 30 ? 1.6 : 2.6 })))
      box.replaceChildren(p.root)
    }
    panel(left, "sizes", LOW, HIGH, 3)
    panel(right, "differences", FLOOR, 0, 4)
    told.textContent = fill(w.told, { from: say(now.sizes[0]), to: say(now.sizes.at(-1)), L: depth, share: say(now.differences.at(-1)), start: say(now.differences[0]) })
  }
  frame(root, w, draw, el("div", { class: "vl-controls" }, el("div", { class: "vl-row" }, controls[0], controls[1], button(w.again, change(() => (clear(), seed++)), "seed")), controls[2], controls[3]),
    el("div", { class: "vl-columns vl-even" }, el("div", {}, el("p", { class: "vl-label", text: w.sizes }), left), el("div", {}, el("p", { class: "vl-label", text: w.differences }), right)), told)
}

// 0.52, 14.1, 3·10⁻⁷
export function say(v) {
  if (!v) return "0"
  const [digit, power] = v.toExponential(0).split("e").map(Number)
  if (power < -2 || power > 3) return `${digit}·${ten(power)}`
  return fixed(v, power > 1 ? 0 : power > 0 ? 1 : 2)
}
