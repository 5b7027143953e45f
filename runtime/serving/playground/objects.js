// What the page shows of a detector's objects, [{ label, score, theta }], the best first; and of a reader's text.

const ONE_PLACE = 0.5; // of two words' boxes, the intersection over union from which on they are drawn as one

/** Draw each object's outline with its class and score, and list them. */
function showObjects(objects, pixels, model) {
  drawObjects(objects, pixels, model);
  showRows(objects.length ? objects.map(({ label, score }) => row(label, score)) : [noRow("No objects")], spokenOf(objects));
}

/** Draw the outline of each symbol, or of words at one place, and list the text and then its symbols. */
function showText({ text, probability, symbols }, pixels, model) {
  drawObjects(phrasesOf(text, symbols), pixels, model);
  const whole = text ? row(text, probability) : noRow("No text");
  const spoken = text ? `${text}, ${percent(probability)}` : "No text";
  showRows([whole, ...symbols.map(({ label, score }) => row(label, score))], spoken);
}

/** Put words that follow each other at one place together: their outlines would cover each other. */
function phrasesOf(text, symbols) {
  if (text !== symbols.map(({ label }) => label).join(" ")) return symbols;
  const phrases = [];
  for (const symbol of symbols) {
    const last = phrases.at(-1);
    if (last && overlapOf(last.box, symbol.box) >= ONE_PLACE) {
      phrases[phrases.length - 1] = { ...last, label: `${last.label} ${symbol.label}`, score: Math.min(last.score, symbol.score) };
    } else phrases.push(symbol);
  }
  return phrases;
}

/** The intersection over union of two upright boxes: left, top, right and bottom. */
function overlapOf(one, other) {
  const [wide, high] = [0, 1].map((side) => Math.min(one[side + 2], other[side + 2]) - Math.max(one[side], other[side]));
  const shared = Math.max(0, wide) * Math.max(0, high);
  const [area, area2] = [one, other].map(([left, top, right, bottom]) => (right - left) * (bottom - top));
  return shared / (area + area2 - shared);
}

function drawObjects(objects, pixels, model) {
  const drawn = objects.map((object) => ({ ...object, edges: outline(object.theta.flat(), model.form, pixels) }));
  showOutlines(drawn.map(({ edges }) => edges), model.form, drawn.map(({ label }) => label));
  forgetTags();
  element("frame").append(...drawn.map((object) => tagOf(object, pixels)).reverse()); // the best one covers others
}

function forgetTags() {
  for (const tag of document.querySelectorAll("#frame > .tag")) tag.remove();
}

/** An object's class and score, above its outline: from its left side to the right, or the other way in the right half. */
function tagOf({ label, score, edges }, { height, width }) {
  const [xs, ys] = [0, 1].map((axis) => edges.map(([corner]) => corner[axis]));
  const margin = MARGIN * width, within = (place, side) => (place + margin) / (side + 2 * margin);
  const left = within(Math.min(...xs), width), right = within(Math.max(...xs), width);
  const tag = document.createElement("span");
  tag.className = "tag";
  tag.ariaHidden = "true"; // the list says it
  tag.textContent = `${label} ${Math.round(score * 100)} %`;
  const side = left + right < 1 ? ["left", left] : ["right", 1 - right];
  tag.style.setProperty(side[0], `${Math.max(0, side[1]) * 100}%`);
  tag.style.setProperty("--top", `${within(Math.min(...ys), height) * 100}%`);
  return tag;
}

function noRow(text) {
  const item = row(text, 0);
  item.replaceChildren(item.firstChild);
  return item;
}

function spokenOf(objects) {
  if (!objects.length) return "No objects";
  const each = objects.map(({ label, score }) => `${label}, ${percent(score)}`).join("; ");
  return `${objects.length === 1 ? "1 object" : `${objects.length} objects`}: ${each}`;
}
