// Lesson 6: a learning-rate schedule drawn by hand: warm-up, peak, half a cosine, end.
import { clamp, el, fill, fixed, frame, grouped, handle, plot, radios, slider, svg, ten } from "./kit.mjs"

// Learning rate after this part of the run: vit.training's Recipe.lr_at.
export function lr_at({ lr, min_lr, warmup }, progress) {
  if (progress < warmup) return (lr * progress) / warmup
  const down = (progress - warmup) / Math.max(1 - warmup, 1e-9)
  return min_lr + (lr - min_lr) * 0.5 * (1 + Math.cos(Math.PI * Math.min(down, 1)))
}

export const step_rate = (recipe, step, steps) => lr_at(recipe, (step + 1) / steps) // as the trainer sets it, step from 0

const LOW = -7, HIGH = -1, PER = 20 // powers of ten of a rate, and stops of a slider in each
const stop = (rate) => Math.round(PER * Math.log10(rate))
// Three figures, as one would type them.
export const neat = (rate) => Number(rate.toPrecision(3))
const written = (rate) => (rate >= 1e-4 || !rate ? String(rate) : rate.toExponential().replace(/e-(\d)$/, "e-0$1"))
const KNOBS = ["warmup", "lr", "min_lr", "steps"]

export function start(root, w, { recipes }) {
  let name = "cifar10", r = { ...recipes[name] }, at = 0.5, log = false, p = null, frozen = false
  const grip = (key) => svg("g", { class: "vl-grip", "data-grip": key }, svg("circle", { class: "vl-hit", r: 22 }), svg("circle", { class: "vl-knob", r: 7 }))
  const peak = grip("peak"), end = grip("end"), scene = svg("g", {})
  const surface = svg("svg", { class: "vl-plot", role: "group", "aria-label": w.drawing }, scene, end, peak)
  const told = el("p", { class: "vl-told", "aria-live": "polite" }), call = el("code", {})
  const set = (changes) => (Object.assign(r, changes), draw())
  const range = (key, min, max, from, text) => slider({ label: w[key], name: key, min, max, value: min, text, on: (v) => set({ [key]: from(v) }) })
  const rate_of = (v) => (v < LOW * PER ? 0 : neat(10 ** (v / PER)))
  const knobs = {
    warmup: range("warmup", 0, 100, (v) => v / 100, () => `${Math.round(100 * r.warmup)} %`),
    lr: range("lr", LOW * PER, HIGH * PER, rate_of, () => written(r.lr)),
    min_lr: range("min_lr", LOW * PER - 1, HIGH * PER, rate_of, () => written(r.min_lr)),
    steps: range("steps", 20, 100, (v) => Math.round(10 ** (v / 20)), () => grouped(r.steps)),
  }
  const clock = slider({ label: w.at, name: "at", min: 0, max: 100, value: 50, text: (v) => `${v} %`, on: (v) => ((at = v / 100), draw()) })
  const picks = radios({ label: w.recipe, name: "recipe", options: Object.fromEntries(Object.keys(recipes).map((key) => [key, key])), value: name, on: (key) => ((name = key), (r = { ...recipes[key] }), draw()) })
  const scales = radios({ label: w.scale, name: "scale", options: { even: w.even, log: w.log }, value: "even", on: (v) => ((log = v === "log"), draw()) })
  const nudge = (rate, by) => (rate ? rate_of(clamp(stop(rate) + by, LOW * PER, HIGH * PER)) : by > 0 ? 10 ** LOW : 0)
  const common = { kind: w.point, alone: false, begin: () => (frozen = true), end: () => ((frozen = false), draw()) }
  const tells = [
    handle(surface, peak, {
      ...common, label: w.peak, min: 0, max: 100, now: () => Math.round(100 * r.warmup),
      say: () => fill(w.peak_at, { part: Math.round(100 * r.warmup), rate: written(r.lr) }),
      move: (x, y) => set({ warmup: clamp(Math.round(100 * p.ix(x)) / 100, 0, 1), lr: clamp(Number(p.iy(y).toPrecision(2)), 1e-7, 0.1) }),
      step: (x, y) => set({ warmup: clamp(Math.round(100 * r.warmup + x) / 100, 0, 1), lr: y ? nudge(r.lr, y) : r.lr }),
    }),
    handle(surface, end, {
      ...common, label: w.min_lr, min: 0, max: 0.1, now: () => r.min_lr, say: () => written(r.min_lr),
      move: (x, y) => set({ min_lr: clamp(Number(p.iy(y).toPrecision(2)), 0, 0.1) }),
      step: (x, y) => set({ min_lr: nudge(r.min_lr, y || x) }),
    }),
  ]

  // The axis of the rates: from 0, in units of a power of ten, or by powers of ten.
  function axis() {
    const top = Math.max(r.lr, r.min_lr), power = Math.floor(Math.log10(top)), unit = 10 ** power
    if (!log) {
      const by = [0.2, 0.5, 1, 2].find((b) => top / unit / b <= 6)
      return { from: 0, to: top * 1.15, name: fill(w.rate_times, { power: ten(power) }), ticks: Array.from({ length: Math.floor((top * 1.15) / unit / by + 1e-9) + 1 }, (_, i) => [i * by * unit, fixed(i * by, by < 1 ? 1 : 0)]) }
    }
    const least = 10 ** Math.floor(Math.log10(Math.max(10 ** LOW, Math.min(top / 1000, r.min_lr || 1))))
    const powers = Array.from({ length: HIGH - LOW + 2 }, (_, i) => LOW + i).filter((n) => 10 ** n >= least * 0.99 && 10 ** n <= top * 1.6)
    return { from: least * 0.8, to: top * 1.6, log: true, name: w.rate, ticks: powers.map((n) => [10 ** n, ten(n)]) }
  }

  function draw() {
    const width = Math.max(240, surface.parentNode.clientWidth), height = width < 420 ? 230 : 260
    if (!frozen) p = plot({ width, height, left: 42, right: 24, top: 26, x: { from: 0, to: 1, ticks: [0, 0.25, 0.5, 0.75, 1], name: w.over }, y: axis() })
    const low = p.iy(p.inner.bottom), y = (v) => clamp(p.y(Math.max(v, low)), p.inner.top - 16, p.inner.bottom)
    const times = Array.from({ length: 401 }, (_, i) => i / 400).concat(r.warmup).sort((a, b) => a - b)
    p.marks.replaceChildren(svg("path", { class: "vl-band", d: `M${p.inner.left} ${p.inner.top}H${p.x(r.warmup)}V${p.inner.bottom}H${p.inner.left}Z` }),
      svg("path", { class: "vl-line vl-strong", d: `M${times.map((t) => `${p.x(t).toFixed(1)} ${y(lr_at(r, t)).toFixed(1)}`).join("L")}` }),
      svg("path", { class: "vl-line vl-step", d: `M${p.x(at)} ${p.inner.bottom}V${y(lr_at(r, at))}` }), svg("circle", { class: "vl-bead", cx: p.x(at), cy: y(lr_at(r, at)), r: 4.5 }))
    if (p.root.firstChild) scene.replaceChildren(...p.root.childNodes)
    for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) surface.setAttribute(key, value)
    peak.setAttribute("transform", `translate(${p.x(r.warmup)} ${y(r.lr)})`)
    end.setAttribute("transform", `translate(${p.x(1)} ${y(r.min_lr)})`)
    const stops = { warmup: 100 * r.warmup, lr: stop(r.lr), min_lr: r.min_lr ? stop(r.min_lr) : LOW * PER - 1, steps: 20 * Math.log10(r.steps) }
    for (const key of KNOBS) knobs[key].set(Math.round(stops[key]))
    tells.forEach((tell) => tell())
    say()
  }

  function say() {
    const step = clamp(Math.round(at * r.steps) - 1, 0, r.steps - 1), mean = Array.from({ length: 1000 }, (_, i) => lr_at(r, (i + 0.5) / 1000) / 1000).reduce((a, b) => a + b)
    told.textContent = fill(w.told, {
      step: grouped(step + 1), steps: grouped(r.steps), rate: written(neat(step_rate(r, step, r.steps))), warm: grouped(Math.round(r.warmup * r.steps)),
      first: written(neat(step_rate(r, 0, r.steps))), mean: fixed((100 * mean) / r.lr, 0),
    })
    const changed = ["lr", "min_lr", "warmup"].filter((key) => r[key] !== recipes[name][key])
    call.textContent = `get_recipe("${name}"${changed.map((key) => `, ${key}=${written(r[key])}`).join("")})`
  }
  frame(root, w, draw, el("div", { class: "vl-controls vl-row" }, picks.root, scales.root), el("div", { class: "vl-drawing" }, surface),
    el("div", { class: "vl-controls" }, clock.root, ...KNOBS.map((key) => knobs[key].root)), told, el("p", { class: "vl-call" }, call))
}
