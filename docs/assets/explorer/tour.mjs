// Which panels each stop of the tour shows, and when what it asks for was done. The words are in docs/explorer.yml.

export const PANELS = {
  free: ["pictures", "map", "choose", "answer", "probe", "picture", "change", "walk", "overview"],
  picture: ["pictures", "picture"],
  patches: ["picture", "patch"],
  tokens: ["picture", "tokens"],
  positions: ["picture", "change", "answer"],
  query: ["map"],
  softmax: ["map", "walk"],
  heads: ["map", "choose", "overview"],
  blocks: ["map", "choose", "probe"],
  cls: ["map", "choose", "answer"],
  answer: ["picture", "change", "answer"],
  honest: ["map", "choose", "picture", "change"],
}

export const SEEN = ["block", "head"] // what counts as looked at when it was chosen once

const DONE = {
  picture: ({ state, before }) => state.picture !== before.picture,
  patches: ({ state, before }) => state.patch > 0 && state.patch !== before.patch,
  tokens: ({ state }) => state.patch === 0,
  positions: ({ state }) => !state.positions && state.shuffle > 0,
  query: ({ state, before }) => state.patch !== before.patch,
  softmax: ({ picked }) => picked !== null,
  heads: ({ seen, config }) => Array.from({ length: config.num_heads }, (_, i) => `head ${i + 1}`).every((k) => seen.has(k)),
  blocks: ({ seen, config }) => seen.has("block 1") && seen.has(`block ${config.depth}`),
  cls: ({ state, config }) => state.patch === 0 && state.block === config.depth,
  answer: ({ state, answer, plain }) => state.masked.length > 0 && answer !== null && plain !== null && answer !== plain,
  honest: ({ state }) => state.random > 0,
}

export const is_done = (id, facts) => DONE[id](facts)
