// What the page shows of a model and its answers, and of what went wrong.

const SPEAK_AFTER_MS = 700, KEPT = 15, MOST = 5;
const MARGIN = 0.2; // around the input, as a share of its width: the quadrilateral may leave it
const element = (id) => document.getElementById(id);
const NAMED = { input: "Input", crop: "Warped crop" };
const WRITTEN = {
  turn: (degrees) => `${degrees}°`,
  scale: (times) => `${times.toFixed(2)} ×`,
  right: (percent) => `${percent} %`,
  down: (percent) => `${percent} %`,
};

const problems = { picture: "", server: "" };
let latencies = [];
let speech = 0;

/** Show what went wrong with the picture or the server, in one line; an empty text takes it back. */
function tell(about, text) {
  problems[about] = text;
  element("told").textContent = problems.picture || problems.server;
  element("problem").hidden = !element("told").textContent;
  element("again").hidden = Boolean(problems.picture) || !element("entrance").hidden;
}

function showSlider(slider) {
  const text = WRITTEN[slider.id](slider.valueAsNumber);
  slider.nextElementSibling.textContent = text;
  slider.setAttribute("aria-valuetext", text);
}

/** Sizes, captions, and whether there is a crop. */
function showModel({ height, width, labels, transforms }) {
  element("facts").textContent = `${width} × ${height} pixels, ${labels.length} classes`;
  element("explanation").textContent = transforms
    ? "The transformer chose the quadrilateral; its top is orange. The backbone gets the crop."
    : "This model has no transformer: it chooses no quadrilateral, and the backbone gets the input as it is.";
  element("crop-figure").hidden = !transforms;
  const margin = MARGIN * width;
  element("overlay").setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  element("answer-title").textContent = labels.length > MOST ? `Top ${MOST}` : `All ${labels.length} classes`;
  forgetAnswer();
}

function forgetAnswer() {
  latencies = [];
  clearTimeout(speech);
  for (const id of ["input", "crop"]) {
    element(id).width = element(id).height = 1;
    element(id).setAttribute("aria-label", NAMED[id]);
  }
  element("top").replaceChildren();
  for (const id of ["latency", "spoken", "theta"]) element(id).textContent = "";
  element("hint").hidden = false;
  element("board").classList.remove("stale");
  element("overlay").toggleAttribute("hidden", true);
}

function showTop(logits, labels) {
  const top = best(logits, MOST);
  const percent = (probability) => `${(probability * 100).toFixed(1)} %`;
  element("top").replaceChildren(...top.map(({ index, probability }) => {
    const item = document.createElement("li");
    for (const [kind, text] of [["name", labels[index]], ["share", percent(probability)], ["bar", ""]]) {
      const piece = document.createElement("span");
      piece.className = kind;
      piece.textContent = text;
      piece.style.setProperty("--share", `${probability * 100}%`);
      item.append(piece);
    }
    return item;
  }));
  element("hint").hidden = true;
  const sentence = `${labels[top[0].index]}, ${percent(top[0].probability)}`;
  clearTimeout(speech); // read aloud only what stays
  speech = setTimeout(() => { element("spoken").textContent = sentence; }, SPEAK_AFTER_MS);
}

function showLatency(milliseconds) {
  latencies = [...latencies, milliseconds].slice(-KEPT);
  const median = [...latencies].sort((one, other) => one - other)[latencies.length >> 1];
  element("latency").textContent =
    `Latency ${milliseconds.toFixed(1)} ms (network, queue and engine); median of ${latencies.length}: ${median.toFixed(1)} ms`;
}

/** Draw the quadrilateral over the input, and the crop that the backbone gets; neither without a theta. */
function showTheta(theta, pixels, { outside, crop }) {
  element("overlay").toggleAttribute("hidden", !theta);
  if (!theta) return;
  const points = corners(theta, pixels.height, pixels.width);
  element("quad").setAttribute("points", points.map((point) => point.join(",")).join(" "));
  points.slice(0, 2).forEach(([x, y], index) => {
    element("top-edge").setAttribute(`x${index + 1}`, x);
    element("top-edge").setAttribute(`y${index + 1}`, y);
  });
  paint(element("crop"), cropped(pixels, theta, outside, crop));
  const written = theta.map((each) => each.toFixed(3).padStart(8));
  element("theta").textContent = `theta${written.slice(0, 3).join("")}\n     ${written.slice(3).join("")}`;
  const places = points.map((point) => point.map(Math.round).join(", ")).join("; ");
  element("input").setAttribute("aria-label", `${NAMED.input}. Corners of the quadrilateral, in pixels: ${places}`);
}
