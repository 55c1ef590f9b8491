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

// The tokens, and a function that makes one block after another: matrices by Xavier's uniform distribution, as in the
// lesson; biases are zero, and scale and shift of the norms as they begin.
export function draw_weights(seed) {
  const { N, D, hidden } = SIZE, { uniform, normal } = generator(seed)
  const matrix = (O, I) => {
    const bound = Math.sqrt(6 / (O + I)), weight = new Float64Array(O * I)
    for (let i = 0; i < weight.length; i++) weight[i] = bound * (2 * uniform() - 1)
    return weight
  }
  return {
    tokens: Float64Array.from({ length: N * D }, normal),
    block: () => ({ q: matrix(D, D), k: matrix(D, D), v: matrix(D, D), proj: matrix(D, D), fc1: matrix(hidden, D), fc2: matrix(D, hidden) }),
  }
}

// gain · x Wᵀ in 64 bits: the explorer's own has 32, which end where a stream without addition only begins to shrink.
function times(x, weight, I, gain) {
  const O = weight.length / I, N = x.length / I, y = new Float64Array(N * O)
  for (let n = 0, to = 0; n < N; n++)
    for (let o = 0; o < O; o++, to++) {
      let sum = 0
      for (let i = 0, a = n * I, b = o * I; i < I; i++, a++, b++) sum += x[a] * weight[b]
      y[to] = gain * sum
    }
  return y
}

function normalise(x) {
  const { D } = SIZE, y = new Float64Array(x.length)
  for (let n = 0; n < x.length; n += D) {
    let mean = 0, variance = 0
    for (let c = n; c < n + D; c++) mean += x[c] / D
    for (let c = n; c < n + D; c++) variance += (x[c] - mean) ** 2 / D
    for (let c = n; c < n + D; c++) y[c] = (x[c] - mean) / Math.sqrt(variance + EPS)
  }
  return y
}

function attention(x, block, gain) {
  const { N, D, h } = SIZE, d = D / h, out = new Float64Array(N * D)
  const [q, k, v] = [block.q, block.k, block.v].map((weight) => times(x, weight, D, gain))
  for (let head = 0; head < D; head += d)
    for (let i = 0; i < N; i++) {
      const e = new Float64Array(N)
      for (let j = 0; j < N; j++) for (let c = 0; c < d; c++) e[j] += (q[i * D + head + c] * k[j * D + head + c]) / Math.sqrt(d)
      const most = Math.max(...e), sum = e.reduce((s, score, j) => s + (e[j] = Math.exp(score - most)), 0)
      for (let j = 0; j < N; j++) for (let c = 0; c < d; c++) out[i * D + head + c] += (e[j] / sum) * v[j * D + head + c]
    }
  return times(out, block.proj, D, gain)
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
const mlp = (x, block, gain) => times(gelu(times(x, block.fc1, SIZE.D, gain)), block.fc2, SIZE.hidden, gain)

// One block. `norm` is "pre", "post" or "none"; every matrix is taken times `gain`.
export function pass(x, block, residual, norm, gain = 1) {
  for (const part of [attention, mlp]) {
    let y = part(norm === "pre" ? normalise(x) : x, block, gain)
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

// Both for the stream after 0, 1, 2 … blocks, and the stream itself: `grow` goes on from where it stands.
export const begin = (weights) => ({ x: weights.tokens, sizes: [size(weights.tokens)], differences: [difference(weights.tokens)] })
export function grow(run, blocks, residual, norm, gain = 1) {
  for (const block of blocks.slice(run.sizes.length - 1)) {
    run.x = pass(run.x, block, residual, norm, gain)
    run.sizes.push(size(run.x))
    run.differences.push(difference(run.x))
  }
  return run
}

const PANELS = { sizes: [-9, 6, 3], differences: [-16, 0, 4] } // powers of ten that the axes show: from, to, by
const ROUNDING = 1e-14

export function start(root, w) {
  let residual = true, norm = "pre", depth = 24, gain = 1, seed = 1, weights, blocks, seen
  const boxes = { sizes: el("div", { class: "vl-drawing" }), differences: el("div", { class: "vl-drawing" }) }, told = el("p", { class: "vl-told", "aria-live": "polite" })
  const change = (act) => (v) => (act(v), draw())
  const forget = () => (seen = new Map()) // what was chosen before, for these numbers
  const sow = () => (forget(), (weights = draw_weights(seed)), (blocks = []))
  const controls = {
    residual: radios({ label: w.residual, name: "residual", options: { yes: w.with, no: w.without }, value: "yes", on: change((v) => (residual = v === "yes")) }),
    norm: radios({ label: w.norm, name: "norm", options: w.norms, value: norm, on: change((v) => (norm = v)) }),
    depth: slider({ label: w.depth, name: "depth", min: 2, max: 48, value: depth, text: (v) => fill(w.blocks, { L: v }), on: change((v) => (depth = v)) }),
    gain: slider({ label: w.gain, name: "gain", min: -8, max: 8, value: 0, text: (v) => `× ${fixed(2 ** (v / 4))}`, on: change((v) => (forget(), (gain = 2 ** (v / 4)))) }),
  }
  const words = (v) => (v < ROUNDING ? w.rounding : say(v))

  function panel(name, now, x) {
    const box = boxes[name], [low, high, by] = PANELS[name], from = 10 ** (low - 0.6), to = 10 ** (high + 0.4)
    const ticks = Array.from({ length: (high - low) / by + 1 }, (_, i) => low + i * by).map((n) => [10 ** n, ten(n)])
    const values = (run) => run[name].slice(0, depth + 1), at = values(now)
    const p = plot({ width: Math.max(200, box.clientWidth), height: 230, left: 40, top: 10, x, y: { from, to, log: true, ticks }, label: fill(w.plot, { what: w[name], from: say(at[0]), to: words(at.at(-1)), L: depth }) })
    // A line ends where it leaves the drawing.
    const line = (run, kind) => {
      const all = values(run), out = all.findIndex((v) => v < from || v > to)
      return p.line(all.slice(0, out < 0 ? all.length : out + 1).map((v, l) => [l, clamp(v, from, to)]), kind)
    }
    const others = [...seen.values()].filter((run) => run !== now)
    p.marks.append(...others.map((run) => line(run, "vl-other")), line(now, "vl-strong"))
    at.forEach((v, l) => v > from && v < to && p.marks.append(svg("circle", { class: "vl-bead", cx: p.x(l), cy: p.y(v), r: depth > 30 ? 1.8 : 2.8 })))
    box.replaceChildren(p.root)
  }

  function draw() {
    while (blocks.length < depth) blocks.push(weights.block())
    const key = `${residual} ${norm}`
    if (!seen.has(key)) seen.set(key, { ...begin(weights), wiring: [residual, norm, gain] })
    for (const run of seen.values()) grow(run, blocks.slice(0, depth), ...run.wiring)
    const now = seen.get(key), by = depth <= 6 ? 1 : depth <= 12 ? 2 : depth <= 24 ? 6 : 12
    const x = { from: 0, to: depth, ticks: Array.from({ length: Math.floor(depth / by) + 1 }, (_, i) => i * by), name: w.passed }
    for (const name of Object.keys(PANELS)) panel(name, now, x)
    told.textContent = fill(w.told, { from: say(now.sizes[0]), to: say(now.sizes[depth]), L: depth, share: words(now.differences[depth]), start: say(now.differences[0]) })
  }
  sow()
  frame(root, w, draw, el("div", { class: "vl-controls vl-row" }, controls.residual.root, controls.norm.root, button(w.again, change(() => (seed++, sow())), "seed")),
    el("div", { class: "vl-controls" }, controls.depth.root, controls.gain.root),
    el("div", { class: "vl-columns vl-even" }, ...Object.entries(boxes).map(([name, box]) => el("div", {}, el("p", { class: "vl-label", text: w[name] }), box))), told)
}

// 0.52, 14.1, 3 × 10⁻⁷
export function say(v) {
  if (!v) return "0"
  const [digit, power] = v.toExponential(0).split("e").map(Number)
  if (power < -2 || power > 3) return digit === 1 ? ten(power) : `${digit} × ${ten(power)}`
  return fixed(v, power > 1 ? 0 : power > 0 ? 1 : 2)
}
