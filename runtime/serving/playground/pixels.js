"use strict";
// Pixels are { height, width, data }: data is (H, W, 3) RGB in a Uint8Array. theta is six numbers, (2, 3) row by row,
// and maps output to input coordinates, both from -1 to 1 over the whole image, as in lstn/warps/warp.py.

/** One axis of Pillow's antialiased bilinear filter: for each output position its first input and integer weights. */
function taps(from, to) {
  const scale = from / to, support = Math.max(scale, 1), one = 1 << 22;
  return Array.from({ length: to }, (_, out) => {
    const centre = (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let at = first; at < last; at++) weights.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / support)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc((weight / sum) * one + 0.5)) };
  });
}

/** Resize a canvas's ImageData as lstn/images.py does, to the bit: across, rounded to 8 bits, then down. */
function resized(image, height, width) {
  const across = new Uint8Array(image.height * width * 3), data = new Uint8Array(height * width * 3);
  const columns = taps(image.width, width), rows = taps(image.height, height);
  const half = 1 << 21;
  let to = 0;
  for (let y = 0; y < image.height; y++) {
    for (const { first, weights } of columns) {
      let at = (y * image.width + first) * 4, r = half, g = half, b = half;
      for (const weight of weights) {
        r += image.data[at] * weight;
        g += image.data[at + 1] * weight;
        b += image.data[at + 2] * weight;
        at += 4;
      }
      across[to++] = r >> 22;
      across[to++] = g >> 22;
      across[to++] = b >> 22;
    }
  }
  to = 0;
  for (const { first, weights } of rows) {
    for (let x = 0; x < width * 3; x++) {
      let at = first * width * 3 + x, sum = half;
      for (const weight of weights) {
        sum += across[at] * weight;
        at += width * 3;
      }
      data[to++] = sum >> 22;
    }
  }
  return { height, width, data };
}

/**
 * What the backbone sees at its network's theta: a crop of [height, width], with one colour [R, G, B] outside of the
 * image. Where its side is less than a quarter of the image's, each pixel is the mean of several points.
 */
function cropped(image, theta, outside, [height, width]) {
  const down = Math.max(1, Math.ceil(image.height / (4 * height)));
  const across = Math.max(1, Math.ceil(image.width / (4 * width)));
  const { data: fine } = warped(image, theta, outside, [down * height, across * width]);
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

/** Sample at theta, [high, wide] points: bilinear, `align_corners=False`, with one colour [R, G, B] outside. */
function warped({ height, width, data }, theta, outside, [high, wide] = [height, width]) {
  // A border of that colour makes the edge fade as `padding_mode="zeros"` does.
  const row = (width + 2) * 3, bordered = filled((height + 2) * row, outside), out = filled(high * wide * 3, outside);
  for (let y = 0; y < height; y++) bordered.set(data.subarray(y * width * 3, (y + 1) * width * 3), (y + 1) * row + 3);
  let to = 0;
  for (let i = 0; i < high; i++) {
    for (let j = 0; j < wide; j++, to += 3) {
      const u = (2 * j + 1) / wide - 1, v = (2 * i + 1) / high - 1;
      const x = ((theta[0] * u + theta[1] * v + theta[2] + 1) * width + 1) / 2;
      const y = ((theta[3] * u + theta[4] * v + theta[5] + 1) * height + 1) / 2;
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
 * The theta that shows the content turned (degrees counter-clockwise), then scaled (times as large), then shifted
 * (shares of the sides, to the right and down): what lstn/evaluation/disturb.py does, together.
 */
function disturbance({ turn, scale, right, down }, height, width) {
  const cos = Math.cos((turn * Math.PI) / 180) / scale, sin = Math.sin((turn * Math.PI) / 180) / scale;
  // On -1..1 a pixel is 2/W wide and 2/H high: without the ratio an oblong image would be sheared.
  const across = (-sin * height) / width, along = (sin * width) / height;
  return [cos, across, -2 * (cos * right + across * down), along, cos, -2 * (along * right + cos * down)];
}

/** Corners of the sampled quadrilateral, [x, y] in pixels of the input: top left, top right, bottom right, bottom left. */
function corners(theta, height, width) {
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => [
    ((theta[0] * u + theta[1] * v + theta[2] + 1) / 2) * width,
    ((theta[3] * u + theta[4] * v + theta[5] + 1) / 2) * height,
  ]);
}

/** The most probable classes, [{ index, probability }], best first. */
function best(logits, count) {
  const most = logits.reduce((largest, logit) => Math.max(largest, logit), -Infinity);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  const ranked = powers.map((power, index) => ({ index, probability: power / sum }));
  return ranked.sort((one, other) => other.probability - one.probability).slice(0, count);
}

/** Show pixels on a canvas, one to one. */
function paint(canvas, { height, width, data }) {
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; pixel++) {
    image.data.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
    image.data[pixel * 4 + 3] = 255;
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Read a picture file whole: EXIF rotation applied, colours as they are in the file, alpha on black. */
async function opened(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  // Telephones refuse canvases of more than 16 million pixels: larger pictures are first made smaller by the browser.
  const shrink = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.floor(bitmap.width * shrink));
  canvas.height = Math.max(1, Math.floor(bitmap.height * shrink));
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}
