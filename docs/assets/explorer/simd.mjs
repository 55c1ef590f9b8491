// `linear` of vit.mjs once more, for processors that multiply four numbers at a time. JavaScript has no word for that,
// WebAssembly has: the program below is written out as its bytes, 1 kB of them. Where a browser will not run it,
// vit.mjs goes on without, and its numbers are the same to rounding.

const ROWS = 2, COLUMNS = 4 // of the result, computed side by side: more would not fit into the registers
const I32 = 0x7f, F32X4 = 0x7b

// A number as WebAssembly writes it: seven bits a byte, the lowest first.
const number = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...number(n >>> 7)])
const list = (items) => [...number(items.length), ...items.flat()]
const section = (id, items) => [id, ...list([...list(items)])]

const get = (local) => [0x20, ...number(local)], set = (local) => [0x21, ...number(local)]
const constant = (n) => [0x41, ...(n < 64 ? [n] : [(n & 127) | 128, n >> 7])], add = [0x6a], times = [0x6c]
const load = [0xfd, 0x00, 0, 0], zero = [0xfd, 0x0c, ...Array(16).fill(0)] // four float32
const times4 = [0xfd, 0xe6, 0x01], add4 = [0xfd, 0xe4, 0x01], lane = (i) => [0xfd, 0x1f, i]
const load1 = [0x2a, 2, 0], store1 = [0x38, 2, 0], add1 = [0x92]
const range = (n) => Array.from({ length: n }, (_, i) => i)
// Do `body`, advance `local` by `step`, and again while it is below the local `end`.
const loop = (local, step, end, body) =>
  [0x03, 0x40, ...body, ...get(local), ...step, ...add, ...set(local), ...get(local), ...get(end), 0x49, 0x0d, 0, 0x0b]

function program() {
  // Addresses of x (N, I), weight (O, I), bias (O,), y (N, O); bytes of a row of x and of y; the ends of x and of y's row.
  const [x, w, b, y, wide, high, x_end, b_end] = range(8)
  const [from, row, column, bias, to] = range(5).map((i) => 8 + i)
  const sum = (r, c) => 13 + r * COLUMNS + c, part = 13 + ROWS * COLUMNS // four sums each, and four numbers of x
  const pairs = range(ROWS).flatMap((r) => range(COLUMNS).map((c) => [r, c]))
  const at = (base, count) => [...get(base), ...get(wide), ...constant(count), ...times, ...add, ...get(from), ...add]
  const inner = range(ROWS).flatMap((r) => [...at(row, r), ...load, ...set(part), ...range(COLUMNS).flatMap((c) =>
    [...get(sum(r, c)), ...get(part), ...at(column, c), ...load, ...times4, ...add4, ...set(sum(r, c))])])
  const finish = pairs.flatMap(([r, c]) => [
    ...get(to), ...get(high), ...constant(r), ...times, ...add, ...constant(4 * c), ...add,
    ...range(4).flatMap((i) => [...get(sum(r, c)), ...lane(i)]), ...add1, ...add1, ...add1,
    ...get(bias), ...constant(4 * c), ...add, ...load1, ...add1, ...store1])
  const advance = (local, by) => [...get(local), ...by, ...add, ...set(local)]
  const tile = [...pairs.flatMap(([r, c]) => [...zero, ...set(sum(r, c))]), ...constant(0), ...set(from),
    ...loop(from, constant(16), wide, inner), ...finish, ...advance(to, constant(4 * COLUMNS)),
    ...advance(column, [...get(wide), ...constant(COLUMNS), ...times])]
  const rows = [...get(w), ...set(column), ...get(b), ...set(bias), ...get(y), ...set(to),
    ...loop(bias, constant(4 * COLUMNS), b_end, tile), ...advance(y, [...get(high), ...constant(ROWS), ...times])]
  const body = [...get(x), ...set(row), ...loop(row, [...get(wide), ...constant(ROWS), ...times], x_end, rows), 0x0b]
  const locals = list([[5, I32], [ROWS * COLUMNS + 1, F32X4]])
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, ...list(range(8).map(() => [I32])), 0]]), // eight numbers in, nothing out
    ...section(2, [[1, 0x65, 1, 0x6d, 2, 0, 1]]), // its memory is given to it: e.m
    ...section(3, [[0]]),
    ...section(7, [[1, 0x66, 0, 0]]), // it is called f
    ...section(10, [[...list([...locals, ...body].map((byte) => [byte]))]]),
  ])
}

// Memory that the program sees, for `floats` numbers of weights; or null where it cannot be had.
export function accelerator(floats, most = 400_000) {
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * (floats + 2 * most)) / 65536) + 1 })
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(program()), { e: { m: memory } }).exports
    let free = 0 // the next number that is not taken
    const take = (size) => new Float32Array(memory.buffer, 4 * (free += size + (-size & 3)) - 4 * (size + (-size & 3)), size)
    return { buffer: memory.buffer, take, linear: (x, layer, N) => run(f, memory.buffer, 4 * free, most, x, layer, N) }
  } catch {
    return null
  }
}

function run(f, buffer, start, most, x, { weight, bias }, N) {
  const O = bias.length, I = weight.length / O, even = N + (N % ROWS), end = start + 4 * most
  if (I % 4 || O % COLUMNS || even * Math.max(I, O) > most) return null
  new Float32Array(buffer, start, N * I).set(x)
  f(start, weight.byteOffset, bias.byteOffset, end, 4 * I, 4 * O, start + 4 * even * I, bias.byteOffset + 4 * O)
  return new Float32Array(buffer, end, N * O).slice()
}
