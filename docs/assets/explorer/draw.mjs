// Pixels and colours: pure functions of the explorer, without any state of the page.

export const percent = (p) => (100 * p).toFixed(p < 0.0995 ? 1 : 0)

export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all)

// A colour table packed in base64 -> a function from 0 .. 1 to [r, g, b].
export function colour_map(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0)), last = bytes.length / 3 - 1
  return (t) => {
    const i = 3 * Math.round(Math.min(1, Math.max(0, t)) * last)
    return [bytes[i], bytes[i + 1], bytes[i + 2]]
  }
}

// colour(x, y) for every pixel of a canvas of that many pixels; CSS makes it large.
export function paint(canvas, width, height, colour) {
  canvas.width = width
  canvas.height = height
  const context = canvas.getContext("2d"), image = context.createImageData(width, height)
  for (let y = 0, to = 0; y < height; y++)
    for (let x = 0; x < width; x++, to += 4) {
      const rgb = colour(x, y)
      if (!rgb) continue // stays transparent
      image.data[to] = rgb[0]
      image.data[to + 1] = rgb[1]
      image.data[to + 2] = rgb[2]
      image.data[to + 3] = 255
    }
  context.putImageData(image, 0, 0)
}

// Weights over the grey of the picture: one colour map, always equally strong, so that colour means weight alone.
export function blend(heat, pixels, at, strength) {
  const grey = 0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2]
  return heat.map((v) => strength * v + (1 - strength) * grey)
}

// Which patch stands at each place, after a shuffle (0: none) and swaps of places, both counted from 0.
export function arrange(count, seed, swaps) {
  const order = Array.from({ length: count }, (_, i) => i)
  let state = seed
  for (let i = seed ? count - 1 : 0; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = Math.floor((state / 2 ** 32) * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  for (const [a, b] of swaps) if (a < count && b < count) [order[a], order[b]] = [order[b], order[a]]
  return order
}

// The picture as the model gets it: bytes (S, S, 3), patches moved, covered ones in the mean colour.
export function rearrange(pixels, side, P, order, masked, mean) {
  const g = side / P, out = new Uint8Array(pixels.length)
  order.forEach((from, to) => {
    for (let y = 0; y < P; y++)
      for (let x = 0; x < P; x++) {
        const source = 3 * ((Math.floor(from / g) * P + y) * side + (from % g) * P + x)
        const target = 3 * ((Math.floor(to / g) * P + y) * side + (to % g) * P + x)
        for (let c = 0; c < 3; c++) out[target + c] = masked.includes(to) ? mean[c] : pixels[source + c]
      }
  })
  return out
}

// RGBA of a square canvas -> bytes (side, side, 3): the mean of each box, which no browser computes differently.
export function shrink({ data, width }, side) {
  const box = width / side, out = new Uint8Array(3 * side * side)
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++)
      for (let c = 0; c < 3; c++) {
        let sum = 0
        for (let v = 0; v < box; v++) for (let u = 0; u < box; u++) sum += data[4 * ((y * box + v) * width + x * box + u) + c]
        out[3 * (y * side + x) + c] = Math.round(sum / (box * box))
      }
  return out
}
