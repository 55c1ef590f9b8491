// The model's own thread: the page never waits for it. In: {load} or {run}. Out: progress, ready, a result, an error.
import { accelerator } from "./simd.mjs"
import { accelerate, random_weights, read_weights, rollout } from "./vit.mjs"

let trained = null
let twin = { seed: null, model: null } // the model with random weights that was asked for last

async function load({ url, bytes }) {
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${response.status} ${url}`)
  const reader = response.body.getReader()
  const file = new Uint8Array(bytes)
  for (let got = 0; ; ) {
    const { done, value } = await reader.read()
    if (done) {
      if (got !== bytes) throw new Error(`expected ${bytes} bytes of weights, got ${got}`)
      break
    }
    file.set(value, got) // more than was promised is an error, too
    got += value.length
    postMessage({ progress: got / bytes })
  }
  accelerate(accelerator(bytes)) // one number a byte
  trained = read_weights(file.buffer)
  postMessage({ ready: true })
}

function run({ key, pixels, side, seed, options }) {
  if (seed !== null && twin.seed !== seed) twin = { seed, model: random_weights(trained, seed) }
  const model = seed === null ? trained : twin.model
  const start = performance.now()
  const result = model.forward(model.normalise(pixels, side, side), side, side, options)
  const milliseconds = performance.now() - start
  const rolled = rollout(result.attention, model.config.num_heads)
  const buffers = [...result.attention, ...result.qkv].map((tensor) => tensor.buffer)
  postMessage({ result: { ...result, rollout: rolled, key, milliseconds } }, buffers)
}

addEventListener("message", async ({ data }) => {
  try {
    if (data.load) await load(data.load)
    else run(data.run)
  } catch (error) {
    postMessage({ error: String(error.message ?? error), loading: Boolean(data.load) })
  }
})
