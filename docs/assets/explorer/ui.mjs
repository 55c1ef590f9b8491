// The explorer on the page: state in, pictures out. It computes nothing of the model; worker.mjs does that.
import { arrange, blend, colour_map, fill, paint, percent, rearrange, shrink } from "./draw.mjs"
import { START, UNCHANGED, is_changed, read, write } from "./state.mjs"
import { PANELS, SEEN, is_done } from "./tour.mjs"
import { dot, rollout, softmax } from "./vit.mjs"

const language = document.documentElement.lang // English words have no language in their name
const WORDS = language === "en" ? "words.json" : `words.${language}.json`
const here = (name) => new URL(name, import.meta.url)
const get = async (name) => {
  const response = await fetch(here(name))
  if (!response.ok) throw new Error(`${response.status} ${name}`)
  return response
}
const LARGE = 192 // pixels of an opened or drawn picture before it is made small: a multiple of every size

// An element: attributes, `on` for listeners, `class` and `text`, then children.
function el(tag, { class: name, text, on = {}, ...rest } = {}, ...children) {
  const element = document.createElement(tag)
  if (name) element.className = name
  if (text !== undefined) element.textContent = text
  for (const [key, value] of Object.entries(rest)) if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value)
  for (const [event, listen] of Object.entries(on)) element.addEventListener(event, listen)
  element.append(...children)
  return element
}

export async function start(root) {
  const [words, about, pictures, packed] = await Promise.all([
    get(WORDS).then((r) => r.json()),
    get("first.json").then((r) => r.json()),
    get("pictures-32.bin").then((r) => r.arrayBuffer()),
    get("first.bin").then((r) => r.arrayBuffer()),
  ])
  return new Explorer(root, words, about, pictures, packed)
}

class Explorer {
  constructor(root, words, about, pictures, packed) {
    Object.assign(this, { root, words, about, config: about.config, heat: colour_map(about.heat), signed: colour_map(about.signed) })
    this.embedded = root.dataset.state !== undefined // in a lesson: fixed panels, and the address is the lesson's
    this.bytes = new Map([[START.size, new Uint8Array(pictures)]])
    this.own = null
    this.first = this.unpack(packed)
    this.answers = new Map() // of unchanged pictures, to compare with
    this.ticks = new Set(this.remembered())
    this.picked = null // row of the table of numbers that shows its arithmetic
    this.tool = "look"
    this.state = read(this.embedded ? root.dataset.state : location.hash, about, words.stops.length)
    this.before = { ...this.state }
    this.seen = new Set()
    this.build()
    this.listen = {
      hashchange: () => this.embedded || this.change(read(location.hash, about, words.stops.length), false),
      paste: (event) => {
        const item = [...(event.clipboardData?.items ?? [])].find((i) => i.type.startsWith("image/"))
        if (item) this.open(item.getAsFile())
      },
    }
    addEventListener("hashchange", this.listen.hashchange)
    document.addEventListener("paste", this.listen.paste)
    if (this.state.mode === "tour") this.enter()
    this.ask()
    this.draw() // at once: a frame with parts that are then hidden would move what is below them
  }

  stop() {
    removeEventListener("hashchange", this.listen.hashchange)
    document.removeEventListener("paste", this.listen.paste)
    this.worker?.terminate()
  }

  // The answer that came with the page: 8 bits of each row's largest weight. Few readers ask for its rollout, which takes
  // a third of the time in which the explorer appears, so it waits until one does.
  unpack(packed) {
    const { depth, num_heads: h, img_size, patch_size } = this.config
    const N = 1 + (img_size / patch_size) ** 2, rows = depth * h * N
    const tops = new Float32Array(packed, 0, rows), bytes = new Uint8Array(packed, 4 * rows)
    const all = new Float32Array(rows * N)
    for (let row = 0; row < rows; row++)
      for (let i = row * N; i < (row + 1) * N; i++) all[i] = (bytes[i] / 255) * tops[row]
    const attention = Array.from({ length: depth }, (_, l) => all.subarray(l * h * N * N, (l + 1) * h * N * N))
    const lens = this.about.lens.map((row) => Float32Array.from(row))
    let rolled = null
    return { attention, lens, logits: lens.at(-1), get rollout() { return (rolled ??= rollout(attention, h)) }, key: this.key(START) }
  }

  // ---- what is asked of the model -----------------------------------------------------------------------------

  key(s) {
    return JSON.stringify([s.picture, s.picture === "own" ? this.own?.version : 0, s.size, s.masked, s.shuffle, s.swaps, s.positions, s.random])
  }

  plain(s) {
    return this.key({ ...s, ...UNCHANGED })
  }

  get side() { return this.state.size / this.config.patch_size }
  get count() { return this.side ** 2 }

  order() {
    return arrange(this.count, this.state.shuffle, this.state.swaps.map((pair) => pair.map((n) => n - 1)))
  }

  // The picture's bytes (S, S, 3), or null while they are on their way.
  pixels() {
    const { picture, size } = this.state
    if (picture === "own") return this.own[size]
    const all = this.bytes.get(size), length = 3 * size * size
    if (all) return all.subarray(this.about.pictures.indexOf(picture) * length).subarray(0, length)
    this.wait ??= get(`pictures-${size}.bin`).then((r) => r.arrayBuffer())
      .then((buffer) => (this.bytes.set(size, new Uint8Array(buffer)), (this.wait = null), this.update()))
      .catch((error) => this.say(fill(this.words.failed, { reason: error.message })))
    return null
  }

  // Load the weights, once.
  load() {
    if (this.worker) return
    this.worker = new Worker(here("worker.mjs"), { type: "module" })
    this.worker.addEventListener("message", ({ data }) => this.receive(data))
    this.worker.addEventListener("error", (event) => this.receive({ error: event.message ?? "worker", loading: true }))
    const { file, bytes } = this.about.weights
    this.worker.postMessage({ load: { url: here(file).href, bytes } })
    this.progress(0)
  }

  receive({ progress, ready, result, error, loading }) {
    if (progress !== undefined) this.progress(progress)
    if (ready) (this.ready = true), this.update()
    if (result) {
      this.running = false
      this.result = result
      this.milliseconds = result.milliseconds
      this.update()
    }
    if (error) {
      this.running = false
      if (loading) this.worker?.terminate(), (this.worker = null), (this.ready = false)
      this.say(fill(this.words.failed, { reason: error }))
      this.button.hidden = false
      this.button.textContent = this.words.again
    }
  }

  progress(part) {
    this.bar.hidden = part >= 1
    this.bar.value = part
    this.button.hidden = true
    this.say(part < 1 ? fill(this.words.loading, { percent: Math.round(100 * part) }) : this.words.computing)
  }

  say(text) {
    if (this.status.textContent !== text) this.status.textContent = text
  }

  // Have the result for the state, or ask for it. One question at a time: the newest is asked when the last is answered.
  ask() {
    const key = this.key(this.state)
    if (this.result?.key === key && (this.result.qkv || !this.ready)) return // what came with the page lacks the numbers
    if (key === this.first.key && !this.ready) return (this.result = this.first)
    const pixels = this.pixels()
    if (!pixels) return
    if (!this.ready) return this.load()
    if (this.running) return
    this.running = true
    const { size, random, positions, masked } = this.state
    const options = { positions, masked: masked.map((n) => n - 1), order: this.order() }
    this.worker.postMessage({ run: { key, pixels: pixels.slice(), side: size, seed: random || null, options } })
  }

  // ---- changes ------------------------------------------------------------------------------------------------

  change(part, linked = true) {
    const old = this.state
    this.state = { ...old, ...part }
    if (this.state.picture === "own" && !this.own) this.state.picture = START.picture
    const N = this.count
    if (this.state.size !== old.size) Object.assign(this.state, { masked: [], swaps: [], patch: this.moved(old) })
    this.state.patch = Math.min(this.state.patch, N)
    if (this.state.mode !== old.mode || this.state.stop !== old.stop) this.enter()
    this.update()
    if (linked && !this.embedded) history.replaceState(history.state, "", write(this.state))
  }

  // The patch at the same place of another grid.
  moved(old) {
    if (!old.patch) return 0
    const g = old.size / this.config.patch_size, scale = this.side / g
    const [row, column] = [Math.floor((old.patch - 1) / g), (old.patch - 1) % g].map((v) => Math.floor((v + 0.5) * scale))
    return 1 + row * this.side + column
  }

  tap(place) {
    const { masked, swaps } = this.state
    if (this.tool === "cover") {
      this.change({ masked: masked.includes(place) ? masked.filter((n) => n !== place) : [...masked, place] })
    } else if (this.tool === "swap" && this.held && this.held !== place) {
      const held = this.held
      this.held = null
      this.change({ swaps: [...swaps, [held, place]] })
    } else if (this.tool === "swap") {
      this.held = this.held === place ? null : place
      this.update()
    } else this.change({ patch: place })
  }

  async open(file) {
    try {
      const image = await createImageBitmap(file)
      const canvas = el("canvas", { width: LARGE, height: LARGE }), context = canvas.getContext("2d")
      const side = Math.min(image.width, image.height)
      context.fillStyle = "#fff"
      context.fillRect(0, 0, LARGE, LARGE)
      context.drawImage(image, (image.width - side) / 2, (image.height - side) / 2, side, side, 0, 0, LARGE, LARGE)
      this.keep(context.getImageData(0, 0, LARGE, LARGE))
    } catch {
      this.say(this.words.unreadable)
    }
  }

  keep(large) {
    const version = (this.own?.version ?? 0) + 1
    this.own = { version, ...Object.fromEntries(this.about.sizes.map((side) => [side, shrink(large, side)])) }
    this.change({ ...UNCHANGED, picture: "own" })
  }

  // ---- the tour -----------------------------------------------------------------------------------------------

  remembered() {
    try {
      return JSON.parse(localStorage.getItem("explorer") ?? "[]")
    } catch {
      return []
    }
  }

  enter() {
    const stop = this.words.stops[this.state.stop - 1]
    if (this.state.mode === "tour") {
      Object.assign(this.state, UNCHANGED, { view: "attention", head: this.state.head || START.head })
      this.choose_tool(stop.id === "answer" ? "cover" : "look")
      if (stop.id === "cls" || stop.id === "tokens" || stop.id === "patches") this.state.patch ||= START.patch
      if (stop.id === "honest") Object.assign(this.state, { block: this.config.depth, patch: 0 })
    }
    this.before = { ...this.state }
    this.seen = new Set()
    this.picked = null
  }

  tick() {
    if (this.state.mode !== "tour") return
    const stop = this.words.stops[this.state.stop - 1]
    for (const name of SEEN) this.seen.add(`${name} ${this.state[name]}`)
    const shown = this.result?.key === this.key(this.state)
    const done = is_done(stop.id, { state: this.state, before: this.before, seen: this.seen, picked: this.picked, config: this.config, answer: shown ? this.best(this.result.logits) : null, plain: this.best(this.answers.get(this.plain(this.state))) })
    if (done && !this.ticks.has(stop.id)) {
      this.ticks.add(stop.id)
      try {
        localStorage.setItem("explorer", JSON.stringify([...this.ticks]))
      } catch { /* a private window may refuse; the tick stands until the page is left */ }
    }
  }

  best(logits) {
    return logits ? logits.indexOf(Math.max(...logits)) : null
  }

  // ---- the page -----------------------------------------------------------------------------------------------

  build() {
    const w = this.words
    const section = (name, ...children) => el("section", { "data-panel": name, class: "vx-panel" }, ...children)
    const title = (name) => el(this.heading(), { class: "vx-title", text: w[name] })
    this.button = el("button", { type: "button", class: "vx-load", on: { click: () => this.load() } })
    this.status = el("p", { class: "vx-status", role: "status" })
    this.bar = el("progress", { max: 1, "aria-label": w.load, hidden: true })
    this.modes = this.radios("mode", w.mode, { tour: w.tour, free: w.free }, (mode) => this.change({ mode }))
    this.link = el("button", { type: "button", on: { click: () => this.copy() }, text: w.link })

    this.thumbs = el("div", { class: "vx-thumbs", role: "group", "aria-label": w.pictures })
    const file = el("input", { type: "file", accept: "image/*", class: "vx-file", "aria-label": w.open, on: { change: () => {
      const [chosen] = file.files
      file.value = "" // so that the same file can be opened again
      if (chosen) this.open(chosen)
    } } })
    this.sketch = this.drawing()
    this.picture = this.board(w.picture)
    this.map = this.board(w.map)
    this.tools = this.radios("tool", w.tool, w.tools, (tool) => (this.choose_tool(tool), this.update()))
    this.sizes = el("select", { on: { change: () => this.change({ size: Number(this.sizes.value) }) } },
      ...this.about.sizes.map((side) => el("option", { value: side, text: fill(w.size_value, { side }) })))
    this.positions = this.check(w.positions, (on) => this.change({ positions: !on }))
    this.random = this.check(w.random, (on) => this.change({ random: on ? 1 : 0 }))
    this.undo = el("button", { type: "button", text: w.undo, on: { click: () => ((this.held = null), this.change(UNCHANGED)) } })
    const shuffle = el("button", { type: "button", text: w.shuffle, on: { click: () => this.change({ swaps: [], shuffle: this.state.shuffle + 1 }) } })
    this.picture_text = el("p", { class: "vx-note" })

    this.block = el("input", { type: "range", min: 1, max: this.config.depth, on: { input: () => this.change({ block: Number(this.block.value) }) } })
    this.block_value = el("output")
    const heads = { 0: w.mean, ...Object.fromEntries(Array.from({ length: this.config.num_heads }, (_, i) => [i + 1, i + 1])) }
    this.heads = this.radios("head", w.head, heads, (head) => this.change({ head: Number(head) }))
    this.views = this.radios("view", w.view, w.views, (view) => this.change({ view }))
    this.scales = this.radios("scale", w.scale, { ...w.scales, fixed: fill(w.scales.fixed, { top: percent(this.about.scale) }) }, (scale) => this.change({ scale }))
    this.cls = el("button", { type: "button", class: "vx-cls", text: w.cls, on: { click: () => this.change({ patch: 0 }) } })
    this.ramp = el("canvas", { class: "vx-ramp", "aria-hidden": "true" })
    paint(this.ramp, 64, 1, (x) => this.heat(x / 63))
    this.legend = el("span")
    this.over = el("p", { class: "vx-note" })
    this.sentence = el("p", { class: "vx-note", "aria-live": "polite" })

    this.top5 = el("tbody")
    this.lens = el("tbody")
    this.changed = el("p", { class: "vx-note" })
    this.maps = el("canvas", { "aria-hidden": "true", on: { click: (event) => this.pick_map(event) } })
    this.mark = el("div", { class: "vx-mark" })
    this.numbers = el("div", { class: "vx-numbers" })
    this.walk_text = el("p", { class: "vx-note" })
    this.patch_panel = el("div", { class: "vx-patch" })
    this.tokens = el("canvas", { "aria-hidden": "true", on: { click: (event) => this.change({ patch: Math.floor((event.offsetX / this.tokens.clientWidth) * (this.count + 1)) }) } })
    this.token_mark = el("div", { class: "vx-mark" })

    this.panels = el("div", { class: "vx-panels" },
      section("pictures", this.thumbs,
        el("div", { class: "vx-row" },
          el("label", { class: "vx-button" }, w.open, file),
          el("span", { class: "vx-note", text: w.paste }),
          el("button", { type: "button", text: w.draw, on: { click: () => this.show_drawing() } })),
        this.sketch),
      el("div", { class: "vx-col vx-first" },
        section("map", title("map"), el("div", { class: "vx-row vx-spread" }, this.cls, el("span", { class: "vx-legend" }, this.ramp, this.legend)), this.map.element, this.over, this.sentence),
        section("choose", el("label", { class: "vx-range" }, el("span", { text: w.block }), this.block, this.block_value), this.heads, this.views, this.scales)),
      el("div", { class: "vx-col" },
        section("answer", title("answer"), el("table", { class: "vx-bars" }, this.top5), this.changed),
        section("probe", title("probe"), el("table", { class: "vx-bars" }, this.lens), el("p", { class: "vx-note", text: w.probe_text }))),
      el("div", { class: "vx-col" },
        section("picture", title("picture"), this.picture.element, this.picture_text),
        section("change", this.tools, el("div", { class: "vx-row" }, shuffle, this.undo), el("div", { class: "vx-row" }, this.positions.label, this.random.label), el("label", { class: "vx-row" }, w.size, this.sizes))),
      section("patch", title("patch"), this.patch_panel),
      section("tokens", title("tokens"), el("div", { class: "vx-over" }, this.tokens, this.token_mark), el("p", { class: "vx-note", text: fill(w.tokens_text, { n: 65, D: this.config.embed_dim }) })),
      section("walk", title("walk"), this.walk_text, this.numbers),
      section("overview", title("overview"), el("p", { class: "vx-note", text: w.overview_text }), el("div", { class: "vx-over" }, this.maps, this.mark)))

    this.tour = el("section", { class: "vx-tour", "aria-label": w.tour })
    const body = el("div", { class: "vx" }, el("div", { class: "vx-row vx-spread vx-head" }, this.modes, this.embedded ? "" : this.link),
      el("div", { class: "vx-row vx-state" }, this.button, this.bar, this.status), this.tour, this.panels)
    this.picture.element.addEventListener("dragover", (event) => event.preventDefault())
    this.picture.element.addEventListener("drop", (event) => {
      event.preventDefault()
      if (event.dataTransfer.files[0]) this.open(event.dataTransfer.files[0])
    })
    this.fallback = [...this.root.childNodes]
    this.root.replaceChildren(body)
    this.button.textContent = fill(w.load, { size: this.megabytes() })
  }

  // One level below the heading that stands before the explorer on its page.
  heading() {
    const before = [...document.querySelectorAll("h1, h2, h3")].filter((h) => !this.root.contains(h) && h.compareDocumentPosition(this.root) & 4)
    return `h${1 + Number(before.at(-1)?.tagName[1] ?? 1)}`
  }

  megabytes() {
    return (this.about.weights.bytes / 1e6).toFixed(1)
  }

  radios(name, label, choices, chosen) {
    const group = `${name}-${Math.random().toString(36).slice(2)}`
    return el("fieldset", { class: "vx-radios", "data-name": name }, el("legend", { text: label }),
      ...Object.entries(choices).map(([value, text]) => el("label", {}, el("input", { type: "radio", name: group, value, on: { change: () => chosen(value) } }), el("span", { text }))))
  }

  check(text, toggled) {
    const input = el("input", { type: "checkbox", on: { change: () => toggled(input.checked) } })
    return { input, label: el("label", { class: "vx-check" }, input, text) }
  }

  choose_tool(tool) {
    this.tool = tool
    this.held = null
  }

  // A picture under a grid of buttons, one of which the Tab key reaches; arrow keys go on from there.
  board(label) {
    const canvas = el("canvas", { "aria-hidden": "true" }), grid = el("div", { class: "vx-grid", role: "grid", "aria-label": label })
    const board = { element: el("div", { class: "vx-board" }, canvas, grid), canvas, cells: [] }
    grid.addEventListener("click", (event) => {
      const place = board.cells.indexOf(event.target) + 1
      if (place) board === this.map ? this.change({ patch: place }) : this.tap(place)
    })
    grid.addEventListener("keydown", (event) => {
      const g = this.side, from = board.cells.indexOf(event.target)
      const row = Math.floor(from / g), column = from % g
      const to = { ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], Home: [row, 0], End: [row, g - 1] }[event.key]
      if (!to || from < 0) return
      event.preventDefault()
      const [r, c] = to.map((v) => Math.min(g - 1, Math.max(0, v))), place = 1 + r * g + c
      if (board === this.map || this.tool === "look") this.change({ patch: place })
      for (const cell of board.cells) cell.tabIndex = -1
      board.cells[place - 1].tabIndex = 0
      board.cells[place - 1].focus()
    })
    return board
  }

  grid(board) {
    if (board.cells.length === this.count) return
    board.cells = Array.from({ length: this.count }, () => el("button", { type: "button", role: "gridcell", tabindex: -1 }))
    const grid = board.element.querySelector(".vx-grid"), g = this.side
    grid.style.setProperty("--side", g)
    grid.replaceChildren(...Array.from({ length: g }, (_, r) => el("div", { role: "row" }, ...board.cells.slice(r * g, (r + 1) * g))))
    board.cells[0].tabIndex = 0
  }

  drawing() {
    const w = this.words, canvas = el("canvas", { width: LARGE, height: LARGE, class: "vx-sketch", "aria-label": w.canvas, role: "img" })
    const pen = canvas.getContext("2d", { willReadFrequently: true })
    const colours = el("fieldset", { class: "vx-colours" }, el("legend", { text: w.colour }), ...Object.entries(w.colours).map(([name, value], i) =>
      el("label", { title: name }, el("input", { type: "radio", name: "vx-colour", value, checked: i === 0, "aria-label": name }), el("span", { style: `background:${value}` }))))
    const thick = el("input", { type: "range", min: 6, max: 60, value: 22 })
    const colour = () => colours.querySelector("input:checked").value
    const clear = () => {
      pen.fillStyle = colour() === w.colours.black ? "#ffffff" : colour()
      pen.fillRect(0, 0, LARGE, LARGE)
      this.keep(pen.getImageData(0, 0, LARGE, LARGE))
    }
    let last = null
    const at = (event) => [(event.offsetX / canvas.clientWidth) * LARGE, (event.offsetY / canvas.clientHeight) * LARGE]
    const line = (to) => {
      pen.strokeStyle = colour()
      pen.lineWidth = thick.value
      pen.lineCap = "round"
      pen.beginPath()
      pen.moveTo(...last)
      pen.lineTo(...to)
      pen.stroke()
      last = to
    }
    canvas.addEventListener("pointerdown", (event) => (canvas.setPointerCapture(event.pointerId), (last = at(event)), line(last)))
    canvas.addEventListener("pointermove", (event) => last && line(at(event)))
    canvas.addEventListener("pointerup", () => last && ((last = null), this.keep(pen.getImageData(0, 0, LARGE, LARGE))))
    canvas.addEventListener("pointercancel", () => (last = null))
    const panel = el("div", { class: "vx-drawing", hidden: true }, canvas, el("div", {}, colours, el("label", { class: "vx-range" }, el("span", { text: w.thick }), thick),
      el("div", { class: "vx-row" }, el("button", { type: "button", text: w.fill, on: { click: clear } }), el("button", { type: "button", text: w.done, on: { click: () => (panel.hidden = true) } }))))
    panel.clear = clear
    return panel
  }

  show_drawing() {
    this.sketch.hidden = !this.sketch.hidden
    if (!this.sketch.hidden && !this.drawn) (this.drawn = true), this.sketch.clear()
  }

  async copy() {
    await navigator.clipboard?.writeText(location.origin + location.pathname + write(this.state)).catch(() => 0)
    this.link.textContent = this.words.copied
    setTimeout(() => (this.link.textContent = this.words.link), 1500)
  }

  pick_map({ offsetX, offsetY }) {
    const { depth, num_heads: h } = this.config
    this.change({ view: "attention", block: 1 + Math.min(depth - 1, Math.floor((offsetX / this.maps.clientWidth) * depth)), head: 1 + Math.min(h - 1, Math.floor((offsetY / this.maps.clientHeight) * h)) })
  }

  // ---- drawing the state --------------------------------------------------------------------------------------

  update() {
    this.ask()
    if (this.frame) return
    this.frame = requestAnimationFrame(() => {
      this.frame = null
      this.draw()
    })
  }

  // A row of weights (N,) of the result: of one head, of their mean, or of the rollout.
  row(result, { block, head, patch, view }) {
    const N = 1 + this.count, h = this.config.num_heads
    if (view === "rollout") return result.rollout.subarray(patch * N, (patch + 1) * N)
    const maps = result.attention[block - 1], at = (k) => maps.subarray((k * N + patch) * N, (k * N + patch + 1) * N)
    if (head) return at(head - 1)
    return Float32Array.from({ length: N }, (_, j) => { let sum = 0; for (let k = 0; k < h; k++) sum += at(k)[j] / h; return sum })
  }

  where(place) {
    return { row: 1 + Math.floor((place - 1) / this.side), column: 1 + ((place - 1) % this.side) }
  }

  who(patch) {
    const w = this.words
    return patch ? fill(w.from_patch, { patch, cell: fill(w.cell, this.where(patch)) }) : w.from_cls
  }

  draw() {
    const s = this.state, w = this.words, result = this.result
    const pixels = this.pixels()
    const fits = result && result.attention[0].length === this.config.num_heads * (1 + this.count) ** 2
    const current = fits && result.key === this.key(s)
    if (current) this.answers.set(is_changed(s) ? "" : result.key, result.logits)
    this.tick()
    this.draw_controls(current)
    this.draw_tour()
    if (!pixels) return
    const mean = [125, 123, 114] // about the mean of the training pictures, to look at; the model gets exactly that
    this.shown = rearrange(pixels, s.size, this.config.patch_size, this.order(), s.masked.map((n) => n - 1), mean)
    this.draw_picture()
    this.draw_thumbs()
    if (!this.hides("patch")) this.draw_patch()
    if (!fits) return
    this.draw_map(result)
    this.draw_answer(result)
    this.draw_overview(result)
    this.draw_walk(current ? result : null)
    this.draw_tokens(current ? result : null)
  }

  // Whether a panel is hidden now; what is hidden need not be drawn.
  hides(name) {
    return this.panels.querySelector(`[data-panel=${name}]`).hidden
  }

  draw_controls(current) {
    const s = this.state, w = this.words
    const check = (group, value) => {
      const input = group.querySelector(`input[value="${value}"]`)
      if (input) input.checked = true
    }
    check(this.modes, s.mode)
    check(this.heads, s.head)
    check(this.views, s.view)
    check(this.scales, s.scale)
    check(this.tools, this.tool)
    this.block.value = s.block
    this.block_value.textContent = fill(w.block_value, { block: s.block, depth: this.config.depth })
    this.block.setAttribute("aria-valuetext", this.block_value.textContent)
    this.block.disabled = this.heads.disabled = s.view === "rollout"
    this.sizes.value = s.size
    this.positions.input.checked = !s.positions
    this.random.input.checked = Boolean(s.random)
    this.undo.disabled = !is_changed(s)
    this.link.title = s.picture === "own" ? w.own_link : ""
    this.root.firstElementChild.classList.toggle("vx-busy", !current)
    const only = this.root.dataset.panels?.split(" ") ?? (s.mode === "tour" ? PANELS[w.stops[s.stop - 1].id] : PANELS.free)
    for (const panel of this.panels.querySelectorAll("[data-panel]")) panel.hidden = !only.includes(panel.dataset.panel)
    for (const column of this.panels.querySelectorAll(".vx-col")) column.hidden = !column.querySelector(":scope > :not([hidden])")
    this.modes.hidden = this.embedded
    if (this.ready) {
      this.bar.hidden = this.button.hidden = true
      if (current && this.milliseconds) this.say(fill(w.ready, { ms: Math.round(this.milliseconds) }))
    } else if (!this.worker && this.button.textContent !== w.again) this.say(fill(w.waiting, { size: this.megabytes() }))
  }

  draw_tour() {
    const s = this.state, w = this.words
    this.tour.hidden = s.mode !== "tour"
    if (this.tour.hidden) return
    const stop = w.stops[s.stop - 1], count = w.stops.length, { img_size: side, patch_size: P, embed_dim: D, num_heads: h, depth: L } = this.config
    const values = { side, P, D, h, L, K: this.about.classes.length, d: D / h }
    const done = this.ticks.has(stop.id)
    const look = `${stop.id} ${[...this.ticks]}`
    if (this.tour.dataset.look === look) return // so that the button that has the focus stays
    const moved = this.tour.dataset.look && !this.tour.dataset.look.startsWith(`${stop.id} `)
    this.tour.dataset.look = look
    const go = (to) => ({ click: () => this.change({ stop: to }) })
    const heading = el(this.heading(), { text: stop.title, tabindex: -1 })
    this.tour.replaceChildren(
      el("ol", { class: "vx-dots" }, ...w.stops.map((other, i) => el("li", {}, el("button", { type: "button", class: this.ticks.has(other.id) ? "vx-ticked" : "", "aria-current": i + 1 === s.stop ? "step" : undefined, "aria-label": `${fill(w.stop, { n: i + 1, count })}: ${other.title}, ${this.ticks.has(other.id) ? w.did : w.todo}`, title: other.title, on: go(i + 1), text: this.ticks.has(other.id) ? "✓" : i + 1 })))),
      heading, el("p", { text: fill(stop.text, values) }),
      el("p", { class: done ? "vx-task vx-done" : "vx-task", "aria-live": "polite" }, el("b", { text: done ? "✓ " : "→ " }), fill(stop.task, values)),
      stop.link ? el("p", { class: "vx-note" }, el("a", { href: this.root.dataset[stop.link] ?? "#", text: stop.linked })) : "",
      el("div", { class: "vx-row" }, el("button", { type: "button", text: w.back, disabled: s.stop === 1, on: go(s.stop - 1) }), el("button", { type: "button", class: "vx-main", text: w.next, disabled: s.stop === count, on: go(s.stop + 1) }),
        el("span", { class: "vx-note", text: this.ticks.size === count ? fill(w.finished, { count }) : fill(w.stop, { n: s.stop, count }) })))
    if (moved) heading.focus({ preventScroll: true })
  }

  draw_picture() {
    const s = this.state, w = this.words
    this.grid(this.picture)
    paint(this.picture.canvas, s.size, s.size, (x, y) => this.shown.subarray(3 * (y * s.size + x)))
    this.picture.cells.forEach((cell, i) => {
      const covered = s.masked.includes(i + 1)
      cell.setAttribute("aria-label", fill(covered ? w.cell_covered : w.cell, this.where(i + 1)))
      cell.setAttribute("aria-selected", i + 1 === s.patch)
      cell.classList.toggle("vx-held", this.held === i + 1)
    })
    this.picture_text.textContent = fill(w.picture_text, { side: s.size, count: this.count })
  }

  draw_thumbs() {
    const w = this.words, all = this.bytes.get(START.size), S = START.size
    const names = [...this.about.pictures, ...(this.own ? ["own"] : [])]
    const look = `${names} ${this.own?.version}`
    if (this.thumbs.dataset.look !== look) {
      this.thumbs.dataset.look = look
      this.thumbs.replaceChildren(...names.map((name, i) => {
        const canvas = el("canvas", { "aria-hidden": "true" }), bytes = name === "own" ? this.own[S] : all.subarray(i * 3 * S * S)
        paint(canvas, S, S, (x, y) => bytes.subarray(3 * (y * S + x)))
        return el("button", { type: "button", "data-name": name, on: { click: () => this.change({ ...UNCHANGED, picture: name }) } }, canvas, el("span", { text: w.names[name] }))
      }))
    }
    for (const button of this.thumbs.children) button.setAttribute("aria-pressed", button.dataset.name === this.state.picture)
  }

  draw_map(result) {
    const s = this.state, w = this.words, row = this.row(result, s), P = this.config.patch_size, g = this.side
    const most = row.subarray(1).reduce((a, b) => Math.max(a, b), 0)
    const top = s.scale === "own" ? most : this.about.scale
    this.grid(this.map)
    paint(this.map.canvas, s.size, s.size, (x, y) => {
      const place = 1 + Math.floor(y / P) * g + Math.floor(x / P)
      return blend(this.heat(row[place] / top), this.shown, 3 * (y * s.size + x), this.about.strength)
    })
    this.map.cells.forEach((cell, i) => {
      const label = fill(w.cell_weight, { ...this.where(i + 1), weight: percent(row[i + 1]) })
      cell.setAttribute("aria-label", label)
      cell.title = label
      cell.setAttribute("aria-selected", i + 1 === s.patch)
      cell.tabIndex = i + 1 === (s.patch || 1) ? 0 : -1
    })
    this.cls.textContent = fill(w.cls_weight, { weight: percent(row[0]) })
    this.cls.setAttribute("aria-pressed", s.patch === 0)
    this.cls.style.setProperty("--heat", `rgb(${this.heat(row[0] / top)})`)
    this.legend.textContent = fill(w.legend, { top: percent(top) })
    this.over.textContent = s.scale === "fixed" && most > top ? fill(w.over, { top: percent(most) }) : fill(w.equal, { weight: percent(1 / (1 + this.count)) })
    clearTimeout(this.later) // not while the slider is still moving
    this.later = setTimeout(() => {
      const best = [...row.keys()].slice(1).sort((a, b) => row[b] - row[a]).slice(0, 3)
      const cells = best.map((i) => fill(w.cell_weight, { ...this.where(i), weight: percent(row[i]) })).reduce((one, more) => fill(w.list, { one, more }))
      const kind = s.view === "rollout" ? w.sentence_rollout : s.head ? w.sentence : w.sentence_mean
      this.sentence.textContent = fill(kind, { who: this.who(s.patch), cells, block: s.block, head: s.head, depth: this.config.depth, cls: percent(row[0]) })
    }, 300)
  }

  bars(body, rows) {
    while (body.children.length > rows.length) body.lastChild.remove()
    while (body.children.length < rows.length)
      body.append(el("tr", {}, el("th", { scope: "row" }), el("td", { class: "vx-bar" }, el("span"), el("i")), el("td", { class: "vx-value" })))
    rows.forEach(({ name, p, text, before, on, selected }, i) => {
      const tr = body.children[i], [bar, mark] = tr.children[1].children
      tr.children[0].textContent = name
      tr.children[2].textContent = text ?? `${percent(p)} %`
      bar.style.width = `${100 * p}%`
      mark.hidden = before === undefined
      mark.style.left = `${100 * (before ?? 0)}%`
      tr.onclick = on ?? null
      tr.classList.toggle("vx-selected", Boolean(selected))
    })
  }

  draw_answer(result) {
    const s = this.state, w = this.words, classes = this.about.classes
    const p = softmax(Float32Array.from(result.logits)), plain = this.answers.get(this.plain(s))
    const old = is_changed(s) && plain ? softmax(Float32Array.from(plain)) : null
    const best = [...p.keys()].sort((a, b) => p[b] - p[a])
    this.bars(this.top5, best.slice(0, 5).map((k) => ({ name: classes[k], p: p[k], before: old?.[k] })))
    this.changed.textContent = old ? w.before : ""
    this.bars(this.lens, result.lens.map((logits, l) => {
      const q = softmax(Float32Array.from(logits)), k = this.best(q)
      return { name: l ? fill(w.block_short, { block: l }) : w.embedding, p: q[k], text: `${classes[k]} ${percent(q[k])} %`, on: l ? () => this.change({ block: l }) : null, selected: l === s.block }
    }))
  }

  draw_overview(result) {
    if (this.hides("overview")) return
    const s = this.state, { depth: L, num_heads: h } = this.config, g = this.side, step = g + 1
    const rows = Array.from({ length: L * h }, (_, i) => this.row(result, { ...s, view: "attention", block: 1 + (i % L), head: 1 + Math.floor(i / L) }))
    const tops = rows.map((row) => (s.scale === "own" ? row.subarray(1).reduce((a, b) => Math.max(a, b), 0) : this.about.scale))
    paint(this.maps, L * step, h * step, (x, y) => {
      const column = x % step, line = y % step
      if (column === g || line === g) return null
      const i = Math.floor(y / step) * L + Math.floor(x / step)
      return this.heat(rows[i][1 + line * g + column] / tops[i])
    })
    Object.assign(this.mark.style, { width: `${100 / L}%`, height: `${100 / h}%`, left: `${(100 * (s.block - 1)) / L}%`, top: `${(100 * (s.head - 1)) / h}%` })
    this.mark.hidden = !s.head || s.view === "rollout"
  }

  vector(values, most, label) {
    const canvas = el("canvas", { class: "vx-vector", "aria-hidden": "true", title: label })
    paint(canvas, values.length, 1, (x) => this.signed(0.5 + values[x] / most / 2))
    return canvas
  }

  token(j) {
    if (!j) return el("span", { class: "vx-chip", text: "CLS" })
    const P = this.config.patch_size, { row, column } = this.where(j), canvas = el("canvas", { class: "vx-chip", "aria-hidden": "true" })
    paint(canvas, P, P, (x, y) => this.shown.subarray(3 * (((row - 1) * P + y) * this.state.size + (column - 1) * P + x)))
    return canvas
  }

  // The flow of numbers for one token and head: query, keys, scores, weights, weighted values, output.
  draw_walk(result) {
    if (this.hides("walk")) return
    const s = this.state, w = this.words, { embed_dim: D, num_heads: h } = this.config, d = D / h, N = 1 + this.count
    this.walk_text.textContent = fill(w.walk_text, { who: this.who(s.patch), d, n: N })
    const stay = s.view === "rollout" ? w.walk_rollout : !s.head ? w.walk_mean : !result?.qkv ? w.walk_wait : null
    if (stay) {
      const load = el("button", { type: "button", text: fill(w.load, { size: this.megabytes() }), on: { click: () => this.load() } })
      return this.numbers.replaceChildren(el("div", { class: "vx-row" }, el("span", { class: "vx-note", text: stay }), stay === w.walk_wait && !this.worker ? load : ""))
    }
    const qkv = result.qkv[s.block - 1], part = (j, kind) => qkv.subarray(j * 3 * D + kind * D + (s.head - 1) * d).subarray(0, d)
    const q = part(s.patch, 0), weights = this.row(result, s)
    const scores = Float32Array.from({ length: N }, (_, j) => dot(q, 0, part(j, 1), 0, d) / Math.sqrt(d))
    const best = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 7)
    if (!best.includes(0)) best.push(0)
    if (this.picked !== null && this.picked < N && !best.includes(this.picked)) best.push(this.picked)
    const out = new Float32Array(d)
    for (let j = 0; j < N; j++) part(j, 2).forEach((v, c) => (out[c] += weights[j] * v))
    const most = (vectors) => Math.max(...vectors.map((v) => v.reduce((a, b) => Math.max(a, Math.abs(b)), 0)))
    const keys = most([q, ...best.map((j) => part(j, 1))]), values = most(best.map((j) => part(j, 2))), sums = most([out])
    const widest = weights.reduce((a, b) => Math.max(a, b), 0)
    const line = (cells, attributes = {}) => el("tr", attributes, ...cells.map((cell) => el("td", {}, cell)))
    const weight = (p) => el("span", { class: "vx-weight", style: `--w:${(100 * Math.min(1, p / widest)).toFixed(1)}%`, text: `${percent(p)} %` })
    const rest = [...weights.keys()].filter((j) => !best.includes(j)), others = rest.reduce((sum, j) => sum + weights[j], 0)
    const head = el("tr", {}, ...[w.token, w.key, w.score, w.weight, w.value, w.weighted].map((text) => el("th", { scope: "col", text })))
    const name = (j) => el("button", { type: "button", class: "vx-token", "aria-label": this.who(j), "aria-pressed": this.picked === j, title: this.who(j), on: { click: () => ((this.picked = j), this.update()) } }, this.token(j), j ? String(j) : "")
    const body = best.map((j) => line([name(j), this.vector(part(j, 1), keys), scores[j].toFixed(2), weight(weights[j]), this.vector(part(j, 2), values), this.vector(part(j, 2).map((v) => v * weights[j]), sums)],
      { class: this.picked === j ? "vx-selected" : "", on: { click: () => ((this.picked = j), this.update()) } }))
    const query = el("tr", { class: "vx-query" }, el("td", {}, el("span", { class: "vx-token" }, this.token(s.patch), w.asks)), el("td", {}, this.vector(q, keys)), el("td", { colspan: 4, text: w.query }))
    const last = el("tr", { class: "vx-sum" }, el("td", { colspan: 5, text: w.sum }), el("td", {}, this.vector(out, sums)))
    const more = line([fill(w.rest, { count: rest.length }), "", "", weight(others), "", ""])
    let told = ""
    if (this.picked !== null && this.picked < N) {
      const j = this.picked, e = Math.exp(scores[j]), all = scores.reduce((sum, v) => sum + Math.exp(v), 0)
      told = fill(w.products, { token: j || "CLS", d, sum: (scores[j] * Math.sqrt(d)).toFixed(2), score: scores[j].toFixed(2), e: e.toFixed(2), all: all.toFixed(2), weight: percent(weights[j]) })
    }
    this.numbers.replaceChildren(el("table", {}, el("thead", {}, query, head), el("tbody", {}, ...body, more), el("tfoot", {}, last)), el("p", { class: "vx-note vx-told", "aria-live": "polite", text: told }))
  }

  draw_patch() {
    const s = this.state, w = this.words, P = this.config.patch_size, patch = s.patch || 1, { row, column } = this.where(patch)
    const at = (x, y, c) => this.shown[3 * (((row - 1) * P + y) * s.size + (column - 1) * P + x) + c]
    const canvas = el("canvas", { "aria-hidden": "true", class: "vx-large" })
    paint(canvas, P, P, (x, y) => [0, 1, 2].map((c) => at(x, y, c)))
    const table = (c) => el("table", { class: `vx-channel vx-channel-${c}` }, el("caption", { text: w.channels[c] }),
      ...Array.from({ length: P }, (_, y) => el("tr", {}, ...Array.from({ length: P }, (_, x) => el("td", { text: at(x, y, c) })))))
    this.patch_panel.replaceChildren(canvas, ...[0, 1, 2].map(table), el("p", { class: "vx-note", text: fill(w.patch_text, { patch, p: P, count: 3 * P * P }) }))
  }

  draw_tokens(result) {
    if (this.hides("tokens")) return
    if (!result?.embedded) return this.load()
    const D = this.config.embed_dim, x = result.embedded, N = x.length / D
    const spread = 3 * Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length)
    paint(this.tokens, N, D, (n, c) => this.signed(0.5 + x[n * D + c] / spread / 2))
    Object.assign(this.token_mark.style, { left: `${(100 * this.state.patch) / N}%`, width: `${100 / N}%`, top: 0, height: "100%" })
  }
}
