// Lesson 2: the toy's patches change places. What does the class token notice, without positions and with them?
import { el, fill, fixed, frame, pair, plot, radios, button, svg } from "./kit.mjs"

// The lesson's own numbers: patches (rows of four pixels), tokens, class token, positions of the four places.
export const PIXELS = [[1, 1, 1, 1], [0, 2, 0, 2], [2, 2, 0, 0], [0, 1, 1, 2]]
export const TOKENS = [[0, 0], [2, 0], [0, -2], [1, 1]]
export const CLASS = [-1, 1]
export const CORNERS = [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]

// One attention without learned matrices: the class token's scores with all five, weights, and their mean.
// `order[place]` is the patch that stands there.
export function attend(order, positions) {
  const z = [CLASS, ...order.map((patch, place) => TOKENS[patch].map((v, c) => v + (positions ? CORNERS[place][c] : 0)))]
  const scores = z.map((key) => (CLASS[0] * key[0] + CLASS[1] * key[1]) / Math.SQRT2)
  const most = Math.max(...scores), e = scores.map((s) => Math.exp(s - most)), sum = e.reduce((a, b) => a + b)
  const weights = e.map((v) => v / sum)
  return { z, scores, weights, answer: [0, 1].map((c) => weights.reduce((s, weight, i) => s + weight * z[i][c], 0)) }
}

export function start(root, w) {
  let order = [0, 1, 2, 3], positions = false, held = null
  const before = [false, true].map((p) => attend(order, p).answer)
  const board = el("div", { class: "vl-toy" }), drawing = el("div", { class: "vl-drawing" })
  const sequence = el("table", { class: "vl-table vl-sequence" }), answers = el("table", { class: "vl-table vl-answers", "aria-live": "polite" })

  const tiles = PIXELS.map((pixels, patch) => el("button", { type: "button", "data-patch": patch },
    svg("svg", { viewBox: "0 0 2 2", "aria-hidden": "true" }, ...pixels.map((v, i) => svg("rect", { x: i % 2, y: Math.floor(i / 2), width: 1.01, height: 1.01, fill: `rgb(${[30, 136, 242][v]} ${[30, 136, 242][v]} ${[30, 136, 242][v]})` }))),
    el("span", { "aria-hidden": "true", text: patch })))
  const swap = (a, b) => {
    ;[order[a], order[b]] = [order[b], order[a]]
    held = null
    draw()
  }
  tiles.forEach((tile, patch) => {
    let from = null, moved = false
    const place = () => order.indexOf(patch)
    tile.addEventListener("pointerdown", (event) => {
      if (event.button) return
      from = [event.clientX, event.clientY]
      moved = false
      tile.setPointerCapture(event.pointerId)
    })
    tile.addEventListener("pointermove", (event) => {
      if (!from) return
      const [x, y] = [event.clientX - from[0], event.clientY - from[1]]
      moved ||= Math.hypot(x, y) > 6
      if (moved) tile.style.translate = `${x}px ${y}px`
      tile.classList.toggle("vl-moving", moved)
    })
    const end = (event) => {
      if (!from) return
      from = null
      tile.style.translate = ""
      tile.classList.remove("vl-moving")
      const box = board.getBoundingClientRect(), x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height
      if (!moved || event.type === "pointercancel" || x < 0 || x > 1 || y < 0 || y > 1) return
      const to = 2 * Math.floor(2 * y) + Math.floor(2 * x)
      if (to !== place()) swap(place(), to)
    }
    tile.addEventListener("pointerup", end)
    tile.addEventListener("pointercancel", end)
    // Who cannot drag takes one with a click and another with a second; arrows move the one in focus.
    tile.addEventListener("click", () => {
      if (moved) return (moved = false)
      if (held === null || held === patch) (held = held === patch ? null : patch), draw()
      else swap(order.indexOf(held), place())
    })
    tile.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -2, ArrowDown: 2 }[event.key], at = place(), to = at + by
      if (!by) return
      event.preventDefault()
      if (to < 0 || to > 3 || (Math.abs(by) === 1 && Math.floor(at / 2) !== Math.floor(to / 2))) return
      swap(at, to)
      tile.focus()
    })
  })
  board.append(...tiles)

  function draw() {
    const now = attend(order, positions)
    order.forEach((patch, place) => {
      const tile = tiles[patch]
      tile.style.setProperty("--column", place % 2)
      tile.style.setProperty("--row", Math.floor(place / 2))
      tile.setAttribute("aria-label", fill(w.tile, { patch, what: w.kinds[patch], place: w.places[place] }))
      tile.setAttribute("aria-pressed", held === patch)
    })
    plane(now)
    const cell = (text, name) => el("td", { text, class: name })
    sequence.replaceChildren(
      el("thead", {}, el("tr", {}, ...["token", "vector", "place", "sum", "score", "weight"].map((name) => el("th", { scope: "col", text: w.columns[name], class: `vl-c-${name}` })))),
      el("tbody", {}, ...now.z.map((z, i) => el("tr", {},
        el("th", { scope: "row", text: i ? fill(w.token, { patch: order[i - 1] }) : w.class }),
        cell(pair(i ? TOKENS[order[i - 1]] : CLASS, 0), "vl-c-vector"), cell(positions ? pair(i ? CORNERS[i - 1] : [0, 0], 1) : "–", "vl-c-place"), cell(pair(z, positions ? 1 : 0), "vl-c-sum"),
        cell(fixed(now.scores[i]), "vl-c-score"), el("td", { class: "vl-c-weight" }, el("span", { class: "vl-weight", style: `--w: ${100 * now.weights[i]}%`, text: fixed(now.weights[i], 3) }))))))
    answers.replaceChildren(
      el("thead", {}, el("tr", {}, ...["answer", "start", "now", "moved"].map((name) => el("th", { scope: "col", text: w.columns[name] })))),
      el("tbody", {}, ...[false, true].map((p) => {
        const { answer } = attend(order, p), moved = Math.hypot(answer[0] - before[+p][0], answer[1] - before[+p][1])
        return el("tr", { class: p === positions ? "vl-on" : "", "data-moved": fixed(moved, 3) }, el("th", { scope: "row", text: p ? w.with : w.without }), cell(pair(before[+p])), cell(pair(answer)), cell(fixed(moved, 3), "vl-value"))
      })))
  }

  // The five vectors as points, the class token's weights as their size, and its answer among them.
  function plane({ z, weights, answer }) {
    // Equal units both ways, and what is left of the width on both sides.
    const width = Math.max(200, drawing.clientWidth), unit = Math.min(54, (width - 34) / 4.8), half = (width - 34) / unit / 2
    const p = plot({ width, height: 4.8 * unit + 30, left: 26, bottom: 22, right: 8, top: 8, x: { from: 0.6 - half, to: 0.6 + half, ticks: [-3, -2, -1, 0, 1, 2, 3, 4].filter((v) => Math.abs(v - 0.6) < half) }, y: { from: -2.9, to: 1.9, ticks: [-2, -1, 0, 1] }, label: w.plane })
    z.forEach((v, i) => {
      const patch = i ? order[i - 1] : null, token = i ? TOKENS[patch] : CLASS, at = { cx: p.x(v[0]), cy: p.y(v[1]) }
      if (positions && i) p.marks.append(svg("path", { class: "vl-line vl-step", d: `M${p.x(token[0])} ${p.y(token[1])}L${at.cx} ${at.cy}` }), svg("circle", { class: "vl-ghost", cx: p.x(token[0]), cy: p.y(token[1]), r: 3 }))
      p.marks.append(svg("circle", { class: i ? "vl-dot" : "vl-dot vl-warm", ...at, r: 5 + 16 * Math.sqrt(weights[i]) }),
        svg("text", { class: "vl-on-dot", x: at.cx, y: at.cy + 4, "text-anchor": "middle", text: i ? patch : w.short }))
    })
    const old = before[+positions]
    p.marks.append(svg("path", { class: "vl-line vl-step", d: `M${p.x(old[0])} ${p.y(old[1])}L${p.x(answer[0])} ${p.y(answer[1])}` }),
      svg("circle", { class: "vl-was", cx: p.x(old[0]), cy: p.y(old[1]), r: 8 }), svg("circle", { class: "vl-answer", cx: p.x(answer[0]), cy: p.y(answer[1]), r: 5 }))
    drawing.replaceChildren(p.root)
  }

  const kind = radios({ label: w.positions, name: "positions", options: { no: w.none, yes: w.added }, value: "no", on: (v) => ((positions = v === "yes"), draw()) })
  frame(root, w, draw, el("div", { class: "vl-controls vl-row" }, kind.root, button(w.reset, () => ((order = [0, 1, 2, 3]), (held = null), draw()), "reset")),
    el("div", { class: "vl-columns vl-toys" }, el("div", {}, el("p", { class: "vl-label", text: w.image }), board, el("p", { class: "vl-note", text: w.how })),
      answers, el("div", { class: "vl-given" }, el("p", { class: "vl-label", text: w.seen }), drawing, el("p", { class: "vl-key" }, el("i", { class: "vl-k-answer" }), w.key_now, el("i", { class: "vl-k-was" }), w.key_was))),
    sequence)
}
