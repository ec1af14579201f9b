// The page: what keys and buttons do, and what is said of it.

import { CONFLICT, Loader, decide, item, picture, queue, undo } from "./loader.js";
import { Overlay, joined } from "./mask.js";
import { View } from "./view.js";

const SIZES = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128];
const AHEAD = 2; // images that are loaded before they are wanted
const WORDS = {
  "": "Not decided", right: "Right", corrected: "Corrected", sound: "Sound", wrong: "Wrong",
  unsure: "Unsure",
};
const COLOURS = {
  "": "#4a4a4a", right: "#58b368", corrected: "#58b368", sound: "#5aa2e0", wrong: "#e0645c",
  unsure: "#d9a93f",
};
const byId = (id) => document.getElementById(id);
const stage = byId("stage");

const loader = new Loader();
const painted = new Set(); // masks with strokes that are not saved
const own = []; // what was decided here: index and the state that was left
let all; // the queue
let last = null; // what this reviewer decided last, before this page was opened
let view;
let overlay;
let shown = null; // the image that is looked at, with its mask
let wanted = null; // the index that is shown or on its way
let busy = false; // a decision is on its way to the disk
let armed = ""; // the decision that would drop strokes, once asked for
let tool = "hand";
let size = 4; // index into SIZES
let paint = 1; // the class that the brush paints
let peeked = -1; // which other photo is shown in place

// ---- what is said

function say(words, kind = "note", button = false) {
  byId("bar").hidden = !words;
  byId("bar").dataset.kind = kind;
  byId("bar-words").textContent = words;
  byId("bar-button").hidden = !button;
}

function problem(error) {
  say(error.message, error.status === CONFLICT ? "conflict" : "error", error.status === CONFLICT);
}

function describe() {
  const { item: it } = shown;
  byId("name").textContent = it.name;
  byId("name").title = it.name;
  byId("words").textContent = it.words;
  byId("place").textContent = `${shown.index + 1} of ${all.names.length}`;
  document.title = `${shown.index + 1}/${all.names.length} ${it.name}`;
  const badge = byId("badge");
  badge.dataset.decision = it.decision;
  const by = it.decision ? `, ${it.reviewer}, ${new Date(it.time).toLocaleString()}` : "";
  badge.textContent = (WORDS[it.decision] ?? it.decision) + by;
  document.body.dataset.shown = shown.index;
  document.body.dataset.decision = it.decision;
  edited();
  progress();
}

function edited() {
  const changed = withStrokes();
  if (changed) painted.add(shown.mask);
  else painted.delete(shown?.mask);
  byId("right-words").textContent = changed ? "Save corrected" : "Right";
  document.body.dataset.edited = changed;
  counts();
}

function progress() {
  const open = all.decided.filter((decision) => !decision).length;
  byId("left").textContent = `${open} not decided`;
  const strip = byId("strip");
  strip.width = Math.max(1, strip.clientWidth);
  const pen = strip.getContext("2d");
  const width = strip.width / all.names.length;
  all.decided.forEach((decision, index) => {
    pen.fillStyle = COLOURS[decision] ?? COLOURS[""];
    pen.fillRect(index * width, 0, Math.max(1, width > 4 ? width - 1 : width), 6);
  });
  if (wanted !== null) {
    pen.fillStyle = "#fff";
    pen.fillRect(wanted * width, 0, Math.max(3, width - 1), 2);
  }
}

function counts() {
  const found = shown?.mask ? shown.mask.counts() : [];
  for (const button of byId("classes").children) {
    const pixels = found[Number(button.dataset.value)] || 0;
    button.querySelector(".pixels-of").textContent = pixels ? pixels.toLocaleString() : "";
  }
}

// ---- going from image to image

function nextUndecided(from) {
  const count = all.names.length;
  for (let step = 1; step <= count; step++) {
    const index = (from + step) % count;
    if (!all.decided[index]) return index;
  }
  return null;
}

async function go(index) {
  wanted = index;
  armed = "";
  stopPeeking();
  byId("done").hidden = index !== null;
  if (index === null) return finished();
  stage.classList.add("loading");
  try {
    const one = await loader.load(index);
    if (wanted !== index) return;
    present(one);
  } catch (error) {
    if (wanted === index) lost(index, error);
  }
  ahead(index);
}

function present(one) {
  shown = one;
  const { item: it, image, mask } = one;
  const [height, width] = it.size || [480, 640];
  stage.classList.remove("loading");
  put(image);
  byId("overlay").hidden = !mask || !byId("visible").checked;
  view.take(width, height, mask, it.boxes.map(withColour));
  say(it.image_problem || it.mask_problem || it.taken, "error");
  photos();
  describe();
  byId("said").textContent = `${it.name}, ${it.words}, ${WORDS[it.decision]}`;
  renew(one);
}

// Show a decoded picture itself: another element with its address would load it again.
function put(image) {
  const picture = image ?? new Image();
  picture.id = "image";
  picture.alt = shown.item.name;
  picture.draggable = false;
  picture.hidden = !image;
  byId("image").replaceWith(picture);
  view.image = picture;
}

// It was loaded ahead: look whether somebody decided since.
async function renew(one) {
  try {
    const now = await item(one.index);
    if (shown !== one || now.seen === one.item.seen || one.mask?.edited) return;
    loader.drop(one.index);
    all.decided[one.index] = now.decision;
    go(one.index);
  } catch {
    // a decision will say so
  }
}

function lost(index, error) {
  shown = null;
  stage.classList.remove("loading");
  byId("image").hidden = byId("overlay").hidden = true;
  byId("name").textContent = all.names[index];
  byId("place").textContent = `${index + 1} of ${all.names.length}`;
  document.body.dataset.shown = index;
  progress();
  problem(error);
}

function ahead(index) {
  const near = [index];
  let one = index;
  for (let step = 0; step < AHEAD; step++) {
    one = nextUndecided(one);
    if (one === null || near.includes(one)) break;
    near.push(one);
  }
  if (index + 1 < all.names.length) near.push(index + 1);
  near.slice(1).forEach((other) => loader.load(other).catch(() => null));
  loader.trim([...near, index - 1]);
}

function finished() {
  shown = null;
  say("");
  stage.classList.remove("loading");
  const tally = Object.entries(WORDS)
    .map(([decision, words]) => [all.decided.filter((one) => one === decision).length, words])
    .filter(([count]) => count)
    .map(([count, words]) => `${words}: ${count}`);
  byId("done-words").textContent =
    `${tally.join("\n")}\n\nDecisions: ${all.decisions_file}\nMasks: ${all.masks_folder}`;
  byId("name").textContent = all.title;
  byId("words").textContent = byId("badge").textContent = "";
  byId("place").textContent = `${all.names.length} of ${all.names.length}`;
  document.body.dataset.shown = "done";
  progress();
}

function step(by) {
  if (busy) return;
  const from = wanted ?? all.names.length;
  const to = from + by;
  if (to >= 0 && to < all.names.length) go(to);
}

// ---- deciding

// Until an answer is there, keys and buttons wait: what it says is of the image that is shown.
function work(going) {
  busy = going;
  document.body.dataset.busy = going;
}

const withStrokes = () => Boolean(shown?.mask?.edited);

async function judge(decision) {
  if (busy || !shown || stage.classList.contains("loading")) return;
  const corrected = decision === "right" && withStrokes();
  if (withStrokes() && !corrected && armed !== decision) {
    armed = decision;
    say(
      `Your strokes would be dropped. Press again to say \`${decision}\` without them; ` +
        "Z takes the last one back.",
    );
    return;
  }
  work(true);
  const one = shown;
  try {
    const values = corrected ? one.mask.values : null;
    const said = corrected ? "corrected" : decision;
    const answer = await decide(one.index, said, one.item.seen, values);
    all.decided = answer.decided;
    own.push({ index: one.index, seen: answer.item.seen });
    painted.delete(one.mask);
    loader.drop(one.index);
    say("");
    await go(nextUndecided(one.index));
  } catch (error) {
    problem(error);
  } finally {
    work(false);
  }
}

async function takeBack() {
  if (busy) return;
  if (withStrokes()) {
    const changed = shown.mask.undo();
    if (changed) view.overlay.draw(changed);
    else say("Earlier strokes cannot be taken back one by one; decide, or load the page anew.");
    armed = "";
    edited();
    return;
  }
  work(true);
  try {
    const one = own.at(-1) ?? (await before());
    if (!one) return say("There is no decision of yours to take back.");
    const answer = await undo(one.index, one.seen).finally(() => own.pop());
    all.decided = answer.decided;
    last = answer.last;
    // the decision before it, if there was one, counts again
    const earlier = own.findLast((other) => other.index === one.index);
    if (earlier) earlier.seen = answer.item.seen;
    loader.drop(one.index);
    await go(one.index);
    say(answer.note || `Taken back: ${all.names[one.index]}`);
  } catch (error) {
    problem(error);
  } finally {
    work(false);
  }
}

async function before() {
  if (last === null) return null;
  const described = await item(last);
  return described.reviewer === all.reviewer ? { index: last, seen: described.seen } : null;
}

async function showAsItIs() {
  say("");
  all.decided = (await queue()).decided;
  if (wanted !== null) {
    loader.drop(wanted);
    go(wanted);
  }
}

// ---- painting, zooming

function choose(name) {
  tool = name;
  stage.classList.toggle("paint", name !== "hand");
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  ring();
}

function chooseSize(index) {
  size = Math.min(SIZES.length - 1, Math.max(0, index));
  byId("size").value = size;
  byId("size-words").textContent = `${SIZES[size]} px`;
  ring();
}

function chooseClass(value) {
  if (value >= all.classes.length) return;
  paint = value;
  for (const button of byId("classes").children) {
    button.setAttribute("aria-checked", String(Number(button.dataset.value) === value));
  }
}

function ring() {
  view.brush = tool === "hand" ? 0 : SIZES[size];
  view.mark();
}

function opacity(value) {
  const percent = Math.min(100, Math.max(10, value));
  byId("opacity").value = percent;
  byId("opacity-words").textContent = `${percent} %`;
  byId("overlay").style.opacity = percent / 100;
}

function showMask(visible) {
  byId("visible").checked = visible;
  byId("overlay").hidden = !visible || !shown?.mask || peeked >= 0;
  view.boxesShown = visible && peeked < 0;
  view.mark();
}

function readout(point) {
  const mask = shown?.mask;
  const x = Math.floor(point.x);
  const y = Math.floor(point.y);
  const inside = mask && peeked < 0 && x >= 0 && y >= 0 && x < mask.width && y < mask.height;
  const value = inside ? mask.values[y * mask.width + x] : 0;
  const name = value === 255 ? "ignored" : all.classes[value];
  byId("readout").textContent = inside ? `x ${x}  y ${y}  ${name}` : "";
}

let drag = null;

stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest("#bar, #done") || !shown || busy) return;
  stage.setPointerCapture(event.pointerId);
  stage.focus({ preventScroll: true });
  const painting = tool !== "hand" && event.button === 0 && shown.mask && peeked < 0;
  if (!painting) {
    drag = { x: event.clientX, y: event.clientY };
    stage.classList.add("dragging");
    return;
  }
  if (!byId("visible").checked) showMask(true);
  shown.mask.begin();
  drag = { mask: shown.mask, value: tool === "eraser" ? 0 : paint, from: view.at(event) };
  stroke([event]);
});

function stroke(events) {
  let changed = null;
  for (const event of events) {
    const to = view.at(event);
    changed = joined(changed, drag.mask.line(drag.from, to, SIZES[size], drag.value));
    drag.from = to;
  }
  view.overlay.draw(changed);
}

stage.addEventListener("pointermove", (event) => {
  view.pointer = view.at(event);
  if (drag?.mask) stroke(event.getCoalescedEvents?.() ?? [event]);
  else if (drag) {
    view.pan(event.clientX - drag.x, event.clientY - drag.y);
    drag = { x: event.clientX, y: event.clientY };
  }
  readout(view.pointer);
  if (tool !== "hand") view.mark();
});

function release() {
  stage.classList.remove("dragging");
  if (drag?.mask) {
    drag.mask.end();
    armed = "";
    edited();
  }
  drag = null;
}

stage.addEventListener("pointerup", release);
stage.addEventListener("pointercancel", release);
stage.addEventListener("pointerleave", () => {
  view.pointer = null;
  byId("readout").textContent = "";
  view.mark();
});
stage.addEventListener("contextmenu", (event) => event.preventDefault());
stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 30 : 1;
    const factor = Math.exp(-Math.max(-200, Math.min(200, event.deltaY * lines)) / 400);
    view.zoom(factor, event.clientX - box.left, event.clientY - box.top);
  },
  { passive: false },
);

// ---- the part's other photos

function photos() {
  const { item: it, index } = shown;
  byId("photos-section").hidden = !it.photos.length;
  const more = it.more_photos ? `, ${it.more_photos} more` : "";
  byId("part").textContent = `${it.part}${more}`;
  byId("photos").replaceChildren(
    ...it.photos.map((name, number) => {
      const button = document.createElement("button");
      const small = document.createElement("img");
      small.src = `items/${index}/photos/${number}?small`;
      small.alt = name;
      button.type = "button";
      button.title = name;
      button.append(small);
      button.addEventListener("click", () => peek(number));
      return button;
    }),
  );
}

async function peek(number) {
  if (!shown || !shown.item.photos.length) return;
  if (number >= shown.item.photos.length) return stopPeeking();
  const one = shown;
  try {
    const image = await picture(`items/${one.index}/photos/${number}`);
    if (shown !== one) return;
    peeked = number;
    put(image);
    byId("overlay").hidden = true;
    byId("peek").hidden = false;
    byId("peek").textContent = `Other photo: ${one.item.photos[number]}. P: the next, Esc: back`;
    view.boxesShown = false;
    view.take(image.naturalWidth, image.naturalHeight, null, []);
  } catch {
    say(`The photo ${one.item.photos[number]} cannot be shown.`, "error");
  }
}

function stopPeeking() {
  if (peeked < 0) return;
  peeked = -1;
  byId("peek").hidden = true;
  const [height, width] = shown.item.size || [480, 640];
  put(shown.image);
  view.take(width, height, shown.mask, shown.item.boxes.map(withColour));
  showMask(byId("visible").checked);
}

const withColour = (box) => ({
  ...box,
  colour: (all.colours[all.classes.indexOf(box.name)] ?? [255, 255, 255]).join(","),
});

// ---- keys

const inTheMiddle = (factor) =>
  view.zoom(factor, stage.clientWidth / 2, stage.clientHeight / 2);
const PAN = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

const KEYS = {
  r: () => judge("right"), w: () => judge("wrong"), s: () => judge("sound"),
  u: () => judge("unsure"), n: () => step(1), b: () => step(-1), ArrowRight: () => step(1),
  ArrowLeft: () => step(-1), j: () => busy || go(nextUndecided(wanted ?? -1)), z: takeBack,
  h: () => choose("hand"), d: () => choose("brush"), e: () => choose("eraser"),
  "[": () => chooseSize(size - 1), "]": () => chooseSize(size + 1),
  m: () => showMask(!byId("visible").checked),
  ",": () => opacity(Number(byId("opacity").value) - 10),
  ".": () => opacity(Number(byId("opacity").value) + 10),
  "+": () => inTheMiddle(1.25), "=": () => inTheMiddle(1.25), "-": () => inTheMiddle(0.8),
  f: () => view.fit(), x: () => view.actual(), p: () => peek(peeked + 1),
  Escape: () => (peeked >= 0 ? stopPeeking() : choose("hand")),
};
const ONCE = ["r", "w", "s", "u", "z"]; // a key that is held says nothing twice
const BY_PLACE = { BracketLeft: "[", BracketRight: "]" };

document.addEventListener("keydown", (event) => {
  const commanded = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  if ((commanded && event.key !== "z") || (event.altKey && !event.getModifierState("AltGraph"))) {
    return;
  }
  const conflict = !byId("bar").hidden && !byId("bar-button").hidden;
  if (event.key === "Enter" && conflict && !event.target.closest("button")) return showAsItIs();
  const slider = event.target.matches("input[type=range]");
  if (slider && event.key.startsWith("Arrow")) return;
  if (event.shiftKey && PAN[event.key]) {
    event.preventDefault();
    view.pan(...PAN[event.key]);
    return;
  }
  if (/^[0-9]$/.test(event.key) && !event.shiftKey) {
    chooseClass(Number(event.key));
    if (tool !== "brush") choose("brush");
    return;
  }
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const name = KEYS[letter] ? letter : BY_PLACE[event.code];
  const act = KEYS[name];
  if (!act || drag || (event.repeat && ONCE.includes(name))) return;
  event.preventDefault();
  act();
});

window.addEventListener("beforeunload", (event) => {
  if (painted.size) event.preventDefault();
});
window.addEventListener("resize", () => all && progress());

// ---- begin

function listClasses() {
  byId("classes").replaceChildren(
    ...all.classes.map((name, value) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.value = value;
      button.setAttribute("role", "radio");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = `rgb(${all.colours[value].join(",")})`;
      const words = document.createElement("span");
      words.className = "name";
      words.textContent = name;
      const pixels = document.createElement("span");
      pixels.className = "pixels-of";
      button.append(swatch, words, pixels);
      if (value <= 9) {
        const key = document.createElement("kbd");
        key.textContent = value;
        button.append(key);
      }
      button.addEventListener("click", () => {
        chooseClass(value);
        choose("brush");
      });
      return button;
    }),
  );
}

function listen() {
  for (const button of document.querySelectorAll("[data-decision]:not(p, body)")) {
    button.addEventListener("click", () => judge(button.dataset.decision));
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => choose(button.dataset.tool));
  }
  const actions = { back: () => step(-1), next: () => step(1), undo: takeBack };
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", actions[button.dataset.action]);
  }
  byId("bar-button").addEventListener("click", showAsItIs);
  byId("size").addEventListener("input", () => chooseSize(Number(byId("size").value)));
  byId("opacity").addEventListener("input", () => opacity(Number(byId("opacity").value)));
  byId("visible").addEventListener("change", () => showMask(byId("visible").checked));
}

async function begin() {
  all = await queue();
  last = all.last;
  overlay = new Overlay(byId("overlay"), [...all.colours]);
  view = new View(stage, byId("image"), overlay, byId("marks"));
  view.boxesShown = true;
  listClasses();
  listen();
  work(false);
  chooseClass(1);
  chooseSize(size);
  opacity(70);
  choose("hand");
  stage.focus();
  await go(all.first);
}

begin().catch(problem);
