// What the server is asked for, and the images that are loaded before they are wanted.

import { Mask } from "./mask.js";

export class Refused extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

export const CONFLICT = 409;

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch {
    throw new Refused(
      "The server does not answer: it was ended. Nothing that was decided is lost; what you see " +
        "here is not saved. Run `python -m ppl review` again.",
      0,
    );
  }
  if (response.ok) return response;
  let words = response.statusText;
  try {
    words = (await response.json()).problem;
  } catch {
    // no answer of ours
  }
  throw new Refused(words, response.status);
}

export const queue = async () => (await ask("queue")).json();
export const item = async (index) => (await ask(`items/${index}`)).json();

export async function decide(index, decision, seen, values) {
  const words = new URLSearchParams({ decision, seen });
  const headers = { "Content-Type": "application/octet-stream" };
  const options = { method: "POST", headers, body: values || new Uint8Array(0) };
  return (await ask(`items/${index}/decision?${words}`, options)).json();
}

export async function undo(index, seen) {
  const words = new URLSearchParams({ seen });
  return (await ask(`items/${index}/undo?${words}`, { method: "POST" })).json();
}

// An image that the browser has decoded, so that it shows at once.
export async function picture(path) {
  const image = new Image();
  image.src = path;
  await image.decode();
  return image;
}

// Images with their masks, by index. What was painted and is not saved is never dropped.
export class Loader {
  constructor() {
    this.known = new Map();
  }

  load(index) {
    if (!this.known.has(index)) {
      const loading = fetched(index);
      loading.catch(() => this.known.delete(index));
      this.known.set(index, loading);
    }
    return this.known.get(index);
  }

  drop(index) {
    this.known.delete(index);
  }

  // Drop all but what is wanted.
  async trim(wanted) {
    for (const index of [...this.known.keys()].filter((one) => !wanted.includes(one))) {
      const one = await this.known.get(index).catch(() => null);
      if (!one?.mask?.edited) this.known.delete(index);
    }
  }
}

async function fetched(index) {
  const described = await item(index);
  const [image, mask] = await Promise.all([theImage(index, described), theMask(index, described)]);
  return { index, item: described, image, mask };
}

async function theImage(index, described) {
  if (described.image_problem) return null;
  try {
    return await picture(`items/${index}/image`);
  } catch {
    described.image_problem = `the browser cannot show the image of ${described.name}`;
    return null;
  }
}

async function theMask(index, described) {
  if (!described.size) return null;
  const [height, width] = described.size;
  if (described.mask_problem) return new Mask(width, height, new Uint8Array(width * height));
  const response = await ask(`items/${index}/mask?digest=${described.judged}`).catch((refused) => {
    if (refused.status === CONFLICT || !refused.status) throw refused;
    described.mask_problem = refused.message;
    return null;
  });
  const values = response && new Uint8Array(await response.arrayBuffer());
  if (values?.length === width * height) return new Mask(width, height, values);
  described.mask_problem ||= "the mask has another number of pixels than the image";
  return new Mask(width, height, new Uint8Array(width * height));
}
