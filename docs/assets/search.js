// The search's worker: Material's, with two things before it. The index is read when something is typed, here and not
// on the page, so that no reader pays for a search that was not asked for. And a question is put into the words
// that lunr understands: it takes `x[:,0]` for a field, and every short word for the beginning of a hundred others.
const material = []
const [worker, language] = location.search.slice(1).split("&") // no language: English
const addListener = self.addEventListener
self.addEventListener = (type, listener) => (type === "message" ? material.push(listener) : addListener(type, listener))
importScripts("javascripts/" + worker)
self.addEventListener = addListener

// Material's looks for what it needs for other languages from where it lies itself.
const load = self.importScripts.bind(self)
self.importScripts = (...scripts) => load(...scripts.map((script) => script.replace(/^\.\.\/lunr/, "javascripts/lunr")))

const tell = (data) => material.forEach((listener) => listener({ data }))
let config // the plugin's settings: language, separator, fields and their weights
let loaded // the promise of the index

async function read() {
  const answer = await fetch(`../${language ? language + "/" : ""}search/docs.json`)
  tell({ type: 0, data: { config, docs: await answer.json(), options: {} } })
  await new Promise(setTimeout) // Material's worker builds its index before it takes another message
}

const CJK = /[\u3040-\u30ff\u3400-\u9fff]/
const PARTICLE = /^[\u3040-\u309f]{1,2}$/ // and other short words in hiragana, which say nothing

// Japanese has no spaces: its words are cut as those of the index were. (Chinese is cut by Material, by the index.)
function words(text) {
  const cut = (word) => (CJK.test(word) && lunr.segmenter ? lunr.segmenter.segment(word) : [word])
  return text.toLowerCase().replaceAll("√", " sqrt ").split(/[^\p{L}\p{N}]+/u).filter(Boolean).flatMap(cut)
}

// A word of one or two letters is that word, every other the beginning of one; words that say nothing are left out.
function ask(text) {
  if (text.includes('"')) return text // a phrase, in Material's own spelling
  const all = words(text)
  const said = all.filter((word) => lunr.stopWordFilter(word) && !PARTICLE.test(word))
  const whole = (text.match(/\w+_\w+/g) ?? []).map((name) => name.replaceAll("_", "").toLowerCase() + "^1")
  const short = (word) => word.length < 3 && !CJK.test(word)
  return [...whole, ...(said.length ? said : all).map((word) => (short(word) ? word + "^1" : word))].join(" ")
}

self.addEventListener("message", async ({ data: { type, data } }) => {
  if (type === 0) {
    config = data.config
    tell({ type, data })
  } else {
    if (data.trim()) await (loaded ??= read())
    tell({ type, data: ask(data) })
  }
})
