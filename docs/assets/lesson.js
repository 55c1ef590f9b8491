// Side-by-side reading: prose left, code and output right. The choice is kept between pages.
const root = document.documentElement
const button = document.querySelector(".side-toggle")
const columns = document.querySelectorAll(".step > .prose, .step > .code")

// The shorter column of a step stays in view while the longer one passes (position: sticky). One taller than the
// window must not stop with its head at the top, or its end would never be seen: it stops with its end at the bottom.
function stick() {
  if (!root.classList.contains("side")) return
  const header = document.querySelector(".md-header").offsetHeight + 16
  const heights = [...columns].map((column) => column.offsetHeight) // all read, then all set: one layout
  columns.forEach((column, i) => (column.style.top = Math.min(header, innerHeight - heights[i] - 16) + "px"))
}

function show(side) {
  root.classList.toggle("side", side)
  button.setAttribute("aria-pressed", side)
}

// Keep what is being read where it is: remember a part near the top of the window, and put it back there. One that is
// folded away by the change is where its fold is.
function keepPlace(change) {
  const parts = [...document.querySelectorAll(".step > * > *, article > h2")]
  const part = parts.find((e) => e.getBoundingClientRect().bottom > 120 && e.checkVisibility())
  const top = () => (part.closest("details:not([open])") ?? part).getBoundingClientRect().top
  const before = part && top()
  change()
  if (part && scrollY > 200) scrollBy({ top: top() - before, behavior: "instant" })
}

button.addEventListener("click", () => {
  keepPlace(() => show(!root.classList.contains("side")))
  localStorage.setItem("side", root.classList.contains("side"))
})
show(root.classList.contains("side"))
const watch = new ResizeObserver(stick)
columns.forEach((column) => watch.observe(column))
addEventListener("resize", stick)

// What site.css has left out of the first paint, four steps a frame.
const steps = [...document.querySelectorAll("article > .step")]
function settle() {
  for (const step of steps.splice(0, 4)) step.classList.add("settled")
  if (steps.length) requestAnimationFrame(settle)
  else root.classList.remove("opening")
}
if (root.classList.contains("opening")) addEventListener("load", () => requestAnimationFrame(settle))

// Folds are <details>, which need no script. This opens all of them for those who want that, on every page; and it opens
// what a link leads to: the folds around it, and the one under a heading. On paper site.css opens all.
const opener = document.querySelector(".open-toggle")
const folds = document.querySelectorAll("article details")

function openAll(open) {
  opener.setAttribute("aria-pressed", open)
  for (const fold of folds) fold.open = open
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  const around = [...folds].filter((fold) => fold.contains(target) || fold.previousElementSibling === target)
  if (!target || !around.length) return
  for (const fold of around) fold.open = true
  requestAnimationFrame(() => target.scrollIntoView()) // Material would leave the window at the fold's head
}

opener.addEventListener("click", () => {
  const open = opener.getAttribute("aria-pressed") === "false"
  keepPlace(() => openAll(open))
  localStorage.setItem("open", open)
})
if (localStorage.getItem("open") === "true") openAll(true)
reveal()
addEventListener("hashchange", reveal)

// On paper all is open; site.css says so too, where a browser knows how to ask for it.
let closed = []
addEventListener("beforeprint", () => {
  closed = [...folds].filter((fold) => !fold.open)
  for (const fold of closed) fold.open = true
})
addEventListener("afterprint", () => {
  for (const fold of closed) fold.open = false
})

// Side by side there is no room for the table of contents: a button in the header, which stays in view, opens it.
const contents = document.querySelector(".md-sidebar--secondary")
const contentsButton = Object.assign(document.createElement("button"), { type: "button", className: "contents-toggle" })

function showContents(open) {
  root.classList.toggle("contents", open)
  contentsButton.setAttribute("aria-expanded", open)
}

if (contents) {
  contentsButton.textContent = contents.querySelector(".md-nav__title").textContent.trim()
  document.querySelector(".md-header__title").after(contentsButton)
  showContents(false)
  contentsButton.addEventListener("click", () => {
    showContents(!root.classList.contains("contents"))
    if (root.classList.contains("contents")) contents.querySelector("a").focus()
  })
  addEventListener("click", (event) => {
    const kept = contentsButton.contains(event.target) || (contents.contains(event.target) && !event.target.closest("a"))
    if (!kept) showContents(false)
  })
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !root.classList.contains("contents")) return
    showContents(false)
    contentsButton.focus()
  })
}

// A click on a figure shows it as large as the window allows; on a phone larger than that, to be moved about. A film shows
// the frame it is at. Without JavaScript the link opens the image.
const dialog = document.querySelector("dialog.enlarged")
const small = matchMedia("(max-width: 44.9em)")
let from
dialog.firstElementChild.addEventListener("click", () => dialog.close())
dialog.addEventListener("close", () => from.focus())
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || (event.target.closest("figure") && !small.matches)) dialog.close()
})
for (const link of document.querySelectorAll("a.enlarge")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    from = link
    const figure = link.closest("figure").cloneNode(false) // a film's has its place in the sheet
    figure.removeAttribute("id")
    figure.classList.remove("turn", "plain") // on the dialog's white its colours are its own
    figure.append(link.cloneNode(true))
    figure.firstElementChild.removeAttribute("href")
    dialog.lastElementChild.replaceChildren(figure)
    dialog.showModal()
    dialog.lastElementChild.scrollTo(0, 0)
  })
}

// A sheet of equal frames becomes a film: one frame at a time, chosen with a slider. Nothing moves by itself.
for (const figure of document.querySelectorAll("figure[data-frames]")) {
  const frames = figure.dataset.frames.split(", ")
  const columns = Number(figure.dataset.columns)
  const rows = Math.ceil(frames.length / columns)
  const image = figure.querySelector("img")
  const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: frames.length - 1 })
  const label = document.createElement("span")
  slider.setAttribute("aria-label", figure.dataset.label)

  function choose() {
    const n = Number(slider.value)
    figure.style.setProperty("--x", -(n % columns) / columns)
    figure.style.setProperty("--y", -Math.floor(n / columns) / rows)
    label.textContent = frames[n]
    slider.setAttribute("aria-valuetext", frames[n])
  }

  figure.style.setProperty("--columns", columns)
  figure.style.setProperty("--frame", `${image.getAttribute("width") / columns} / ${image.getAttribute("height") / rows}`)
  figure.classList.add("film")
  image.className = "sheet" // enlarged, it scrolls
  slider.value = slider.max
  slider.addEventListener("input", choose)
  const controls = document.createElement("div")
  controls.append(slider, label)
  figure.append(controls)
  choose()
}
