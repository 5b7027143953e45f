// Warps, as in lstn/warps/warp.py: theta maps points of the crop to points of the image, both from -1 to 1 over the
// whole of it. Its numbers come row by row. Pixels are { height, width, data }, as in pixels.js.

const EDGE_POINTS = 16; // by which an edge that isn't straight is drawn
const INNERMOST = 1 / 16; // radius of a log-polar crop's upper edge, as a share of the lower edge's
const CORNERS = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
const CONTROL = [-1, -1 / 3, 1 / 3, 1].flatMap((v, _, axis) => axis.map((u) => [u, v])); // points of a spline's crop
const MAPPINGS = { affine, similarity: affine, crop: affine, projective, tps: spline, polar };

/** What a theta of this form (lstn/contract/theta_forms.py) does: a function of u and v in the crop, which returns [x, y]. */
function mapping(theta, form, image) {
  if (!(form in MAPPINGS)) throw new Error(`this page can't draw a theta of the form ${form}`);
  return MAPPINGS[form](theta, image);
}

/** Each warp's theta, of one or several: sides are those of theta, of a warp or of so many warps. */
function warpsOf(theta, sides) {
  const each = sides.at(-2) * sides.at(-1);
  return Array.from({ length: theta.length / each }, (_, warp) => theta.slice(warp * each, (warp + 1) * each));
}

function affine([a, b, c, d, e, f]) {
  return (u, v) => [a * u + b * v + c, d * u + e * v + f];
}

function projective([a, b, c, d, e, f, g, h, i]) {
  return (u, v) => {
    const depth = g * u + h * v + i;
    return [(a * u + b * v + c) / depth, (d * u + e * v + f) / depth];
  };
}

/** Of the image's largest disc: across are angles from -180 to 180 degrees, down are radii, each the same factor larger. */
function polar(theta, { height, width }) {
  const ofDisc = affine(theta), reach = [Math.min(1, height / width), Math.min(1, width / height)];
  return (u, v) => {
    const radius = INNERMOST ** ((1 - v) / 2);
    return ofDisc(radius * Math.cos(Math.PI * u) * reach[0], radius * Math.sin(Math.PI * u) * reach[1]);
  };
}

/** The thin plate spline that leads from the control points to where theta reads them, as in lstn/warps/spline.py. */
function spline(theta) {
  const through = CONTROL.map(([u, v], index) => [
    ...CONTROL.map((other) => bending(u, v, other)), u, v, 1, theta[2 * index], theta[2 * index + 1],
  ]);
  const balanced = [0, 1, 2].map((part) => [...CONTROL.map(([u, v]) => [u, v, 1][part]), 0, 0, 0, 0, 0]);
  const weights = solved([...through, ...balanced]), plane = weights.slice(CONTROL.length);
  const onPlane = affine([0, 1].flatMap((axis) => plane.map((weight) => weight[axis])));
  return (u, v) => {
    let [x, y] = onPlane(u, v);
    for (let index = 0; index < CONTROL.length; index++) {
      const share = bending(u, v, CONTROL[index]);
      x += share * weights[index][0];
      y += share * weights[index][1];
    }
    return [x, y];
  };
}

/** r^2 log r^2 for the distance r of a point from another. */
function bending(u, v, other) {
  const square = (u - other[0]) ** 2 + (v - other[1]) ** 2;
  return square > 0 ? square * Math.log(square) : 0;
}

/** Solve n linear equations, each a row of n factors and its right-hand sides: Gauss and Jordan's, with pivots. */
function solved(equations) {
  const rows = [...equations];
  for (let at = 0; at < rows.length; at++) {
    let pivot = at;
    for (let row = at; row < rows.length; row++) if (Math.abs(rows[row][at]) > Math.abs(rows[pivot][at])) pivot = row;
    [rows[at], rows[pivot]] = [rows[pivot], rows[at]];
    const own = rows[at].map((each) => each / rows[at][at]);
    rows.forEach((row, index) => { rows[index] = row.map((each, column) => each - row[at] * own[column]); });
    rows[at] = own;
  }
  return rows.map((row) => row.slice(rows.length));
}

/**
 * The four edges of what theta samples, each a list of [x, y] in pixels of the input: top, right, bottom, left. Of a
 * log-polar crop they are the quarters of the disc's rim, from the left.
 */
function outline(theta, form, { height, width }) {
  const map = mapping(theta, form, { height, width }), steps = form === "tps" || form === "polar" ? EDGE_POINTS : 1;
  const ends = form === "polar" ? [-1, -0.5, 0, 0.5, 1].map((u) => [u, 1]) : [...CORNERS, CORNERS[0]];
  return CORNERS.map((_, edge) => Array.from({ length: steps + 1 }, (_, step) => {
    const [u, v] = [0, 1].map((axis) => ends[edge][axis] + ((ends[edge + 1][axis] - ends[edge][axis]) * step) / steps);
    const [x, y] = map(u, v);
    return [((x + 1) / 2) * width, ((y + 1) / 2) * height];
  }));
}

/**
 * What the backbone sees at its network's theta: a crop of [height, width], with one colour [R, G, B] outside of the
 * image. Where its side is less than a quarter of the image's, each pixel is the mean of several points.
 */
function cropped(image, theta, { form, outside, crop: [height, width] }) {
  const down = Math.max(1, Math.ceil(image.height / (4 * height)));
  const across = Math.max(1, Math.ceil(image.width / (4 * width)));
  const { data: fine } = warped(image, mapping(theta, form, image), outside, [down * height, across * width]);
  const data = new Uint8Array(height * width * 3);
  for (let to = 0; to < data.length; to++) {
    const channel = to % 3, x = ((to - channel) / 3) % width, y = Math.floor(to / (3 * width));
    let sum = 0;
    for (let i = 0; i < down; i++) {
      for (let j = 0; j < across; j++) sum += fine[((y * down + i) * width * across + x * across + j) * 3 + channel];
    }
    data[to] = Math.round(sum / (down * across));
  }
  return { height, width, data };
}

/** Crops of one size as one picture, from left to right. */
function sideBySide(crops) {
  const [{ height, width }] = crops, row = 3 * width;
  const data = new Uint8Array(height * row * crops.length);
  crops.forEach((crop, index) => {
    for (let y = 0; y < height; y++) {
      data.set(crop.data.subarray(y * row, (y + 1) * row), (y * crops.length + index) * row);
    }
  });
  return { height, width: width * crops.length, data };
}

/** Sample where `read` says, [high, wide] points: bilinear, `align_corners=False`, with one colour [R, G, B] outside. */
function warped({ height, width, data }, read, outside, [high, wide] = [height, width]) {
  // A border of that colour makes the edge fade as `padding_mode="zeros"` does.
  const row = (width + 2) * 3, bordered = filled((height + 2) * row, outside), out = filled(high * wide * 3, outside);
  for (let y = 0; y < height; y++) bordered.set(data.subarray(y * width * 3, (y + 1) * width * 3), (y + 1) * row + 3);
  let to = 0;
  for (let i = 0; i < high; i++) {
    for (let j = 0; j < wide; j++, to += 3) {
      const [across, along] = read((2 * j + 1) / wide - 1, (2 * i + 1) / high - 1);
      const x = ((across + 1) * width + 1) / 2, y = ((along + 1) * height + 1) / 2;
      if (!(x >= 0 && x < width + 1 && y >= 0 && y < height + 1)) continue;
      const left = Math.floor(x), top = Math.floor(y), dx = x - left, dy = y - top;
      for (let channel = 0; channel < 3; channel++) {
        const at = top * row + left * 3 + channel;
        const above = bordered[at] * (1 - dx) + bordered[at + 3] * dx;
        const below = bordered[at + row] * (1 - dx) + bordered[at + row + 3] * dx;
        out[to + channel] = Math.round(above * (1 - dy) + below * dy);
      }
    }
  }
  return { height: high, width: wide, data: out };
}

/** Pixels of one colour, so many bytes of them. */
function filled(length, colour) {
  return new Uint8Array(length).map((_, index) => colour[index % 3]);
}

/**
 * The affine theta that shows the content turned (degrees counter-clockwise), then scaled (times as large), then shifted
 * (shares of the sides, to the right and down): what lstn/evaluation/disturb.py does, together.
 */
function disturbance({ turn, scale, right, down }, { height, width }) {
  const cos = Math.cos((turn * Math.PI) / 180) / scale, sin = Math.sin((turn * Math.PI) / 180) / scale;
  // On -1..1 a pixel is 2/W wide and 2/H high: without the ratio an oblong image would be sheared.
  const across = (-sin * height) / width, along = (sin * width) / height;
  return [cos, across, -2 * (cos * right + across * down), along, cos, -2 * (along * right + cos * down)];
}
