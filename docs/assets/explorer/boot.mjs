// Loaded by pages that show the explorer. The rest comes when the element is there, and its thread ends with it.
class Explorer extends HTMLElement {
  async connectedCallback() {
    if (this.ui) return
    const { start } = await import("./ui.mjs")
    if (this.isConnected && !this.ui) this.ui = start(this)
  }

  disconnectedCallback() {
    this.ui?.then((ui) => ui.stop())
    this.ui = null
  }
}
customElements.define("vit-explorer", Explorer)
