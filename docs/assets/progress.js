// Which lessons were read, and where the reader was last: kept in this browser, shown on the home page's cards.
// A lesson is ticked by the reader, or when its end comes into view and the page was in view for a minute before:
// who only jumps to the references has not read it. What the reader unticks stays so.
const saved = (key) => JSON.parse(localStorage.getItem(key) ?? "null") ?? {}
const save = (key, value) => localStorage.setItem(key, JSON.stringify(value))
const nameIn = (address) => address.match(/lessons\/(\w+)\//)?.[1]
const ONE_MINUTE = 60

const ticked = document.querySelector(".ticks input")
if (ticked) {
  const lesson = nameIn(location.pathname)
  ticked.checked = saved("read")[lesson] === true
  ticked.addEventListener("change", () => save("read", { ...saved("read"), [lesson]: ticked.checked }))

  let seconds = 0
  let atEnd = false
  const tick = () => {
    if (!atEnd || seconds < ONE_MINUTE || lesson in saved("read")) return
    ticked.checked = true
    save("read", { ...saved("read"), [lesson]: true })
  }
  setInterval(() => {
    if (document.visibilityState === "visible") seconds += 1
    tick()
  }, 1000)
  new IntersectionObserver(([entry]) => {
    atEnd = entry.isIntersecting
    tick()
  }).observe(ticked)

  // Material keeps the address at the heading that is being read.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden" && scrollY > innerHeight) save("last", { lesson, hash: location.hash })
  })
}

const cards = [...document.querySelectorAll(".cards li")]
const words = document.querySelector("template[data-read]")?.dataset
if (words) {
  const read = saved("read")
  const { lesson, hash } = saved("last")
  const of = (card) => nameIn(card.querySelector("a").href)
  const mark = (card, name, text) => {
    const note = Object.assign(document.createElement("span"), { className: name, textContent: text })
    card.querySelector("p").after(note)
  }
  for (const card of cards) if (read[of(card)]) mark(card, "read", words.read)
  const last = cards.findIndex((card) => of(card) === lesson)
  const here = read[lesson] ? cards.slice(last + 1).find((card) => !read[of(card)]) : cards[last]
  if (last >= 0 && here) {
    mark(here, "here", words.here)
    if (here === cards[last]) here.querySelector("a").href += hash
  }
}
