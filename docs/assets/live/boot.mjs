// Loaded by pages that show a live figure. What one needs comes when the reader is near it.
const NEAR = "1200px"
let loaded // the words and numbers of all figures, asked for once

const get = async () => {
  const { lang } = document.documentElement
  const name = lang === "en" ? "live.json" : `live.${lang}.json`
  const response = await fetch(new URL(name, import.meta.url))
  if (!response.ok) throw new Error(`${response.status} ${name}`)
  return response.json()
}

class Live extends HTMLElement {
  connectedCallback() {
    if (this.watch) return
    this.watch = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && this.show(), { rootMargin: NEAR })
    this.watch.observe(this)
  }

  disconnectedCallback() {
    this.watch?.disconnect()
    this.watch = null
  }

  async show() {
    this.watch.disconnect()
    const name = this.dataset.figure
    const [{ start }, all] = await Promise.all([import(`./${name}.mjs`), (loaded ??= get())])
    start(this, { ...all.words.all, ...all.words[name] }, all)
  }
}
customElements.define("vit-live", Live)
