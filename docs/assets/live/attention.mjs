// Lesson 3: a query among the toy's four keys. Scores, temperature, softmax, and the mean of the values.
import { softmax } from "../explorer/vit.mjs"
import { clamp, el, fill, fixed, frame, handle, pair, plot, radios, slider, svg } from "./kit.mjs"

// The lesson's own numbers: q = tokens U_q, k = tokens U_k, v = tokens U_v, each (N, d).
export const QUERIES = [[0, 0], [0, 2], [-2, 0], [1, 1]]
export const KEYS = [[0, 0], [2, 0], [0, 2], [1, -1]]
export const VALUES = [[0, 0], [2, 2], [-2, 2], [2, 0]]

// One row of attention: scores q·k, divided, weights, output Σ w v.
export function mix(query, divisor) {
  const scores = KEYS.map((k) => query[0] * k[0] + query[1] * k[1])
  const divided = scores.map((s) => s / divisor)
  const weights = softmax(Float64Array.from(divided))
  return { scores, divided, weights, output: [0, 1].map((c) => VALUES.reduce((s, v, i) => s + weights[i] * v[c], 0)) }
}

const LIMIT = 3, STEP = 0.25
const near = (v) => clamp(Math.round(v / STEP) * STEP, -LIMIT, LIMIT)

export function start(root, w) {
  let query = [...QUERIES[1]], T = 1, root_d = true, tell, mark
  const left = el("div", { class: "vl-drawing" }), right = el("div", { class: "vl-drawing" }), table = el("table", { class: "vl-table vl-scores" })
  const asks = radios({ label: w.asks, name: "asks", options: Object.fromEntries(QUERIES.map((_, i) => [i, i])), value: 1, on: (i) => ((query = [...QUERIES[i]]), update()) })
  const divide = radios({ label: w.divide, name: "divide", options: { yes: "√d", no: w.not }, value: "yes", on: (v) => ((root_d = v === "yes"), update()) })
  const heat = slider({ label: w.temperature, name: "temperature", min: -20, max: 20, value: 0, text: (n) => fixed(10 ** (n / 20), 2), on: (n) => ((T = 10 ** (n / 20)), update()) })

  // Both planes once for a width; `update` moves what the query moves.
  function draw() {
    const axis = { from: -LIMIT, to: LIMIT, ticks: [-3, -2, -1, 0, 1, 2, 3] }
    // Equal units both ways: dot products are read off angles and lengths.
    const size = (box, across, up) => {
      const width = Math.min(340, Math.max(180, box.clientWidth)), edges = { left: 24, bottom: 20, right: 8, top: 8 }
      return { ...edges, width, height: ((width - 32) * up) / across + 28 }
    }
    const first = plot({ ...size(left, 6, 6), x: axis, y: axis })
    const second = plot({ ...size(right, 5.4, 4), x: { ...axis, from: -2.7, to: 2.7, ticks: [-2, -1, 0, 1, 2] }, y: { from: -1, to: 3, ticks: [-1, 0, 1, 2, 3] }, label: w.values })
    const ray = svg("path", { class: "vl-line vl-ray" })
    const grip = svg("g", { class: "vl-grip" }, svg("circle", { class: "vl-hit", r: 22 }), svg("circle", { class: "vl-ring", r: 14 }))
    first.marks.append(...KEYS.map((k) => svg("path", { class: "vl-line vl-key-ray", d: `M${first.x(0)} ${first.y(0)}L${first.x(k[0])} ${first.y(k[1])}` })), ray,
      ...KEYS.flatMap((k, i) => [svg("rect", { class: "vl-dot", x: first.x(k[0]) - 10, y: first.y(k[1]) - 10, width: 20, height: 20, rx: 3 }), svg("text", { class: "vl-on-dot", x: first.x(k[0]), y: first.y(k[1]) + 4, "text-anchor": "middle", text: i })]), grip)
    tell = handle(first.root, grip, {
      label: w.query, kind: w.point,
      move: (x, y) => go(first.ix(x), first.iy(y)), step: (x, y) => go(query[0] + STEP * x, query[1] + STEP * y),
      say: () => pair(query), now: () => query[0], min: -LIMIT, max: LIMIT,
    })
    const dots = VALUES.map((v) => svg("circle", { class: "vl-dot", cx: second.x(v[0]), cy: second.y(v[1]) }))
    const out = svg("circle", { class: "vl-answer", r: 6 }), spokes = VALUES.map(() => svg("path", { class: "vl-line vl-step" }))
    second.marks.append(...spokes, ...dots, ...VALUES.map((v, i) => svg("text", { class: "vl-on-dot", x: second.x(v[0]), y: second.y(v[1]) + 4, "text-anchor": "middle", text: i })), out)
    mark = ({ weights, output }) => {
      ray.setAttribute("d", `M${first.x(0)} ${first.y(0)}L${first.x(query[0])} ${first.y(query[1])}`)
      grip.setAttribute("transform", `translate(${first.x(query[0])} ${first.y(query[1])})`)
      dots.forEach((dot, i) => dot.setAttribute("r", 7 + 15 * Math.sqrt(weights[i])))
      spokes.forEach((spoke, i) => spoke.setAttribute("d", `M${second.x(VALUES[i][0])} ${second.y(VALUES[i][1])}L${second.x(output[0])} ${second.y(output[1])}`))
      out.setAttribute("cx", second.x(output[0]))
      out.setAttribute("cy", second.y(output[1]))
    }
    left.replaceChildren(first.root)
    right.replaceChildren(second.root)
    update()
  }
  const go = (x, y) => ((query = [near(x), near(y)]), update())

  function update() {
    const divisor = T * (root_d ? Math.SQRT2 : 1), now = mix(query, divisor)
    const same = QUERIES.findIndex((q) => q[0] === query[0] && q[1] === query[1])
    asks.set(same < 0 ? null : same)
    mark(now)
    tell()
    const head = fill(T === 1 ? (root_d ? w.by_root : w.by_none) : root_d ? w.by_both : w.by_heat, { T: fixed(T) })
    table.replaceChildren(
      el("thead", {}, el("tr", {}, ...[w.key, "q·k", head, w.weight, w.value].map((text, i) => el("th", { scope: "col", text, class: `vl-s-${i}` })))),
      el("tbody", {}, ...KEYS.map((k, i) => el("tr", {}, el("th", { scope: "row" }, el("b", { text: i }), ` ${pair(k, 0)}`), el("td", { text: fixed(now.scores[i]) }), el("td", { text: fixed(now.divided[i]) }),
        el("td", {}, el("span", { class: "vl-weight", style: `--w: ${100 * now.weights[i]}%`, text: fixed(now.weights[i], 3) })), el("td", { class: "vl-s-4", text: pair(VALUES[i], 0) })))),
      el("tfoot", {}, el("tr", { "aria-live": "polite" }, el("td", { colspan: 5 }, `${w.output} `, el("b", { text: pair(now.output) }), ` ${fill(w.of, { q: pair(query) })}`))))
  }
  frame(root, w, draw, el("div", { class: "vl-columns vl-even" }, el("div", {}, el("p", { class: "vl-label", text: w.keys }), left), el("div", {}, el("p", { class: "vl-label", text: w.values }), right)),
    el("div", { class: "vl-controls" }, el("div", { class: "vl-row" }, asks.root, divide.root), heat.root), table)
}
