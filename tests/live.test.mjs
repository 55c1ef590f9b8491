// The live figures' arithmetic in Node. tests/test_live.py writes $LIVE/cases.json from the package, runs this, and holds
// $LIVE/found.json, which this writes, against the lessons.
import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { test } from "node:test"
import * as attention from "../docs/assets/live/attention.mjs"
import * as config from "../docs/assets/live/config.mjs"
import { read } from "../docs/assets/live/cost.mjs"
import * as encoder from "../docs/assets/live/encoder.mjs"
import { fill, fixed, grouped, millions, ten } from "../docs/assets/live/kit.mjs"
import * as patches from "../docs/assets/live/patches.mjs"
import * as positions from "../docs/assets/live/positions.mjs"
import { lr_at, neat, step_rate } from "../docs/assets/live/schedule.mjs"

const cases = JSON.parse(readFileSync(`${process.env.LIVE}/cases.json`))
const near = (a, b, bound = 1e-12) => assert.ok(Math.abs(a - b) <= bound * Math.max(1, Math.abs(b)), `${a} is not ${b}`)

test("a configuration costs what the package says", () => {
  for (const { preset, given, macs, parameters, activations, memory, shape } of cases.costs) {
    const c = config.configure({ ...cases.presets[preset], ...given }, cases.defaults), name = JSON.stringify([preset, given])
    assert.deepEqual(config.count_macs(c), macs, name)
    assert.equal(config.total(config.parameters(c)), parameters, name)
    for (const [batch, fused, bf16, expected] of activations) assert.equal(config.activation_bytes(c, batch, { fused, bf16 }), expected, name)
    assert.deepEqual(config.training_memory(c, 64), memory, name)
    assert.deepEqual([c.grid_size, c.num_patches, c.num_tokens, c.mlp_dim], shape, name)
  }
})

test("parameters by part are those of the lesson's table", () => {
  for (const { preset, parts } of cases.parts)
    assert.deepEqual(config.parameters(config.configure(cases.presets[preset], cases.defaults)), parts)
})

test("a bad configuration is refused in the package's words", () => {
  for (const { preset, given, error } of cases.errors)
    assert.throws(() => config.configure({ ...cases.presets[preset], ...given }, cases.defaults), { message: error })
})

test("the schedule is the package's", () => {
  for (const { recipe, rates, steps } of cases.schedules) {
    for (const [progress, rate] of rates) near(lr_at(recipe, progress), rate, 1e-15)
    for (const [step, rate] of steps) near(step_rate(recipe, step, recipe.steps), rate, 1e-15)
  }
})

test("what is typed is read", () => {
  assert.deepEqual(["224", " 96, 160", "96×160", "(96, 160)", "4.0", ".5", "-3", "−3", "", "ten", "1e3", "2 4"].map(read),
    [224, [96, 160], [96, 160], [96, 160], 4, 0.5, -3, -3, undefined, undefined, undefined, undefined])
})

test("numbers are written as in print", () => {
  assert.deepEqual([fixed(-0.001), fixed(-1.5, 1), grouped(1234567), grouped(-0.2), millions(10070523904), ten(-12), ten(0)],
    ["0.00", "−1.5", "1,234,567", "0", "10,070.52", "10⁻¹²", "1"])
  assert.deepEqual([[3e-7, 0.95e-6, 14.14, 0.523, 0, 123456].map(encoder.say), fill("{a} of {b}", { a: 0 }), neat(0.00123456)],
    [["3 × 10⁻⁷", "10⁻⁶", "14.1", "0.52", "0", "10⁵"], "0 of {b}", 0.00123])
})

test("without positions a move changes nothing, with them it does", () => {
  const orders = [[0, 2, 1, 3], [3, 2, 1, 0], [1, 0, 2, 3]]
  const moved = (p) => orders.map((order) => {
    const [a, b] = [positions.attend([0, 1, 2, 3], p).answer, positions.attend(order, p).answer]
    return Math.hypot(a[0] - b[0], a[1] - b[1])
  })
  assert.ok(moved(false).every((d) => d < 1e-12))
  assert.ok(moved(true).every((d) => d > 0.01), String(moved(true)))
})

test("blocks are the lesson's blocks", () => {
  const { block, tokens } = encoder.draw_weights(3), blocks = [block(), block()]
  const out = {}
  for (const residual of [true, false])
    for (const norm of ["pre", "post", "none"])
      out[`${residual} ${norm}`] = [...blocks.reduce((x, b) => encoder.pass(x, b, residual, norm), tokens)]
  const list = (o) => Object.fromEntries(Object.entries(o).map(([key, value]) => [key, [...value]]))
  const curves = encoder.grow(encoder.begin({ tokens }), blocks, true, "post")
  near(curves.sizes[2], encoder.size(Float64Array.from(out["true post"])))
  const photo = Object.fromEntries(patches.SIDES.map((P) => [P, patches.count(P)]))
  const toy = { queries: attention.QUERIES, keys: attention.KEYS, values: attention.VALUES, outputs: attention.QUERIES.map((q) => attention.mix(q, Math.SQRT2).output) }
  const bag = { pixels: positions.PIXELS, tokens: positions.TOKENS, class: positions.CLASS, corners: positions.CORNERS, answers: [false, true].map((p) => positions.attend([0, 2, 1, 3], p).answer) }
  writeFileSync(`${process.env.LIVE}/found.json`, JSON.stringify({ size: encoder.SIZE, tokens: [...tokens], blocks: blocks.map(list), out, curves, photo, toy, bag }))
})
