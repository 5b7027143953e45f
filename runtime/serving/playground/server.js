// What the page asks the server, by the Open Inference Protocol v2. Nothing is asked of anyone else.

const PATIENCE_MS = 20000;

/** What went wrong with the server, as the user is told it. `status` is HTTP's, 0 if there was no answer. */
class Problem extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Thrown when nobody waits for the answer any more. */
class Abandoned extends Error {}

/** Fetch JSON. `controller` may abort it. */
async function asked(path, token, controller, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  let late = false;
  const timer = setTimeout(() => { late = true; controller.abort(); }, PATIENCE_MS);
  try {
    const reply = await fetch(path, { ...options, headers, signal: controller.signal, cache: "no-store", credentials: "omit" });
    const content = await reply.json().catch(() => null);
    if (reply.ok && content && !controller.signal.aborted) return content;
    if (!reply.ok) throw new Problem(refusal(reply.status, String(content?.error ?? reply.statusText)), reply.status);
    throw new Error();
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (late) throw new Problem(`The server didn't answer within ${PATIENCE_MS / 1000} seconds.`, 0);
    if (controller.signal.aborted) throw new Abandoned();
    throw new Problem("The server doesn't answer. Is it still running?", 0);
  } finally {
    clearTimeout(timer);
  }
}

function refusal(status, message) {
  if (status === 401) return "The server wants another token.";
  if (status === 503) return `The server can't answer now: ${message}.`;
  return `The server refused: ${message}.`;
}

/** The names of the models that are served. */
async function modelNames(token, controller) {
  return (await asked("v2/models", token, controller)).models;
}

/**
 * What a model is: its name, the size of its input, how a picture becomes one (fit, and fill around it), its labels, whether it tags, detects objects or reads
 * text, and whether it has a transformer. If so, theta's form and shape for one image, the size of the crop, and the colour that the backbone gets outside of the input.
 */
async function described(name, token, controller) {
  const told = await asked(`v2/models/${name}`, token, controller);
  const tensor = (tensors, wanted) => tensors.find((each) => each.name === wanted);
  const { shape: [, height, width], parameters: { fit, fill } } = tensor(told.inputs, "pixels");
  const labels = tensor(told.outputs, "logits").parameters.labels;
  const theta = tensor(told.outputs, "theta"), reads = tensor(told.outputs, "symbols") !== undefined;
  const detects = tensor(told.outputs, "objects") !== undefined, tags = tensor(told.outputs, "labels") !== undefined;
  const shape = theta?.shape.slice(1);
  return { name, height, width, fit, fill, labels, tags, detects, reads, transforms: theta !== undefined, shape, ...theta?.parameters };
}

/**
 * One image's logits, theta (undefined without a transformer) and label, or all its labels, [{ label, probability }],
 * and theta, or its objects, [{ label, score, theta }], or
 * its text, probability and symbols, like objects; and how long that took, in ms.
 */
async function inferred(model, pixels, token, controller) {
  const classes = [...(model.tags ? ["labels"] : ["logits", "label"]), ...(model.transforms ? ["theta"] : [])];
  const names = model.detects ? ["objects"] : model.reads ? ["text", "probability", "symbols"] : classes;
  const json = new TextEncoder().encode(JSON.stringify({
    inputs: [{
      name: "pixels", datatype: "UINT8", shape: [1, pixels.height, pixels.width, 3],
      parameters: { binary_data_size: pixels.data.length },
    }],
    outputs: names.map((name) => ({ name })),
  }));
  const started = performance.now();
  const told = await asked(`v2/models/${model.name}/infer`, token, controller, {
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", "Inference-Header-Content-Length": String(json.length) },
    body: new Blob([json, pixels.data]),
  });
  const latency = performance.now() - started;
  const data = Object.fromEntries(told.outputs.map((output) => [output.name, output.data]));
  if (model.reads) {
    return { text: data.text[0], probability: data.probability[0], symbols: JSON.parse(data.symbols[0]), latency };
  }
  if (model.detects) return { objects: JSON.parse(data.objects[0]), latency };
  if (model.tags) return { tags: JSON.parse(data.labels[0]), theta: data.theta, latency };
  return { logits: data.logits, theta: data.theta, label: data.label[0], latency };
}
