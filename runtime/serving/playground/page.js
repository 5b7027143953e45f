// The page: what the user does becomes pixels, the newest pixels become a request, and its answer is what is shown.

const PAUSE_MS = 40;
const BLACK = [0, 0, 0];
const SLIDERS = ["turn", "scale", "right", "down"].map(element);

let token = "";
let model = null; // what `described` says of the one that is chosen
let base = null; // the picture at the model's size, before the sliders
let newest = null; // and after them: what the network is to get
let sent = null; // the pixels that were last sent
let flight = null, lookup = null; // AbortControllers: of the one request under way, and of looking models up
let pause = 0; // the timer until the newest pixels are made
let openings = 0;

const pad = new Pad(element("source-box"), element("source"), element("pen"), drawn);
const moving = new MovingPicture(element("moving"), frame, still);
let steady = new SteadyWarp();
let seconds = 0; // of the newest frame

function drawn() {
  base = null;
  changed();
}

/** A frame of what moves. The answer to the one before stays until there is a newer one, and isn't dimmed. */
function frame(video, name, at) {
  if (!video.videoWidth) return;
  pad.show({ picture: video, width: video.videoWidth, height: video.videoHeight }, name);
  element("camera").textContent = "Stop";
  [base, seconds] = [null, at];
  changed();
}

/** What moved has ended. Its last frame stays, and is asked for by itself. */
function still(said) {
  steady = new SteadyWarp();
  element("camera").textContent = "Camera";
  tell("picture", said);
  changed();
}

/** Another picture, model or token: what is under way is of no use any more. */
function anew() {
  flight?.abort();
  base = newest = null;
  forgetAnswer();
  changed();
}

/** The input has changed. It is shown and asked for soon; until there is an answer, the older one stays, dimmed. */
function changed() {
  element("board").classList.toggle("stale", element("top").hasChildNodes() && !moving.playing);
  pause ||= setTimeout(refresh, PAUSE_MS);
}

function refresh() {
  pause = 0;
  newest = null;
  if (model && !pad.empty) {
    base ??= framed(pad.read(), model);
    newest = { ...disturbed(base), seconds };
    paint(element("input"), newest);
    ask();
  }
}

function disturbed(pixels) {
  const [turn, scale, right, down] = SLIDERS.map((slider) => slider.valueAsNumber);
  if (turn === 0 && scale === 1 && right === 0 && down === 0) return { ...pixels };
  const amounts = { turn, scale, right: right / 100, down: down / 100 };
  return warped(pixels, affine(disturbance(amounts, pixels)), BLACK);
}

/** Ask for the newest pixels, one request at a time, until there are no newer ones. */
async function ask() {
  if (flight) return;
  element("seen").setAttribute("aria-busy", "true");
  try {
    while (newest && sent !== newest) {
      sent = newest;
      flight = new AbortController();
      await answered(sent, flight).then(() => tell("server", ""), failed);
    }
  } finally {
    flight = null;
    element("seen").setAttribute("aria-busy", "false");
  }
}

/** One request. When the model's file was replaced by another under the same name, it is looked up anew, once. */
async function answered(pixels, controller) {
  try {
    const answer = await inferred(model, pixels, token, controller);
    if (fits(answer)) return show(answer, pixels);
  } catch (error) {
    if (error.status !== 400) throw error;
  }
  adopt(await described(model.name, token, controller));
  refresh();
  if (!newest) throw new Abandoned();
  sent = newest;
  const answer = await inferred(model, sent, token, controller);
  if (!fits(answer)) throw new Problem("The server's answer doesn't fit what it says of the model.", 0);
  return show(answer, sent);
}

/** Whether this answer has the labels that the page knows, and a theta of the shape that it knows. */
function fits({ objects, symbols, tags, logits, label, theta }) {
  const found = objects ?? symbols ?? tags;
  if (found && !found.every((each) => model.labels.includes(each.label))) return false;
  if (objects ?? symbols) return true;
  if (theta?.length !== model.shape?.reduce((rows, columns) => rows * columns)) return false;
  return Boolean(tags) || logits.length === model.labels.length && model.labels[best(logits, 1)[0].index] === label;
}

function show(answer, pixels) {
  element("board").classList.toggle("stale", (Boolean(pause) || pixels !== newest) && !moving.playing);
  showLatency(answer.latency);
  if (answer.objects) return showObjects(answer.objects, pixels, model);
  if (answer.symbols) return showText(answer, pixels, model);
  if (answer.tags) showTags(answer.tags);
  else showTop(answer.logits, model.labels);
  const theta = moving.playing && answer.theta
    ? steady.steadied(answer.theta, model.shape, model.form, pixels.seconds)
    : answer.theta;
  return showTheta(theta, pixels, model);
}

/** Use a model as the server describes it. */
function adopt(described) {
  model = described;
  base = null;
  steady = new SteadyWarp();
  showModel(model);
}

/** Look the models up, and then the one that is chosen. */
async function enter() {
  await looked(async (controller) => {
    const names = await modelNames(token, controller);
    const before = element("model").value;
    element("model").replaceChildren(...names.map((name) => new Option(name, name, name === before, name === before)));
    element("model").disabled = false;
    element("entrance").hidden = true;
    adopt(await described(element("model").value, token, controller));
  });
}

async function choose() {
  await looked(async (controller) => adopt(await described(element("model").value, token, controller)));
}

/** Do what ends with a model to ask; the newest such wish wins. */
async function looked(how) {
  lookup?.abort();
  lookup = new AbortController();
  model = null;
  element("facts").textContent = "";
  anew();
  try {
    await how(lookup);
    tell("server", "");
    anew();
  } catch (error) {
    failed(error);
  }
}

function failed(error) {
  if (error instanceof Abandoned) return;
  if (!(error instanceof Problem)) throw error;
  if (error.status === 401) demandToken();
  tell("server", error.message);
}

function demandToken() {
  element("entrance").hidden = false;
  element("token").focus();
  element("token").select(); // what is typed replaces a wrong one
}

async function open(file) {
  const turn = ++openings;
  moving.stop();
  if (file?.type.startsWith("video/")) {
    tell("picture", "");
    anew();
    return moving.file(file);
  }
  const picture = file && (await opened(file).catch(() => null));
  if (turn !== openings) return; // something newer was chosen while this one was read
  if (!picture) {
    tell("picture", file ? `${file.name}: not a picture that this browser can read.` : "That is not a file.");
    return;
  }
  pad.show({ picture, width: picture.width, height: picture.height }, file.name);
  tell("picture", "");
  anew();
}

function useCamera() {
  openings++;
  if (moving.playing) return moving.stop();
  tell("picture", "");
  return moving.camera();
}

function drawAnew() {
  openings++;
  moving.stop();
  pad.clear();
  tell("picture", "");
  anew();
}

for (const slider of SLIDERS) slider.addEventListener("input", () => { showSlider(slider); changed(); });
element("reset").addEventListener("click", () => {
  for (const slider of SLIDERS) {
    slider.value = slider.defaultValue;
    showSlider(slider);
  }
  changed();
});
element("blank").addEventListener("click", drawAnew);
element("camera").addEventListener("click", useCamera);
element("file").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); open(event.dataTransfer.files[0]); });
element("model").addEventListener("change", choose);
element("again").addEventListener("click", () => (model ? changed() : enter()));
element("entrance").addEventListener("submit", (event) => {
  event.preventDefault(); // a form that is sent would put the token into the address
  token = element("token").value.trim();
  enter();
});

SLIDERS.forEach(showSlider);
if (document.body.dataset.guarded === "true") demandToken();
else enter();
