// What the explorer shows, as one flat object, and as the part of an address after #. Blocks, heads and patches are
// counted from 1 as readers do; patch 0 is the class token (so a patch's number is its token's), head 0 all heads' mean.

export const START = {
  mode: "free", stop: 1, picture: "chelsea", size: 32, block: 6, head: 2, patch: 27, view: "attention", scale: "fixed",
  masked: [], shuffle: 0, swaps: [], positions: true, random: 0,
}
export const UNCHANGED = { masked: [], shuffle: 0, swaps: [], positions: true, random: 0 }

const list = (text) => text.split(".").filter(Boolean).map(Number)

export function read(fragment, { pictures, sizes, config }, stops) {
  const given = new URLSearchParams(fragment.replace(/^#/, "")), state = { ...START }
  const one = (name, allowed) => given.has(name) && allowed.includes(given.get(name)) && (state[name] = given.get(name))
  const number = (name, low, high) => {
    const n = Number(given.get(name))
    if (given.has(name) && Number.isInteger(n) && n >= low && n <= high) state[name] = n
  }
  one("mode", ["free", "tour"])
  one("picture", pictures)
  one("view", ["attention", "rollout"])
  one("scale", ["fixed", "own"])
  if (sizes.includes(Number(given.get("size")))) state.size = Number(given.get("size"))
  const count = (state.size / config.patch_size) ** 2, places = (n) => Number.isInteger(n) && n >= 1 && n <= count
  number("stop", 1, stops)
  number("block", 1, config.depth)
  number("head", 0, config.num_heads)
  if (given.get("head") === "mean") state.head = 0
  if (given.get("patch") === "class") state.patch = 0
  number("patch", 0, count)
  number("shuffle", 1, 2 ** 31)
  number("random", 1, 2 ** 31)
  state.masked = list(given.get("masked") ?? "").filter(places)
  state.swaps = (given.get("swap") ?? "").split(".").map((pair) => pair.split("-").map(Number))
    .filter((pair) => pair.length === 2 && pair.every(places))
  state.positions = given.get("positions") !== "off"
  return state
}

export function write(state) {
  const parts = []
  const put = (name, value) => parts.push(`${name}=${value}`)
  if (state.mode === "tour") put("mode", "tour"), put("stop", state.stop)
  put("picture", state.picture)
  put("block", state.block)
  put("head", state.head || "mean")
  put("patch", state.patch || "class")
  for (const name of ["size", "view", "scale", "shuffle", "random"]) if (state[name] !== START[name]) put(name, state[name])
  if (state.masked.length) put("masked", state.masked.join("."))
  if (state.swaps.length) put("swap", state.swaps.map((pair) => pair.join("-")).join("."))
  if (!state.positions) put("positions", "off")
  return `#${parts.join("&")}`
}

export const is_changed = (s) => Boolean(s.masked.length || s.shuffle || s.swaps.length || !s.positions || s.random)
