// On every page: what Material leaves without a name or to the mouse alone. Nothing here is seen.
const dialogOfSearch = document.querySelector(".md-search")
dialogOfSearch?.setAttribute("aria-label", dialogOfSearch.querySelector("input").placeholder)

// The switch between light and dark is two radio buttons of which one shows: Material listens to Enter, not to Space.
const switcher = document.querySelector("[data-md-component=palette]")
switcher?.addEventListener("keydown", (event) => {
  if (event.key !== " ") return
  event.preventDefault()
  const other = document.getElementById(switcher.querySelector("label:not([hidden])").htmlFor)
  other.click()
  other.focus()
})

// Another language opens at the same place: headings have the same ids in all.
for (const link of document.querySelectorAll(".md-select__link[hreflang]")) {
  link.addEventListener("click", () => (link.hash = location.hash))
}

// Only what is wider than its place scrolls, and only what scrolls is a stop of the Tab key.
const main = document.querySelector("article")
const boxes = ".equation, .md-typeset__scrollwrap, .prose table, pre > code"
const fit = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const scrolls = target.scrollWidth > target.clientWidth && getComputedStyle(target).overflowX === "auto"
    if (scrolls) target.tabIndex = 0
    else if (target.tabIndex === 0) target.removeAttribute("tabindex")
  }
})

// Material adds its parts as one reads, so this looks again at what is new.
function tend() {
  for (const nav of main.querySelectorAll(".md-code__nav:not([role])")) nav.setAttribute("role", "none") // two buttons are no landmark
  for (const mark of main.querySelectorAll("aside.md-annotation:not([role])")) {
    mark.setAttribute("role", "note") // an <aside> would be a landmark
    mark.closest("code")?.classList.add("marked")
    mark.setAttribute("aria-label", mark.querySelector("[data-md-annotation-id]").dataset.mdAnnotationId)
  }
  for (const link of main.querySelectorAll("aside.md-annotation a:not([aria-label])")) { // may come after its mark
    link.setAttribute("aria-label", link.closest("aside").getAttribute("aria-label"))
  }
  for (const word of main.querySelectorAll("abbr:not([tabindex])")) word.tabIndex = 0 // its tooltip opens on focus
  for (const box of main.querySelectorAll(boxes)) fit.observe(box)
}
if (main) {
  tend()
  const alive = (change) => change.target.closest("vit-explorer, vit-live") // draws itself anew all the time
  new MutationObserver((changes) => changes.every(alive) || tend()).observe(main, { childList: true, subtree: true })
}
