// Where the image lies on the screen: zoom, pan, and from the screen back to its pixels.

const LARGEST = 64; // pixels of the screen a pixel of the image
const SEEN = 4; // from which on the pixels of the image are seen as such
const EDGE = 40; // pixels of the image that stay on the screen

export class View {
  constructor(stage, image, overlay, marks) {
    Object.assign(this, { stage, image, overlay, marks });
    this.width = this.height = this.scale = 1;
    this.x = this.y = 0;
    this.boxes = [];
    this.pointer = null;
    this.mask = null;
    new ResizeObserver(() => (this.fitted ? this.fit() : this.update())).observe(stage);
  }

  // Take an image of that size; its mask may be missing.
  take(width, height, mask, boxes) {
    this.width = width;
    this.height = height;
    this.mask = mask;
    this.boxes = boxes;
    this.overlay.shrink = 0;
    this.fit();
  }

  fit() {
    const { clientWidth, clientHeight } = this.stage;
    const margin = 24;
    const scale = Math.min(
      (clientWidth - margin) / this.width,
      (clientHeight - margin) / this.height,
    );
    // whole pixels of the screen, where these are seen as such, so that all look alike
    const ratio = window.devicePixelRatio || 1;
    const whole = scale * ratio >= SEEN ? Math.floor(scale * ratio) / ratio : scale;
    this.scale = Math.max(1e-3, whole);
    this.centre();
    this.fitted = true;
    this.update();
  }

  actual() {
    const { clientWidth, clientHeight } = this.stage;
    const target = 1 / (window.devicePixelRatio || 1);
    this.zoom(target / this.scale, clientWidth / 2, clientHeight / 2);
  }

  centre() {
    this.x = (this.stage.clientWidth - this.scale * this.width) / 2;
    this.y = (this.stage.clientHeight - this.scale * this.height) / 2;
  }

  zoom(factor, x, y) {
    const { clientWidth, clientHeight } = this.stage;
    const smallest = Math.min(1, clientWidth / this.width, clientHeight / this.height) / 4;
    const scale = Math.min(LARGEST, Math.max(smallest, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.update();
  }

  pan(right, down) {
    this.x += right;
    this.y += down;
    this.fitted = false;
    this.update();
  }

  // The place in the image, in its pixels, under a point of the page.
  at(event) {
    const box = this.stage.getBoundingClientRect();
    return {
      x: (event.clientX - box.left - this.x) / this.scale,
      y: (event.clientY - box.top - this.y) / this.scale,
    };
  }

  update() {
    const ratio = window.devicePixelRatio || 1;
    const keep = (place, size, room) =>
      Math.min(room - EDGE, Math.max(EDGE - size * this.scale, place));
    this.x = keep(this.x, this.width, this.stage.clientWidth);
    this.y = keep(this.y, this.height, this.stage.clientHeight);
    const x = Math.round(this.x * ratio) / ratio;
    const y = Math.round(this.y * ratio) / ratio;
    this.image.style.transform = `translate(${x}px, ${y}px) scale(${this.scale})`;
    this.image.style.width = `${this.width}px`;
    this.image.style.height = `${this.height}px`;
    this.image.classList.toggle("pixels", this.scale * ratio >= 1);
    if (this.mask) {
      const shrink = Math.max(1, Math.floor(1 / (this.scale * ratio) + 1e-6));
      if (shrink !== this.overlay.shrink) this.overlay.show(this.mask, shrink);
      this.overlay.canvas.style.transform =
        `translate(${x}px, ${y}px) scale(${this.scale * shrink})`;
    }
    this.mark();
  }

  // Boxes around defects and the ring of the brush, at the screen's own pixels.
  mark() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.stage;
    this.marks.width = Math.round(clientWidth * ratio);
    this.marks.height = Math.round(clientHeight * ratio);
    const pen = this.marks.getContext("2d");
    pen.scale(ratio, ratio);
    if (this.boxesShown) this.boxes.forEach((box) => this.drawBox(pen, box));
    if (this.pointer && this.brush) this.drawRing(pen);
  }

  drawBox(pen, box) {
    const [left, top, right, bottom] = box.sides;
    const x = this.x + left * this.scale - 3;
    const y = this.y + top * this.scale - 3;
    const width = (right - left) * this.scale + 6;
    const height = (bottom - top) * this.scale + 6;
    pen.strokeStyle = "#000";
    pen.lineWidth = 3;
    pen.strokeRect(x, y, width, height);
    pen.strokeStyle = `rgb(${box.colour})`;
    pen.lineWidth = 1.5;
    pen.strokeRect(x, y, width, height);
    const words = `${box.name} ${box.probability.toFixed(2)}`;
    pen.font = "12px system-ui, sans-serif";
    const wide = pen.measureText(words).width + 8;
    const above = y >= 18 ? y - 18 : y + height + 1;
    pen.fillStyle = "#000c";
    pen.fillRect(x, above, wide, 17);
    pen.fillStyle = "#fff";
    pen.fillText(words, x + 4, above + 13);
  }

  drawRing(pen) {
    const { x, y } = this.pointer;
    const odd = this.brush % 2;
    const middle = (place) => (odd ? Math.floor(place) + 0.5 : Math.round(place));
    const radius = Math.max(1.5, (this.brush / 2) * this.scale);
    const around = (colour, width) => {
      pen.beginPath();
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.arc(this.x + middle(x) * this.scale, this.y + middle(y) * this.scale, radius, 0, 7);
      pen.stroke();
    };
    around("#000", 3);
    around("#fff", 1.2);
  }
}
