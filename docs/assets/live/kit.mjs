// What the live figures share: elements, controls, a handle that one can drag or move by keys, and axes.
// Nothing here moves by itself, and colours are the page's own (live.css).

export function el(tag, { class: name, text, on = {}, ...rest } = {}, ...children) {
  return finish(document.createElement(tag), name, text, on, rest, children)
}

export function svg(tag, { class: name, text, on = {}, ...rest } = {}, ...children) {
  return finish(document.createElementNS("http://www.w3.org/2000/svg", tag), name, text, on, rest, children)
}

function finish(element, name, text, on, rest, children) {
  if (name) element.setAttribute("class", name)
  if (text !== undefined) element.textContent = text
  for (const [key, value] of Object.entries(rest))
    if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value)
  for (const [event, listen] of Object.entries(on)) element.addEventListener(event, listen)
  element.append(...children)
  return element
}

// ---- numbers and words ---------------------------------------------------------------------------------------

export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all)
export const fixed = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? 0 : x).toFixed(digits).replace("-", "−")
export const millions = (n, digits = 2) => fixed(n / 1e6, digits).replace(/^\d+/, (whole) => grouped(+whole))
export const grouped = (n) => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ",")
export const pair = (v, digits = 2) => `(${fixed(v[0], digits)}, ${fixed(v[1], digits)})`
const SUPER = { "-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((c, i) => [i, c])) }
export const ten = (n) => (n === 0 ? "1" : n === 1 ? "10" : `10${[...String(n)].map((c) => SUPER[c]).join("")}`)
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x))

// ---- the frame of a figure -----------------------------------------------------------------------------------

// Title, body, and what is computed here. `draw` is called now and whenever the width changes.
export function frame(root, words, draw, ...body) {
  const figure = el("div", { class: "vl", role: "group", "aria-label": words.title },
    el("p", { class: "vl-title" }, el("b", { text: words.live }), ` ${words.title}`), ...body, el("p", { class: "vl-note", text: words.note }))
  root.replaceChildren(figure)
  root.toggleAttribute("data-ready", true)
  let width = 0
  const look = () => {
    if (figure.clientWidth === width || !figure.clientWidth) return // hidden, in a fold
    width = figure.clientWidth
    draw()
  }
  look()
  new ResizeObserver(look).observe(figure)
}

// ---- controls ------------------------------------------------------------------------------------------------

// `text` says a value in words, beside the slider and to a screen reader.
export function slider({ label, min, max, step = 1, value, text, on, name }) {
  const input = el("input", { type: "range", min, max, step, value, "aria-label": label, "data-name": name })
  const output = el("output", {})
  const show = () => {
    output.textContent = text(Number(input.value))
    input.setAttribute("aria-valuetext", output.textContent)
  }
  input.addEventListener("input", () => (show(), on(Number(input.value))))
  show()
  return {
    root: el("label", { class: "vl-range" }, el("span", { text: label }), input, output),
    set: (v) => ((input.value = v), show()),
  }
}

let group = 0

// `options`: value → text. `set(null)` leaves none chosen.
export function radios({ label, options, value, on, name }) {
  const id = `vl-${++group}`
  const inputs = Object.entries(options).map(([key, text]) =>
    el("label", {}, el("input", { type: "radio", name: id, value: key, checked: key === String(value), on: { change: () => on(key) } }), el("span", { text })))
  const root = el("fieldset", { class: "vl-radios", "data-name": name }, el("legend", { text: label }), el("div", {}, ...inputs))
  const set = (key) => root.querySelectorAll("input").forEach((input) => (input.checked = input.value === String(key)))
  return { root, set }
}

export const button = (text, click, name) => el("button", { type: "button", text, "data-name": name, on: { click } })

// ---- a handle ------------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }

// Make `grip` draggable in `surface`, an <svg>. `move(x, y)` gets pixels of the drawing, `step(dx, dy)` arrow keys: up is
// (0, 1). `say` is the value in words, `now` as a number. Where it is the only grip, a tap on the surface moves it there.
export function handle(surface, grip, { label, kind, move, step, say, now, min, max, alone = true, begin = () => {}, end = () => {} }) {
  const aria = { tabindex: 0, role: "slider", "aria-label": label, "aria-roledescription": kind, "aria-valuemin": min, "aria-valuemax": max }
  for (const [key, value] of Object.entries(aria)) if (value !== undefined) grip.setAttribute(key, value)
  const tell = () => {
    grip.setAttribute("aria-valuetext", say())
    grip.setAttribute("aria-valuenow", now())
  }
  const to = (event) => {
    const box = surface.getBoundingClientRect()
    move(event.clientX - box.left, event.clientY - box.top)
    tell()
  }
  const from = alone ? surface : grip
  // A finger that lands beside the grip may want to scroll, so there only a tap counts.
  if (alone) surface.addEventListener("click", to)
  from.addEventListener("pointerdown", (event) => {
    if (event.button || (event.pointerType === "touch" && !grip.contains(event.target))) return
    from.setPointerCapture(event.pointerId)
    grip.focus({ preventScroll: true })
    event.preventDefault()
    begin()
    if (alone) to(event)
  })
  from.addEventListener("pointermove", (event) => from.hasPointerCapture(event.pointerId) && to(event))
  from.addEventListener("lostpointercapture", end)
  grip.addEventListener("keydown", (event) => {
    const by = ARROWS[event.key]
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    step(...by.map((v) => v * (event.shiftKey ? 4 : 1)))
    tell()
  })
  tell()
  return tell
}

// ---- axes ----------------------------------------------------------------------------------------------------

// An axis: { from, to, log, ticks: [value or [value, text]], name }. Returns x(v), y(v), their inverses, and the parts.
export function plot({ width, height, x, y, left = 46, right = 12, top = 12, bottom = 36, label }) {
  const scale = (axis, a, b) => {
    const f = axis.log ? Math.log10 : (v) => v, low = f(axis.from), high = f(axis.to)
    return [(v) => a + ((f(v) - low) / (high - low)) * (b - a), (p) => {
      const t = low + ((p - a) / (b - a)) * (high - low)
      return axis.log ? 10 ** t : t
    }]
  }
  const [px, ix] = scale(x, left, width - right), [py, iy] = scale(y, height - bottom, top)
  const root = svg("svg", { class: "vl-plot", width, height, viewBox: `0 0 ${width} ${height}`, role: label ? "img" : undefined, "aria-label": label })
  const grid = svg("g", { class: "vl-axes", "aria-hidden": "true" })
  for (const tick of x.ticks ?? []) {
    const [v, text] = [tick].flat().length > 1 ? tick : [tick, String(tick).replace("-", "−")]
    grid.append(svg("path", { d: `M${px(v)} ${top}V${height - bottom}` }), svg("text", { x: px(v), y: height - bottom + 15, "text-anchor": "middle", text }))
  }
  for (const tick of y.ticks ?? []) {
    const [v, text] = [tick].flat().length > 1 ? tick : [tick, String(tick).replace("-", "−")]
    grid.append(svg("path", { d: `M${left} ${py(v)}H${width - right}` }), svg("text", { x: left - 6, y: py(v) + 4, "text-anchor": "end", text }))
  }
  if (x.name) grid.append(svg("text", { class: "vl-axis", x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle", text: x.name }))
  if (y.name) grid.append(svg("text", { class: "vl-axis", x: 0, y: top - 12, text: y.name }))
  const marks = svg("g", {})
  root.append(grid, marks)
  const line = (points, name) => svg("path", { class: `vl-line ${name}`, d: `M${points.map(([a, b]) => `${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("L")}` })
  return { root, marks, x: px, y: py, ix, iy, line, inner: { left, right: width - right, top, bottom: height - bottom } }
}
