"use strict";
// Pixels are { height, width, data }: data is (H, W, 3) RGB in a Uint8Array.

/**
 * One axis of Pillow's antialiased bilinear filter: for each output position its first input and integer weights. shown:
 * the share of the input, around its middle, that becomes the output.
 */
function taps(from, to, shown) {
  const left = (1 - shown) / 2, start = Math.fround(left * from), end = Math.fround((1 - left) * from);
  const scale = Math.fround(end - start) / to, support = Math.max(scale, 1), one = 1 << 22;
  return Array.from({ length: to }, (_, out) => {
    const centre = start + (out + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const weights = [];
    for (let at = first; at < last; at++) weights.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / support)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc((weight / sum) * one + 0.5)) };
  });
}

/** A canvas's ImageData as a model's input, framed as lstn/imaging/framing.py does. */
function framed(image, { height, width, fit, fill }) {
  const { width: wide, height: high } = image, flatter = wide * height >= high * width;
  if (fit === "centre") {
    const shown = flatter ? [(width * high) / (height * wide), 1] : [1, (height * wide) / (width * high)];
    return resized(image, height, width, shown);
  }
  if (fit !== "letterbox") return resized(image, height, width);
  const rounded = (over, under) => Math.max(1, Math.floor((2 * over + under) / (2 * under)));
  const part = flatter
    ? resized(image, rounded(high * width, wide), width)
    : resized(image, height, rounded(wide * height, high));
  const data = filled(height * width * 3, fill);
  const left = Math.floor((width - part.width) / 2), top = Math.floor((height - part.height) / 2);
  for (let y = 0; y < part.height; y++) {
    data.set(part.data.subarray(y * part.width * 3, (y + 1) * part.width * 3), ((top + y) * width + left) * 3);
  }
  return { height, width, data };
}

/**
 * Resize the middle of a canvas's ImageData as lstn/images.py does, to the bit: Pillow 13 rounds to 8 bits after each of
 * two passes, and goes down first where a picture loses more than twice as many rows as columns.
 */
function resized(image, height, width, shown = [1, 1]) {
  const columns = taps(image.width, width, shown[0]), rows = taps(image.height, height, shown[1]);
  const canvas = { height: image.height, width: image.width, data: image.data, step: 4 };
  const tall = image.height - height > 2 * Math.max(0, image.width - width);
  return tall ? across(down(canvas, rows), columns) : down(across(canvas, columns), rows);
}

/** One pass: each row gets as many columns as there are taps. */
function across({ height, width, data, step = 3 }, columns) {
  const made = new Uint8Array(height * columns.length * 3), half = 1 << 21;
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (const { first, weights } of columns) {
      let at = (y * width + first) * step, r = half, g = half, b = half;
      for (const weight of weights) {
        r += data[at] * weight;
        g += data[at + 1] * weight;
        b += data[at + 2] * weight;
        at += step;
      }
      made[to++] = r >> 22;
      made[to++] = g >> 22;
      made[to++] = b >> 22;
    }
  }
  return { height, width: columns.length, data: made };
}

/** The other pass: each column gets as many rows as there are taps. */
function down({ width, data, step = 3 }, rows) {
  const made = new Uint8Array(rows.length * width * 3), half = 1 << 21;
  let to = 0;
  for (const { first, weights } of rows) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        let at = (first * width + x) * step + channel, sum = half;
        for (const weight of weights) {
          sum += data[at] * weight;
          at += width * step;
        }
        made[to++] = sum >> 22;
      }
    }
  }
  return { height: rows.length, width, data: made };
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
