// The canvas that holds the picture: a drawing by mouse, finger, pen or keyboard, or what was opened.

const PAD_SIDE = 280, PEN_WIDTH = 22, PEN_STEP = 10;

/** `changed` is called with every change of what can be seen. */
class Pad {
  constructor(box, canvas, pen, changed) {
    Object.assign(this, { box, canvas, pen, changed, down: false, at: [PAD_SIDE / 2, PAD_SIDE / 2] });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.dragging = false; });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const turn of ["focus", "blur"]) canvas.addEventListener(turn, () => this.#showPen());
    this.clear();
  }

  get drawing() { return this.box.classList.contains("drawing"); }

  get empty() { return this.box.classList.contains("empty"); }

  /** An empty canvas to draw on, white on black as in the data set of digits. */
  clear() {
    this.box.className = "drawing empty";
    this.canvas.width = this.canvas.height = PAD_SIDE;
    this.context = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    Object.assign(this.context, { lineWidth: PEN_WIDTH, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-label", "Drawing canvas");
    this.canvas.tabIndex = 0;
    this.down = this.dragging = false;
    this.at = [PAD_SIDE / 2, PAD_SIDE / 2];
    this.#showPen();
  }

  /** Show a picture, or a frame of a video, at its own size; it can't be drawn on. */
  show({ picture, width, height }, name) {
    this.box.className = "";
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    this.context.drawImage(picture, 0, 0);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `The picture ${name}`);
    this.canvas.removeAttribute("tabindex");
    this.#showPen();
  }

  /** What is on the canvas, at its own size. */
  read() { return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height); }

  #press(event) {
    if (!this.drawing || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.dragging = true;
    this.at = this.#place(event);
    this.#lineTo(this.at);
  }

  #drag(event) {
    if (!this.dragging || !this.drawing) return;
    for (const each of event.getCoalescedEvents?.() ?? []) this.#lineTo(this.#place(each));
    this.#lineTo(this.#place(event));
  }

  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!this.drawing || event.altKey || event.ctrlKey || event.metaKey || (!step && event.key !== " ")) return;
    event.preventDefault();
    if (step) {
      const next = this.at.map((place, axis) => Math.min(PAD_SIDE, Math.max(0, place + PEN_STEP * step[axis])));
      if (this.down) this.#lineTo(next);
      this.at = next;
    } else {
      this.down = !this.down;
      if (this.down) this.#lineTo(this.at);
    }
    this.#showPen();
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * PAD_SIDE, ((event.clientY - box.top) / box.height) * PAD_SIDE];
  }

  #lineTo(place) {
    this.context.beginPath();
    this.context.moveTo(...this.at);
    this.context.lineTo(...place);
    this.context.stroke();
    this.at = place;
    this.box.classList.remove("empty");
    this.changed();
  }

  /** Where the keyboard's pen is, while the canvas has the focus. */
  #showPen() {
    this.pen.hidden = !(this.drawing && this.canvas.matches(":focus-visible"));
    this.pen.classList.toggle("down", this.down);
    this.pen.style.left = `${(this.at[0] / PAD_SIDE) * 100}%`;
    this.pen.style.top = `${(this.at[1] / PAD_SIDE) * 100}%`;
  }
}
