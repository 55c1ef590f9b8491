// The engine of the explorer against PyTorch. tests/test_explorer.py makes the folder $EXPLORER and runs this.
import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { accelerator } from "../docs/assets/explorer/simd.mjs"
import {
  accelerate, dot, gelu, interpolate_positions, layer_norm, linear, random_weights, read_weights, rollout, softmax,
} from "../docs/assets/explorer/vit.mjs"

const folder = process.env.EXPLORER
const bytes = (name) => new Uint8Array(readFileSync(`${folder}/${name}`)).buffer
const floats = (name) => new Float32Array(bytes(name))
const read = () => ({ f32: read_weights(bytes("vit.f32.bin")), q8: read_weights(bytes("vit.q8.bin")) })
const models = read()
const simd = accelerator(6_000_000)
accelerate(simd)
const fast = read() // as a browser with WebAssembly has them: from here on `linear` is that of simd.mjs for these
const { cases, positions } = JSON.parse(readFileSync(`${folder}/cases.json`))
const BOUND = 1e-4

function apart(ours, theirs) {
  assert.equal(ours.length, theirs.length)
  let most = 0
  for (let i = 0; i < ours.length; i++) most = Math.max(most, Math.abs(ours[i] - theirs[i]))
  assert.ok(Number.isFinite(most))
  return most
}
const joined = (list) => Float32Array.from(list.flatMap((part) => [...part]))

for (const { name, weights, size, options, pixels, logits, lens, attention, rollout: rolled, embedded } of cases) {
  for (const [how, model] of Object.entries({ plain: models[weights], fast: fast[weights] })) test(`${name}, ${how}, is what PyTorch computes`, () => {
    const image = model.normalise(new Uint8Array(bytes(pixels)), size, size)
    const ours = model.forward(image, size, size, options)
    assert.ok(apart(ours.logits, logits) < BOUND)
    assert.ok(apart(joined(ours.lens), lens.flat()) < BOUND)
    assert.ok(apart(joined(ours.attention), floats(attention)) < BOUND)
    assert.ok(apart(ours.embedded, floats(embedded)) < BOUND)
    assert.ok(apart(rollout(ours.attention, model.config.num_heads), floats(rolled)) < BOUND)
  })
}

test("what is handed out is what the weights were made of", () => {
  const { pixels, size } = cases[0], model = models.f32
  const { num_heads: h, embed_dim: D } = model.config, d = D / h
  const { attention, qkv } = model.forward(model.normalise(new Uint8Array(bytes(pixels)), size, size), size, size)
  const N = qkv[4].length / (3 * D), head = 3, i = 27
  const scores = Float32Array.from({ length: N }, (_, j) =>
    dot(qkv[4], i * 3 * D + head * d, qkv[4], j * 3 * D + D + head * d, d) / Math.sqrt(d))
  assert.ok(apart(softmax(scores), attention[4].subarray((head * N + i) * N, (head * N + i + 1) * N)) < 1e-6)
})

test("8-bit weights are near the model's own, but are not they", () => {
  for (const { name, logits } of cases.filter((c) => c.weights === "q8")) {
    const exact = cases.find((c) => c.name === name.replace("q8", "f32"))
    const gap = apart(logits, exact.logits)
    assert.ok(gap > 1e-3 && gap < 0.2, `${name}: ${gap}`)
  }
})

test("positions are interpolated as vit.positions does it", () => {
  const { pos_embed, config } = models.f32
  for (const [g, table] of Object.entries(positions))
    assert.ok(apart(interpolate_positions(pos_embed, [8, 8], [+g, +g], config.embed_dim), table) < 1e-5)
})

test("without positions the class token does not see the order of the patches", () => {
  const { pixels, size } = cases[0], model = models.f32
  const image = model.normalise(new Uint8Array(bytes(pixels)), size, size)
  const order = Array.from({ length: 64 }, (_, i) => 63 - i)
  const answer = (options) => model.forward(image, size, size, options).logits
  assert.ok(apart(answer({ positions: false }), answer({ positions: false, order })) < BOUND)
  assert.ok(apart(answer({}), answer({ order })) > 0.1)
})

test("linear is right where rows and columns are no multiples of four", () => {
  const N = 6, I = 5, O = 7, fill = (n) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * i))
  const x = fill(N * I), weight = fill(O * I), bias = fill(O), y = linear(x, { weight, bias })
  for (let n = 0; n < N; n++)
    for (let o = 0; o < O; o++) assert.ok(Math.abs(y[n * O + o] - bias[o] - dot(x, n * I, weight, o * I, I)) < 1e-6)
})

test("four numbers at a time: the same linear, and none where it does not fit", () => {
  assert.ok(simd, "this Node runs no WebAssembly")
  const sized = (N, I, O) => {
    const weight = simd.take(I * O), bias = simd.take(O), x = new Float32Array(N * I)
    for (const values of [weight, bias, x]) values.forEach((_, i) => (values[i] = Math.sin(i * i + values.length)))
    return [x, { weight, bias }, N]
  }
  for (const [N, I, O] of [[1, 4, 4], [2, 8, 12], [5, 48, 8], [65, 192, 20]]) {
    const [x, layer] = sized(N, I, O), y = simd.linear(x, layer, N)
    const plain = linear(x, { weight: layer.weight.slice(), bias: layer.bias.slice() })
    assert.ok(apart(y, plain) < 1e-5)
    assert.deepEqual(linear(x, layer), y, "linear does not use it")
  }
  assert.equal(simd.linear(...sized(3, 6, 8)), null)
  assert.equal(simd.linear(...sized(3, 8, 10)), null)
  assert.equal(simd.linear(new Float32Array(4 * 200_000), sized(1, 4, 4)[1], 200_000), null)
})

test("GELU and layer norm on numbers that can be checked by hand", () => {
  assert.ok(apart(gelu(Float32Array.of(-1, 0, 1, 3)), [-0.15865525, 0, 0.84134475, 2.9959503]) < 1e-6)
  const one = { weight: Float32Array.of(1, 1), bias: Float32Array.of(0, 1) }
  assert.ok(apart(layer_norm(Float32Array.of(3, 5), one, 0), [-1, 2]) < 1e-6)
})

test("random weights have the spread of init_weights, and a seed", () => {
  const a = random_weights(models.f32, 1), b = random_weights(models.f32, 1), c = random_weights(models.f32, 2)
  const w = a.blocks[2].attn.qkv.weight, n = w.length
  assert.equal(n, models.f32.blocks[2].attn.qkv.weight.length)
  const std = Math.sqrt(w.reduce((sum, v) => sum + v * v, 0) / n)
  assert.ok(Math.abs(std / 0.02 - 0.88) < 0.02, `${std}`) // noise cut at two deviations leaves 0.88 of its spread
  assert.ok(w.every((v) => Math.abs(v) <= 0.04))
  assert.deepEqual(w, b.blocks[2].attn.qkv.weight)
  assert.notDeepEqual(w, c.blocks[2].attn.qkv.weight)
  const image = new Float32Array(3 * 32 * 32).fill(0.5)
  assert.ok(a.forward(image, 32, 32).logits.every(Number.isFinite))
})
