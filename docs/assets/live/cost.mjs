// Lesson 5: any configuration, what it costs, or why the package refuses it.
import { button, el, fill, fixed, frame, grouped, radios } from "./kit.mjs"
import { configure, count_macs, parameters, total, training_memory } from "./config.mjs"

// What is typed: a whole number, a number, or two whole numbers with a comma or a cross between.
export function read(text) {
  const clean = text.trim().replace("−", "-")
  const both = clean.match(/^\(?\s*(\d+)\s*[,x×]\s*(\d+)\s*\)?$/)
  if (both) return [Number(both[1]), Number(both[2])]
  return /^-?(\d+\.?\d*|\.\d+)$/.test(clean) ? Number(clean) : undefined
}

const FIELDS = ["img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio", "num_classes"]
const PICKED = ["vit_ti_16", "vit_s_16", "vit_b_16", "vit_l_16", "vit_h_14", "vit_nano_4", "vit_mini_4"]
const BAD = { "vit_b_16 img_size": ["vit_b_16", { img_size: 200 }], "vit_ti_16 num_heads": ["vit_ti_16", { num_heads: 5 }] }

export function start(root, w, { presets, defaults }) {
  let name = "vit_b_16", batch = 64, pool = "token", typed = {}
  const preset = (field) => presets[name][field] ?? defaults[field]
  const written = (v) => (Array.isArray(v) ? (v[0] === v[1] ? String(v[0]) : `${v[0]}, ${v[1]}`) : String(v))
  const inputs = Object.fromEntries(FIELDS.map((field) => [field, el("input", { type: "text", inputmode: "decimal", "data-name": field, autocomplete: "off", spellcheck: "false", on: { input: draw } })]))
  const batches = el("input", { type: "text", inputmode: "numeric", "data-name": "batch", autocomplete: "off", value: batch, on: { input: draw } })
  const choose = el("select", { "data-name": "preset", on: { change: () => take(choose.value) } }, ...PICKED.map((key) => el("option", { value: key, text: fill(w.preset, { key, name: w.presets[key] }), selected: key === name })))
  const pools = radios({ label: w.reads, name: "pool", options: { token: w.token, avg: w.avg }, value: pool, on: (v) => ((pool = v), draw()) })
  const call = el("code", {}), out = el("div", { class: "vl-out", "aria-live": "polite" })
  const field = (key, input) => el("label", {}, el("span", {}, el("b", { text: w.letters[key] }), ` ${w.fields[key]}`), input)

  function take(key, changes = {}) {
    name = key
    choose.value = key
    pool = "token"
    pools.set(pool)
    for (const f of FIELDS) inputs[f].value = written(changes[f] ?? preset(f))
    draw()
  }

  function draw() {
    typed = Object.fromEntries(FIELDS.map((f) => [f, read(inputs[f].value)]))
    const images = read(batches.value)
    const unread = FIELDS.find((f) => typed[f] === undefined || (f !== "mlp_ratio" && [typed[f]].flat().some((v) => !Number.isInteger(v))))
    const wrong = unread ?? (Number.isInteger(images) && images > 0 ? null : "batch")
    for (const [f, input] of [...Object.entries(inputs), ["batch", batches]]) input.setAttribute("aria-invalid", f === wrong)
    if (wrong) {
      call.textContent = ""
      return out.replaceChildren(el("p", { class: "vl-error", text: fill(w.unread, { field: w.fields[wrong] }) }))
    }
    const given = Object.fromEntries(FIELDS.filter((f) => written(typed[f]) !== written(preset(f))).map((f) => [f, typed[f]]))
    if (pool === "avg") Object.assign(given, { class_token: false, global_pool: "avg" })
    const python = (v) => (v === false ? "False" : typeof v === "string" ? `"${v}"` : Array.isArray(v) ? `(${v.join(", ")})` : String(v))
    call.textContent = `create_model("${name}"${Object.entries(given).map(([f, v]) => `, ${f}=${python(v)}`).join("")})`
    try {
      show(configure({ ...presets[name], ...given }, defaults), images)
    } catch (error) {
      out.replaceChildren(el("p", { class: "vl-error" }, el("code", {}, el("b", { text: "ValueError: " }), error.message)), el("p", { class: "vl-note", text: w.refused }))
    }
  }

  function show(c, images) {
    const learned = parameters(c), macs = count_macs(c), memory = training_memory(c, images), T = c.num_tokens, D = c.embed_dim
    const arithmetic = { embedding: macs.patch_embed, attention: macs["attn.qkv"] + macs["attn.proj"], matrix: macs["attn.scores"] + macs["attn.values"], mlp: macs.mlp, head: macs.head ?? 0 }
    const facts = [
      ["shape", fill(w.shape, { grid: c.grid_size.join(" × "), N: grouped(c.num_patches), T: grouped(T), D, d: D / c.num_heads }), `(${c.in_chans}, ${c.img_size.join(", ")}) → (${T}, ${D}) → (${c.head === "none" ? D : c.num_classes},)`],
      ["parameters", bars(learned), grouped(total(learned))],
      ["flops", bars(arithmetic), fill(w.flops, { macs: short(total(macs)), flops: short(2 * total(macs)) })],
      ["memory", bars(memory), fill(w.memory, { weights: bytes(memory.weights), training: bytes(total(memory)), batch: grouped(images) })],
    ]
    out.replaceChildren(...facts.map(([key, detail, value]) => el("div", { class: "vl-fact", "data-fact": key }, el("p", {}, el("span", { text: w.facts[key] }), el("b", { text: value })), typeof detail === "string" ? el("p", { class: "vl-note", text: detail }) : detail)))
  }

  // A bar of parts, and their names with their shares. What is under half a per cent is too thin to see, so it is named only.
  function bars(parts) {
    const all = total(parts), shown = Object.entries(parts).filter(([, v]) => v)
    const share = (v) => (v / all < 0.001 ? "< 0.1" : fixed((100 * v) / all, v / all < 0.0995 ? 1 : 0))
    return el("div", { class: "vl-parts" }, el("div", { class: "vl-stack", "aria-hidden": "true" }, ...shown.map(([key, v]) => el("i", { class: `vl-p-${key.replace(" ", "-")}`, style: `flex-grow: ${v / all}` }))),
      el("ul", {}, ...shown.map(([key, v]) => el("li", {}, el("i", { class: `vl-p-${key.replace(" ", "-")}` }), `${w.parts[key]} ${share(v)} %`))))
  }

  frame(root, w, () => (call.textContent ? draw() : take(name)),
    el("div", { class: "vl-controls vl-row" }, el("label", { class: "vl-pick" }, el("span", { text: w.begin }), choose), ...Object.entries(BAD).map(([key, [from, changes]]) => button(w.bad[key], () => take(from, changes), key))),
    el("div", { class: "vl-fields" }, ...FIELDS.map((f) => field(f, inputs[f])), field("batch", batches)), pools.root,
    el("p", { class: "vl-call" }, call), out)
}

const short = (n) => (n >= 1e12 ? `${fixed(n / 1e12, 2)} T` : n >= 1e9 ? `${fixed(n / 1e9, n < 1e11 ? 2 : 1)} G` : n >= 1e6 ? `${fixed(n / 1e6, 1)} M` : grouped(n))
const bytes = (n) => (n >= 1e12 ? `${fixed(n / 1e12, 2)} TB` : n >= 1e9 ? `${fixed(n / 1e9, 2)} GB` : n >= 1e6 ? `${fixed(n / 1e6, 1)} MB` : `${fixed(n / 1e3, 1)} kB`)
