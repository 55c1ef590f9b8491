// Side-by-side reading: prose left, code and output right. The choice is kept between pages.
const root = document.documentElement
const button = document.querySelector(".side-toggle")
const columns = document.querySelectorAll(".step > .prose, .step > .code")

// The shorter column of a step stays in view while the longer one passes (position: sticky). One taller than the
// window must not stop with its head at the top, or its end would never be seen: it stops with its end at the bottom.
function stick() {
  const header = document.querySelector(".md-header").offsetHeight + 16
  for (const column of columns) {
    column.style.top = Math.min(header, innerHeight - column.offsetHeight - 16) + "px"
  }
}

function show(side) {
  root.classList.toggle("side", side)
  button.setAttribute("aria-pressed", side)
}

button.addEventListener("click", () => {
  // Keep what is being read where it is: remember a step near the top of the window, and put it back there.
  const step = [...document.querySelectorAll(".step")].find((s) => s.getBoundingClientRect().bottom > 120)
  const before = step.getBoundingClientRect().top
  show(!root.classList.contains("side"))
  localStorage.setItem("side", root.classList.contains("side"))
  if (scrollY > 200) scrollBy({ top: step.getBoundingClientRect().top - before, behavior: "instant" })
})
show(root.classList.contains("side"))
const watch = new ResizeObserver(stick)
columns.forEach((column) => watch.observe(column))
addEventListener("resize", stick)

// A click on a figure shows it as large as the window allows. Without JavaScript the link opens the image.
const dialog = document.body.appendChild(document.createElement("dialog"))
dialog.className = "enlarged"
dialog.addEventListener("click", () => dialog.close())
for (const link of document.querySelectorAll("a.enlarge")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    dialog.replaceChildren(link.firstElementChild.cloneNode())
    dialog.showModal()
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
  image.loading = "eager"
  slider.value = slider.max
  slider.addEventListener("input", choose)
  const controls = document.createElement("div")
  controls.append(slider, label)
  figure.append(controls)
  choose()
}
