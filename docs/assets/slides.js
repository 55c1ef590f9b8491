// S opens the speaker's window with the notes, F is full screen, ?print-pdf in the address makes pages to print.
Reveal.on("ready", async () => {
  // A formula that is too wide for the slide gets smaller type. How wide it is its own fonts say.
  await document.fonts.ready
  for (const formula of document.querySelectorAll(".formula .equation")) {
    const wide = formula.scrollWidth / 1150
    if (wide > 1) formula.firstChild.style.fontSize = `${Math.floor(34 / wide)}px`
  }
})
Reveal.initialize({
  width: 1280,
  height: 720,
  margin: 0,
  center: false,
  hash: true,
  slideNumber: "c/t",
  transition: "none",
  pdfSeparateFragments: false,
  pdfMaxPagesPerSlide: 1, // it measures a figure before the sheet bounds it
  plugins: [RevealNotes],
})
