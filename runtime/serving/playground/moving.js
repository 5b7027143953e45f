// Moving pictures: a camera or a video file, whose frames come one after the other, and the steadying of their warps.

const REST_HZ = 1, HZ_PER_SPEED = 4, SPEED_HZ = 1; // as in lstn/warps/steadying.py, which says why
const WIDEST = 1280; // what is asked of a camera, in pixels; it may give another size

/** What plays, if anything does. `framed` is called with each frame, `ended` with what there is to say when it ends. */
class MovingPicture {
  constructor(video, framed, ended) {
    Object.assign(this, { video, framed, ended, turn: 0 });
    video.addEventListener("ended", () => this.stop());
    video.addEventListener("error", () => { if (this.playing) this.stop(`${this.name}: not a video that this browser can play.`); });
  }

  get playing() { return Boolean(this.name); }

  /** Play a camera, the one at the back where there are two. */
  async camera() {
    const turn = this.#begin("of the camera");
    try {
      if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: WIDEST }, facingMode: "environment" } });
      if (turn !== this.turn) return stopped(stream); // something else was chosen while the user was asked
      this.video.srcObject = stream;
      for (const track of stream.getTracks()) track.addEventListener("ended", () => this.stop("The camera is gone."));
      await this.#play(turn);
    } catch (error) {
      if (turn === this.turn) this.stop(NO_CAMERA[error.name] ?? `The camera can't be used: ${error.message || error.name}.`);
    }
  }

  /** Play a video file, once. */
  async file(file) {
    const turn = this.#begin(file.name);
    this.video.src = URL.createObjectURL(file);
    await this.#play(turn).catch(() => { // what it can't play has told of itself
    });
  }

  /** End what plays; nothing of it is kept. */
  stop(said = "") {
    if (!this.playing) return;
    this.turn++;
    this.name = "";
    if (this.video.srcObject) stopped(this.video.srcObject);
    URL.revokeObjectURL(this.video.src);
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    this.video.load();
    this.ended(said);
  }

  #begin(name) {
    this.stop();
    this.name = name;
    return ++this.turn;
  }

  async #play(turn) {
    const next = () => this.video.requestVideoFrameCallback((now, { mediaTime }) => {
      if (turn !== this.turn) return;
      this.framed(this.video, this.name, this.video.srcObject ? now / 1000 : mediaTime);
      next();
    });
    next();
    await this.video.play();
  }
}

const NO_CAMERA = { // by the name of what the browser throws
  NotAllowedError: "The browser doesn't let this page see the camera.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program has the camera.",
  SecurityError: "Browsers give the camera to pages of this machine and to https alone.",
};

function stopped(stream) {
  for (const track of stream.getTracks()) track.stop();
}

/** The warps of one video, frame after frame, by the one-Euro filter: all numbers of a theta get the same weight. */
class SteadyWarp {
  constructor() { this.seconds = -Infinity; }

  /** The steadied theta of a frame, at so many seconds; a frame that isn't later than the one before begins anew. */
  steadied(theta, shape, form, seconds) {
    const points = warpsOf(theta, shape).flatMap((each) => {
      const map = mapping(each, form, { height: 1, width: 1 });
      return (form === "tps" ? CONTROL : CORNERS).flatMap(([u, v]) => map(u, v));
    });
    const passed = seconds - this.seconds;
    let steady = theta, speed = points.map(() => 0);
    if (this.theta?.length === theta.length && passed > 0 && passed < Infinity) {
      speed = toward(this.speed, points.map((place, index) => (place - this.points[index]) / passed), SPEED_HZ, passed);
      const fastest = speed.reduce((most, each, at) => (at % 2 ? most : Math.max(most, Math.hypot(each, speed[at + 1]))), 0);
      steady = toward(this.theta, theta, REST_HZ + HZ_PER_SPEED * fastest, passed);
    }
    const finite = [...theta, ...points].every(Number.isFinite);
    Object.assign(this, { seconds, points, speed, theta: finite ? steady : undefined });
    return steady;
  }
}

/** A low-pass filter of first order: from the old values toward the new ones. */
function toward(old, values, cutoff, passed) {
  const weight = 1 / (1 + 1 / (2 * Math.PI * cutoff * passed));
  return old.map((before, index) => before + weight * (values[index] - before));
}
