// What the page shows of a model and its answers, and of what went wrong.

const SPEAK_AFTER_MS = 700, KEPT = 15, MOST = 5;
const MARGIN = 0.2; // around the input, as a share of its width: the outline may leave it
const element = (id) => document.getElementById(id);
const NAMED = { input: "Input", crop: "Warped crop" };
const QUADRILATERAL = {
  explained: "The transformer chose the quadrilateral; its top is orange. The backbone gets the crop.",
  points: "Corners of the quadrilateral",
};
const OTHERWISE = { // what is said of other outlines, by the form of theta
  tps: {
    explained: "The transformer chose the curved outline; its top is orange. The backbone gets the crop.",
    points: "Corners of the curved outline",
  },
  polar: {
    explained: "The transformer chose the disc. In the crop, angles run across and radii down; the orange quarter is at the left. The backbone gets the crop.",
    points: "Left, upper, right and lower end of the disc",
  },
};
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
function showModel({ height, width, labels, tags, detects, reads, transforms, form, shape }) {
  element("facts").textContent = `${width} × ${height} pixels, ${labels.length} ${reads ? "symbols" : tags ? "labels" : "classes"}`;
  element("explanation").textContent = transforms
    ? explainedOf(form, shape, detects, reads)
    : "This model has no transformer: the backbone gets the input as it is.";
  element("crop-figure").hidden = detects || reads || !transforms;
  element("seen").classList.toggle("detects", detects || reads);
  const margin = MARGIN * width;
  element("overlay").setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  const classes = labels.length > MOST ? `Top ${MOST}` : `All ${labels.length} classes`;
  element("answer-title").textContent = tags ? "Labels" : detects ? "Objects" : reads ? "Text" : classes;
  forgetAnswer();
}

/** What to say of the outline of this form, or of several. */
function explainedOf(form, shape, detects, reads) {
  if (reads) return `The model reads up to ${shape[0]} symbols. Each outline is one of the text; its top is orange.`;
  if (detects) return `The model looked at ${shape[0]} places. Each outline is an object that it found; its top is orange.`;
  if (shape.length < 3) return (OTHERWISE[form] ?? QUADRILATERAL).explained;
  return `The transformer chose ${shape[0]} places; the top of each is orange. The backbone gets all of the crops.`;
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
  forgetTags();
}

const percent = (share) => `${(share * 100).toFixed(1)} %`;

function showTop(logits, labels) {
  const rows = best(logits, MOST).map(({ index, probability }) => [labels[index], probability]);
  showRows(rows.map(([label, probability]) => row(label, probability)), `${rows[0][0]}, ${percent(rows[0][1])}`);
}

/** Show all labels that the image has, [{ label, probability }], the most probable first. */
function showTags(tags) {
  const told = tags.map(({ label, probability }) => `${label}, ${percent(probability)}`).join("; ");
  showRows(tags.length ? tags.map(({ label, probability }) => row(label, probability)) : [noRow("No labels")], told || "No labels");
}

/** A row of the answer: a name and its share, 0..1. */
function row(name, share) {
  const item = document.createElement("li");
  for (const [kind, text] of [["name", name], ["share", percent(share)], ["bar", ""]]) {
    const piece = document.createElement("span");
    piece.className = kind;
    piece.textContent = text;
    piece.style.setProperty("--share", `${share * 100}%`);
    item.append(piece);
  }
  return item;
}

/** Show the rows of the answer, and read the sentence aloud. */
function showRows(rows, sentence) {
  element("top").replaceChildren(...rows);
  element("hint").hidden = true;
  clearTimeout(speech); // read aloud only what stays
  speech = setTimeout(() => { element("spoken").textContent = sentence; }, SPEAK_AFTER_MS);
}

function showLatency(milliseconds) {
  latencies = [...latencies, milliseconds].slice(-KEPT);
  const median = [...latencies].sort((one, other) => one - other)[latencies.length >> 1];
  element("latency").textContent =
    `Latency ${milliseconds.toFixed(1)} ms (network, queue and engine); median of ${latencies.length}: ${median.toFixed(1)} ms`;
}

/** Draw the outline over the input, and the crop that the backbone gets; neither without a theta. */
function showTheta(theta, pixels, model) {
  const warps = theta ? warpsOf(theta, model.shape) : [];
  showOutlines(warps.map((each) => outline(each, model.form, pixels)), model.form);
  if (!theta) return;
  paint(element("crop"), sideBySide(warps.map((each) => cropped(pixels, each, model))));
  element("theta").textContent = `theta${rowsOf(theta, model.shape).join("\n     ")}`;
}

/**
 * Draw outlines, each of four edges, the first in its own colour; one without an end can't be drawn. names: what they
 * outline, if the page says it.
 */
function showOutlines(outlines, form, names = []) {
  const finite = outlines.map((edges, index) => ({ edges, name: names[index] }))
    .filter(({ edges }) => edges.flat(2).every(Number.isFinite));
  const drawn = finite.map(({ edges }) => edges);
  element("overlay").toggleAttribute("hidden", !drawn.length);
  element("input").setAttribute("aria-label", NAMED.input);
  for (const other of document.querySelectorAll("#overlay > .other")) other.remove();
  if (!drawn.length) return;
  drawn.forEach((edges, index) => {
    const around = edges.flatMap((edge) => edge.slice(0, -1)); // each ends where the next one begins
    shapeOf("outline", index).setAttribute("points", around.join(" "));
    shapeOf("top-edge", index).setAttribute("points", edges[0].join(" "));
  });
  const { points } = OTHERWISE[form] ?? QUADRILATERAL;
  const places = finite.map(({ edges, name }) => {
    const corners = edges.map(([start]) => start.map(Math.round).join(", ")).join("; ");
    return name === undefined ? corners : `${name}: ${corners}`;
  });
  element("input").setAttribute("aria-label", `${NAMED.input}. ${points}, in pixels: ${places.join(". And: ")}`);
}

/** The shape with this id, for the first outline; for each other one a copy of it, without the id. */
function shapeOf(id, index) {
  if (!index) return element(id);
  const copy = element(id).cloneNode();
  copy.removeAttribute("id");
  copy.classList.add("other", id);
  element("overlay").append(copy);
  return copy;
}

/** theta's numbers in lines of text: the rows of a matrix, or four points a line. */
function rowsOf(theta, sides) {
  const columns = sides.at(-1);
  const written = theta.map((each, index) => {
    const ofPoint = columns === 2 && index % 2;
    return ofPoint ? `,${each.toFixed(3).padStart(7)}` : each.toFixed(3).padStart(8);
  });
  const each = columns === 2 ? 8 : columns;
  return Array.from({ length: theta.length / each }, (_, row) => written.slice(row * each, (row + 1) * each).join(""));
}
