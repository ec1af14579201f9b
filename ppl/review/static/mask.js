// A mask that can be painted, and its picture. A byte a pixel: the class index; 255 is ignored.

export const IGNORE = 255;
const BACKGROUND = 0;
const MOST_KEPT = 2 ** 27; // bytes of strokes that can be taken back
const FILL = 0.5; // opacity inside of what is marked; its edge is opaque
const ROWS = 256; // that are drawn at once

export class Mask {
  constructor(width, height, values) {
    this.width = width;
    this.height = height;
    this.values = values;
    this.strokes = [];
    this.edited = false;
  }

  begin() {
    this.whole = this.values.slice();
    this.touched = null;
  }

  // Paint from one point to another, in pixels of the image; returns what changed.
  line(from, to, size, value) {
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    const steps = Math.max(1, Math.ceil(length / Math.max(1, size / 4)));
    let changed = null;
    for (let step = 0; step <= steps; step++) {
      const share = step / steps;
      const x = from.x + share * (to.x - from.x);
      const y = from.y + share * (to.y - from.y);
      changed = joined(changed, this.dot(x, y, size, value));
    }
    this.touched = joined(this.touched, changed);
    return changed;
  }

  // A disk of `size` pixels across; of one pixel, that under the point.
  dot(x, y, size, value) {
    const radius = size / 2;
    const middle = (place) => (size % 2 ? Math.floor(place) + 0.5 : Math.round(place));
    const cx = middle(x);
    const cy = middle(y);
    const top = Math.max(0, Math.ceil(cy - radius - 0.5));
    const bottom = Math.min(this.height - 1, Math.floor(cy + radius - 0.5));
    let changed = null;
    for (let row = top; row <= bottom; row++) {
      const down = row + 0.5 - cy;
      const half = Math.sqrt(Math.max(0, radius * radius - down * down));
      const left = Math.max(0, Math.ceil(cx - half - 0.5));
      const right = Math.min(this.width - 1, Math.floor(cx + half - 0.5));
      if (left > right) continue;
      this.values.fill(value, row * this.width + left, row * this.width + right + 1);
      changed = joined(changed, { left, top: row, right: right + 1, bottom: row + 1 });
    }
    return changed;
  }

  // Keep what the stroke painted over; false where it changed nothing.
  end() {
    const { whole, touched } = this;
    this.whole = this.touched = null;
    if (!touched) return false;
    const before = cut(whole, this.width, touched);
    if (before.every((value, at) => value === this.values[place(this.width, touched, at)])) {
      return false;
    }
    this.strokes.push({ touched, before });
    let kept = this.strokes.reduce((sum, stroke) => sum + stroke.before.length, 0);
    while (kept > MOST_KEPT && this.strokes.length > 1) {
      kept -= this.strokes.shift().before.length;
      this.lost = true;
    }
    this.edited = true;
    return true;
  }

  // Take the last stroke back; returns what changed.
  undo() {
    const stroke = this.strokes.pop();
    if (!stroke) return null;
    stroke.before.forEach((value, at) => {
      this.values[place(this.width, stroke.touched, at)] = value;
    });
    this.edited = this.strokes.length > 0 || Boolean(this.lost);
    return stroke.touched;
  }

  counts() {
    const counts = new Uint32Array(256);
    for (const value of this.values) counts[value]++;
    return counts;
  }
}

function place(width, box, at) {
  const across = box.right - box.left;
  return (box.top + Math.floor(at / across)) * width + box.left + (at % across);
}

function cut(values, width, box) {
  const across = box.right - box.left;
  const found = new Uint8Array(across * (box.bottom - box.top));
  for (let row = box.top; row < box.bottom; row++) {
    const from = row * width + box.left;
    found.set(values.subarray(from, from + across), (row - box.top) * across);
  }
  return found;
}

export function joined(one, other) {
  if (!one || !other) return one || other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

// The mask as a picture over the image. Where the image is shown smaller, a pixel of the picture
// stands for `shrink` x `shrink` of the mask and shows what of them is marked: a crack thinner than
// a pixel of the screen stays to be seen.
export class Overlay {
  constructor(canvas, colours) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.colours = colours;
    this.shrink = 0;
  }

  show(mask, shrink) {
    this.mask = mask;
    this.shrink = shrink;
    this.width = Math.ceil(mask.width / shrink);
    this.height = Math.ceil(mask.height / shrink);
    this.canvas.width = this.width;
    this.canvas.height = this.height;
    this.values = shrink === 1 ? mask.values : new Uint8Array(this.width * this.height);
    this.draw({ left: 0, top: 0, right: mask.width, bottom: mask.height });
  }

  // Draw anew what changed in the mask, and its neighbours, whose edges may have.
  draw(changed) {
    if (!changed) return;
    const inner = {
      left: Math.floor(changed.left / this.shrink),
      top: Math.floor(changed.top / this.shrink),
      right: Math.min(this.width, Math.ceil(changed.right / this.shrink)),
      bottom: Math.min(this.height, Math.ceil(changed.bottom / this.shrink)),
    };
    if (this.shrink > 1) this.gather(inner);
    const box = {
      left: Math.max(0, inner.left - 1),
      top: Math.max(0, inner.top - 1),
      right: Math.min(this.width, inner.right + 1),
      bottom: Math.min(this.height, inner.bottom + 1),
    };
    for (let top = box.top; top < box.bottom; top += ROWS) {
      this.paint({ ...box, top, bottom: Math.min(top + ROWS, box.bottom) });
    }
  }

  gather(box) {
    const { mask, shrink, values, width } = this;
    for (let row = box.top; row < box.bottom; row++) {
      const end = Math.min(mask.height, (row + 1) * shrink);
      for (let column = box.left; column < box.right; column++) {
        const last = Math.min(mask.width, (column + 1) * shrink);
        let most = BACKGROUND;
        for (let y = row * shrink; y < end; y++) {
          const start = y * mask.width;
          for (let at = start + column * shrink; at < start + last; at++) {
            const value = mask.values[at];
            // a defect before what is ignored, that before background
            if (value !== IGNORE ? most === IGNORE ? value : value > most : most === BACKGROUND) {
              most = value;
            }
          }
        }
        values[row * width + column] = most;
      }
    }
  }

  paint(box) {
    const { values, width, height, colours } = this;
    const across = box.right - box.left;
    const picture = this.context.createImageData(across, box.bottom - box.top);
    const pixels = picture.data;
    for (let y = box.top; y < box.bottom; y++) {
      for (let x = box.left; x < box.right; x++) {
        const at = y * width + x;
        const value = values[at];
        if (value === BACKGROUND) continue;
        const edge =
          (x > 0 && values[at - 1] !== value) ||
          (x + 1 < width && values[at + 1] !== value) ||
          (y > 0 && values[at - width] !== value) ||
          (y + 1 < height && values[at + width] !== value);
        const colour = colours[value] || [255, 255, 255];
        const to = 4 * ((y - box.top) * across + x - box.left);
        pixels[to] = colour[0];
        pixels[to + 1] = colour[1];
        pixels[to + 2] = colour[2];
        pixels[to + 3] = edge ? 255 : Math.round(255 * FILL);
      }
    }
    this.context.putImageData(picture, box.left, box.top);
  }
}
