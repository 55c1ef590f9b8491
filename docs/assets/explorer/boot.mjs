// Loaded by pages that show the explorer. The rest, a quarter of a megabyte, comes when the page has been painted and the
// reader is near the element; its thread ends with it.
const NEAR = "1200px"

class Explorer extends HTMLElement {
  connectedCallback() {
    if (this.ui || this.watch) return
    this.watch = new IntersectionObserver((seen) => seen.some((s) => s.isIntersecting) && setTimeout(() => this.show()), { rootMargin: NEAR })
    this.watch.observe(this)
  }

  disconnectedCallback() {
    this.watch?.disconnect()
    this.watch = null
    this.ui?.then((ui) => ui.stop())
    this.ui = null
  }

  async show() {
    this.watch?.disconnect()
    const { start } = await import("./ui.mjs")
    if (this.isConnected && !this.ui) this.ui = start(this)
  }
}
customElements.define("vit-explorer", Explorer)
