// Lesson 1: the photograph cut into patches of a side that the reader chooses.
import { clamp, el, fill, frame, grouped, handle, millions, slider, svg } from "./kit.mjs"

export const PHOTO = { C: 3, H: 224, W: 224 }
export const SIDES = Array.from({ length: PHOTO.H }, (_, i) => i + 1).filter((P) => PHOTO.H % P === 0)

// What the lesson computes of a side: patches, numbers in each, in all, pairs of patches, bytes of one head's weights.
export function count(P, { C, H, W } = PHOTO) {
  const N = (H / P) * (W / P)
  return { N, each: P * P * C, all: N * P * P * C, pairs: N * N, bytes: 4 * N * N }
}

export function start(root, w) {
  const { C, H, W } = PHOTO, photo = new URL("../chelsea.jpg", import.meta.url).href
  let P = 16, at = [72, 88] // a pixel of the patch that is looked at: an eye
  const lines = svg("path", { class: "vl-grid" }), chosen = svg("rect", { class: "vl-chosen" })
  const board = svg("svg", { class: "vl-photo", viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": w.photo }, svg("image", { href: photo, width: W, height: H }), lines, chosen)
  const close = svg("svg", { class: "vl-close", role: "img" }, svg("image", { href: photo, width: W, height: H }))
  const told = el("p", { class: "vl-told" }), rows = el("table", { class: "vl-table" })
  const place = () => at.map((v) => Math.floor(v / P)) // column, row

  const side = slider({ label: w.side, name: "side", min: 0, max: SIDES.length - 1, value: SIDES.indexOf(P), text: (i) => fill(w.pixels, { P: SIDES[i] }), on: (i) => ((P = SIDES[i]), draw()) })
  const where = () => fill(w.patch, { i: place()[1] * (W / P) + place()[0], row: place()[1], column: place()[0] })
  const tell = handle(board, chosen, {
    label: w.look,
    move: (x, y) => {
      const box = board.getBoundingClientRect()
      look((x / box.width) * W, (y / box.height) * H)
    },
    step: (x, y) => look((place()[0] + x + 0.5) * P, (place()[1] - y + 0.5) * P),
    say: where,
    now: () => place()[1] * (W / P) + place()[0], min: 0, max: H * W - 1,
  })
  function look(x, y) {
    at = [clamp(x, 0, W - 1), clamp(y, 0, H - 1)]
    draw()
  }
  function draw() {
    const n = count(P), [column, row] = place()
    let d = ""
    if (P > 2) for (let i = P; i < W; i += P) d += `M${i} 0V${H}M0 ${i}H${W}`
    lines.setAttribute("d", d)
    lines.setAttribute("stroke-width", P < 8 ? 0.35 : 0.7)
    for (const [key, value] of Object.entries({ x: column * P, y: row * P, width: P, height: P })) chosen.setAttribute(key, value)
    close.setAttribute("viewBox", `${column * P} ${row * P} ${P} ${P}`)
    close.setAttribute("aria-label", where())
    told.textContent = where() + (P > 2 ? "" : ` ${w.fine}`)
    const sums = {
      shape: [`(${C}, ${H}, ${W}) → (${grouped(n.N)}, ${grouped(n.each)})`],
      N: [`${H} · ${W} / ${P}²`, grouped(n.N)],
      each: [`${P} · ${P} · ${C}`, grouped(n.each)],
      all: [`${grouped(n.N)} · ${grouped(n.each)}`, grouped(n.all)],
      pairs: [`${grouped(n.N)}²`, grouped(n.pairs)],
      bytes: [fill(w.four, { pairs: grouped(n.pairs) }), fill(w.megabytes, { n: n.bytes < 5000 ? "< 0.01" : millions(n.bytes) })],
    }
    rows.replaceChildren(...Object.entries(sums).map(([name, [sum, value]]) =>
      el("tr", { "data-row": name }, el("th", { scope: "row", text: w.rows[name] }), value === undefined ? el("td", { colspan: 2, class: "vl-value", text: sum }) : el("td", { class: "vl-sum", text: sum }), value === undefined ? "" : el("td", { class: "vl-value", text: value }))))
    tell()
  }
  frame(root, w, draw, el("div", { class: "vl-controls" }, side.root),
    el("div", { class: "vl-columns" }, board, el("div", { class: "vl-beside" }, el("div", { class: "vl-patch" }, close, told), rows)))
}
