// A quiz page is whole without this file: questions, and answers in folds. With it an answer can be chosen, and what
// the fold says to that answer appears below it. Nothing is sent, and nothing is stored.
const quiz = document.querySelector(".quiz")
const questions = [...quiz.querySelectorAll(".question")]
const first = new Map() // question → whether its first answer was right

const score = Object.assign(document.createElement("p"), { className: "score" })
score.setAttribute("role", "status")
quiz.append(score)

// Say to an answer what the fold says to it. `reason` is an item of that fold.
function answer(question, said, reason) {
  const right = reason.classList.contains("right")
  if (!first.has(question)) first.set(question, right)
  said.className = right ? "said right" : "said wrong"
  said.innerHTML = reason.querySelector(".why").innerHTML
  score.textContent = quiz.dataset.score
    .replace("{right}", [...first.values()].filter(Boolean).length)
    .replace("{count}", first.size)
}

function choices(question, said, reasons) {
  const list = question.querySelector(".options")
  list.setAttribute("role", "radiogroup")
  list.setAttribute("aria-labelledby", question.getAttribute("aria-labelledby"))
  for (const [i, item] of [...list.children].entries()) {
    const label = document.createElement("label")
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: question.id })
    const text = document.createElement("span")
    text.append(...item.childNodes)
    label.append(radio, text)
    item.setAttribute("role", "presentation") // a group of radio buttons has no list items
    item.append(label)
    radio.addEventListener("change", () => answer(question, said, reasons[i]))
  }
}

function number(question, said, reasons) {
  const form = Object.assign(document.createElement("form"), { className: "number" })
  const label = Object.assign(document.createElement("label"), { textContent: quiz.dataset.number + " " })
  const input = Object.assign(document.createElement("input"), { type: "text", inputMode: "decimal", autocomplete: "off" })
  const button = Object.assign(document.createElement("button"), { textContent: quiz.dataset.check })
  label.append(input)
  form.append(label, button)
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    // 1,152 is a thousand and more, 3,61 is a comma for a point; a minus may be typed or pasted
    const text = input.value.trim().replace(/[−–]/g, "-").replace(/,(?=\d{3}(\D|$))/g, "").replace(",", ".")
    const value = Number(text.replace(/\s*%$/, ""))
    if (!text || Number.isNaN(value)) return input.focus()
    const meant = (item) => Math.abs(value - Number(item.dataset.number)) <= Number(item.dataset.within) + 1e-9
    answer(question, said, reasons.find((item) => item.dataset.number && meant(item)) ?? reasons.at(-1))
  })
  question.querySelector(".ask").after(form)
}

for (const question of questions) {
  const reasons = [...question.querySelectorAll(".reasons > li")]
  const said = document.createElement("p")
  said.className = "said"
  said.setAttribute("role", "status")
  if (question.dataset.kind === "number") number(question, said, reasons)
  else choices(question, said, reasons)
  question.querySelector("details").before(said)
}
